#pragma once

// Files as an attacker would make them, and the use of whatever opens.

#include <cstring>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "corpus.hpp"
#include "everglade/crc32c.hpp"
#include "everglade/errors.hpp"
#include "everglade/format.hpp"
#include "everglade/score.hpp"
#include "everglade/search.hpp"
#include "everglade/segment.hpp"
#include "searcher.hpp"

namespace hostile {

using corpus::at;
using corpus::Corpus;
using everglade::Segment;
using everglade::Verify;
namespace format = everglade::format;

inline std::string written(const Corpus& corpus) {
    corpus.write(at("small"));
    return corpus::read(at("small"));
}

inline Corpus small_corpus() {
    Corpus made;
    for (int d = 0; d < 40; ++d) {
        corpus::Row row;
        if (d % 3 == 0) row = {{1, 1}, {4, static_cast<std::uint16_t>(200 + d)}};
        if (d % 5 == 0) row[7] = 9;
        made.add(corpus::padded(static_cast<std::size_t>(d)), row);
    }
    return made;
}

/// Cells in one of three blocks.
inline const std::string& celled_segment() {
    static const std::string bytes = [] {
        Corpus made = small_corpus();
        made.cells_from = 14;
        made.rows = false;
        for (std::size_t i = 0; i < made.terms.size(); ++i) made.impacts[i] = static_cast<std::uint8_t>(1 + i % 5);
        return written(made);
    }();
    return bytes;
}

/// Read and score every document.
inline void use_documents(const Segment& segment, const std::vector<std::int32_t>& terms,
                          const std::vector<std::uint32_t>& impacts) {
    std::uint64_t sum = segment.gather_rows().terms.size();
    std::vector<std::uint32_t> locals(segment.n_documents());
    std::iota(locals.begin(), locals.end(), 0u);
    std::vector<std::uint32_t> scores(locals.size());
    std::vector<double> exact(locals.size());
    if (segment.n_terms() > 7) {
        const std::vector<float> weights(impacts.begin(), impacts.end());
        everglade::score_documents(segment, locals, {terms, impacts}, scores);
        if (segment.has_weights()) everglade::score_documents_float(segment, locals, terms, weights, exact);
    }
    for (const std::uint32_t local : locals) {
        sum += segment.find(segment.id(local)).value_or(0) + scores[local] + (exact[local] > 1);
        if (!segment.has_rows()) continue;
        const auto [first, last] = segment.row(local);
        for (auto i = first; i < last; ++i) sum += segment.rows().term(i) + segment.rows().impacts[i];
    }
    CHECK(sum != 1);  // so that the reads cannot be left out
}

/// Use everything a segment offers. Only a CorruptSegment, for an id that is no text, may come out of it.
inline void use(const Segment& segment) {
    const std::vector<std::int64_t> starts{0, 3};
    const std::vector<std::int32_t> terms{1, 4, 7};
    const std::vector<std::uint32_t> impacts{3, 2, 1};
    const std::vector<std::uint8_t> hidden((segment.n_documents() + 7) / 8, 0x11);
    constexpr std::size_t k = 5;
    std::vector<std::int32_t> segments(k);
    std::vector<std::uint32_t> locals(k), scores(k);
    const std::vector<everglade::SearchedSegment> searched{{&segment, std::nullopt}, {&segment, hidden}};
    const everglade::Results results{segments, locals, scores};
    try {
        if (segment.n_terms() > 7) {
            for (const auto path : {everglade::Path::scan, everglade::Path::cells}) {
                everglade::search(searched, {starts, terms, impacts}, k, 1, results, path);
            }
            everglade::search_approximate(searched, {starts, terms, impacts}, k, 1, {0.6, 9}, results);
            everglade::search_together(searched, {terms, impacts}, k, 1);
        }
        use_documents(segment, terms, impacts);
    } catch (const everglade::CorruptSegment&) {
    }
}

/// Open the bytes as a file, and use what opens. Returns whether it opened.
inline bool opens(const std::string& bytes, Verify verify) {
    corpus::write(at("damaged"), bytes);
    try {
        use(Segment(at("damaged"), verify));
    } catch (const everglade::CorruptSegment& error) {
        CHECK(error.offset <= bytes.size());
        return false;
    } catch (const everglade::FormatTooNew&) {
        return false;
    }
    return true;
}

/// Make every checksum and the file length right again, as an attacker would.
inline std::string sealed(std::string bytes) {
    format::Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    const std::uint64_t length = format::head_length(header.n_sections);
    if (header.n_sections > format::kMaxSections || length > bytes.size()) return bytes;
    for (std::uint32_t i = 0; i < header.n_sections; ++i) {
        char* const place = bytes.data() + sizeof header + i * sizeof(format::Section);
        format::Section section;
        std::memcpy(&section, place, sizeof section);
        if (section.offset > bytes.size() || section.length > bytes.size() - section.offset) continue;
        section.crc32c = everglade::crc32c(bytes.data() + section.offset, section.length);
        std::memcpy(place, &section, sizeof section);
    }
    format::Seal seal;
    char* const place = bytes.data() + length - sizeof seal;
    std::memcpy(&seal, place, sizeof seal);
    seal.file_length = bytes.size();
    std::memcpy(place, &seal, sizeof seal);
    seal.crc32c = everglade::crc32c(bytes.data(), length - sizeof seal.crc32c);
    std::memcpy(place, &seal, sizeof seal);
    return bytes;
}

/// Where a section of this kind stands in a good file.
inline format::Section section_of(const std::string& bytes, format::Kind kind) {
    format::Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    for (std::uint32_t i = 0; i < header.n_sections; ++i) {
        format::Section found;
        std::memcpy(&found, bytes.data() + sizeof header + i * sizeof found, sizeof found);
        if (found.kind == kind) return found;
    }
    throw std::runtime_error("no such section");
}

}  // namespace hostile
