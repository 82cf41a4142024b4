// Reads what writer.cpp writes; docs/index-format.md describes it and what is checked when. Here is what every later
// read relies on; verify.cpp examines the contents.

#include "reader.hpp"

#include <algorithm>
#include <string>

#include "everglade/crc32c.hpp"

namespace everglade {

using format::Kind;
using format::kWindow;

void SegmentReader::read_head() {
    require(bytes_.size() >= format::head_length(0), 0, "the file is too short to be a segment");
    const auto header = load<format::Header>(0);
    check_versions(header);
    require(header.n_sections <= format::kMaxSections, offsetof(format::Header, n_sections),
            "an impossible number of sections");
    require(bytes_.size() >= format::head_length(header.n_sections), bytes_.size(),
            "the file ends in its section table");
    check_seal(header);
    check_features(header);
    require(header.n_documents <= format::kMaxDocuments, offsetof(format::Header, n_documents), "too many documents");
    require(header.n_terms <= format::kMaxTerms, offsetof(format::Header, n_terms), "too many terms");
    // The bound also keeps the products of the section lengths from overflowing.
    require(header.n_postings <= bytes_.size(), offsetof(format::Header, n_postings), "more postings than bytes");
    segment_.uuid_ = header.uuid;
    segment_.number_ = header.number;
    segment_.n_postings_ = header.n_postings;
    segment_.n_documents_ = header.n_documents;
    segment_.n_terms_ = header.n_terms;
    segment_.features_ = header.features;
    read_table(header.n_sections);
    require_expected_sections();
}

void SegmentReader::check_versions(const format::Header& header) const {
    require(header.magic == format::kMagic, 0, "not an Everglade segment: the first bytes are not EVGLDSEG");
    require(header.endian_marker == format::kEndianMarker, offsetof(format::Header, endian_marker),
            "the endian marker is wrong");
    if (header.major > format::kMajor) {
        throw FormatTooNew(segment_.path_, "its format is " + std::to_string(header.major) +
                                               ", this Everglade reads up to " + std::to_string(format::kMajor) +
                                               ". Upgrade Everglade to read it.");
    }
    require(header.major == format::kMajor, offsetof(format::Header, major), "no Everglade wrote this format version");
}

void SegmentReader::check_seal(const format::Header& header) const {
    const std::uint64_t length = format::head_length(header.n_sections);
    const auto seal = load<format::Seal>(length - sizeof(format::Seal));
    const std::uint64_t covered = length - sizeof seal.crc32c;
    require(everglade::crc32c(bytes_.data(), covered) == seal.crc32c, covered, "the checksum of the head does not fit");
    require(seal.zero == 0, covered - sizeof seal.zero, "bytes that must be zero are not");
    if (seal.file_length != bytes_.size()) {
        refuse(std::min<std::uint64_t>(seal.file_length, bytes_.size()),
               "the file is " + std::to_string(bytes_.size()) + " bytes long, but was written with " +
                   std::to_string(seal.file_length));
    }
    segment_.crc32c_ = seal.crc32c;
}

void SegmentReader::check_features(const format::Header& header) const {
    if ((header.features & ~format::kKnownFeatures) != 0) {
        throw FormatTooNew(segment_.path_,
                           "it uses features this Everglade does not know. Upgrade Everglade to read it.");
    }
    constexpr std::uint32_t neither = format::kPruned | format::kWithoutRows;
    require((header.features & neither) != neither, offsetof(format::Header, features),
            "a pruned segment has no rows that tell what was left out");
}

void SegmentReader::read_table(std::uint32_t n_sections) {
    std::uint64_t end = format::head_length(n_sections);
    std::uint32_t before = 0;
    for (std::uint32_t i = 0; i < n_sections; ++i) {
        const std::uint64_t at = sizeof(format::Header) + i * sizeof(format::Section);
        const auto entry = load<format::Section>(at);
        const auto kind = static_cast<std::uint32_t>(entry.kind);
        require(kind > before, at, "a section is out of order");
        require(entry.offset == format::align(end), at, "a section does not stand where the one before it ends");
        require(entry.offset <= bytes_.size() && entry.length <= bytes_.size() - entry.offset, at,
                "a section reaches beyond the end of the file");
        require_zeros(end, entry.offset);
        end = entry.offset + entry.length;
        if (kind <= format::kKnownKinds) places_[kind] = table_.size();
        table_.push_back(entry);
        before = kind;
    }
    require(end == bytes_.size(), end, "bytes follow the last section");
}

void SegmentReader::require_expected_sections() const {
    for (std::uint32_t kind = 1; kind <= format::kKnownKinds; ++kind) {
        const auto known = static_cast<Kind>(kind);
        const bool called_for = format::calls_for(segment_.features_, known);
        if (has(known) == called_for || (called_for && format::is_optional(known))) continue;
        refuse(sizeof(format::Header), "section " + std::to_string(kind) +
                                           (called_for ? " is missing" : " stands where the features call for none"));
    }
}

void SegmentReader::require_zeros(std::uint64_t from, std::uint64_t to) const {
    for (std::uint64_t at = from; at < to; ++at)
        require(bytes_[at] == std::byte{0}, at, "bytes between sections are not zero");
}

template <typename T>
std::span<const T> SegmentReader::view(Kind kind) const {
    const format::Section& found = section(kind);
    require(found.length % sizeof(T) == 0, found.offset, "the length of a section is not a whole number of elements");
    return {reinterpret_cast<const T*>(bytes_.data() + found.offset), found.length / sizeof(T)};
}

template <typename T>
std::span<const T> SegmentReader::view(Kind kind, std::uint64_t count) const {
    const auto elements = view<T>(kind);
    require(elements.size() == count, section(kind).offset, "a section has the wrong number of elements");
    return elements;
}

Impacts SegmentReader::view_impacts(Kind kind, std::uint64_t count) const {
    if ((segment_.features_ & format::kWideImpacts) != 0) return view<std::uint16_t>(kind, count);
    return view<std::uint8_t>(kind, count);
}

std::span<const std::uint64_t> SegmentReader::view_starts(Kind kind, std::uint64_t count, std::uint64_t total,
                                                          bool strict) const {
    const auto starts = view<std::uint64_t>(kind, count + 1);
    require(starts.front() == 0, section(kind).offset, "a list of starts does not begin with 0");
    for (std::size_t i = 1; i < starts.size(); ++i) {
        const bool ascends = strict ? starts[i] > starts[i - 1] : starts[i] >= starts[i - 1];
        require(ascends, place(kind, starts, i), "a list of starts does not ascend");
    }
    require(starts.back() == total, place(kind, starts, count), "a list of starts does not end where its targets end");
    return starts;
}

std::span<const std::uint32_t> SegmentReader::view_numbers_of_documents(Kind kind) const {
    const auto numbers = view<std::uint32_t>(kind, segment_.n_documents_);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        require(numbers[i] < segment_.n_documents_, place(kind, numbers, i), "a number beyond the documents");
    }
    return numbers;
}

void SegmentReader::read_structure() {
    read_postings();
    read_cells();
    if (segment_.has_rows()) read_rows();
    if (segment_.is_reordered()) {
        segment_.order_.ranks = view_numbers_of_documents(Kind::ranks);
        segment_.order_.by_rank = view_numbers_of_documents(Kind::by_rank);
    }
    read_ids();
}

void SegmentReader::read_postings() {
    const std::uint64_t n_postings = segment_.n_postings_;
    Postings& postings = segment_.postings_;
    postings.terms = view<std::uint32_t>(Kind::terms);
    postings.block_windows = view<std::uint16_t>(Kind::block_windows);
    const std::uint64_t n_blocks = postings.block_windows.size();
    postings.term_blocks = view_starts(Kind::term_blocks, postings.terms.size(), n_blocks, true);
    postings.block_postings = view_starts(Kind::block_postings, n_blocks, n_postings, true);
    postings.block_bounds = view_impacts(Kind::block_bounds, n_blocks);
    postings.documents = view<std::uint16_t>(Kind::posting_documents, n_postings);
    postings.impacts = view_impacts(Kind::posting_impacts, n_postings);
    check_terms();
    check_windows();
}

void SegmentReader::read_cells() {
    const bool all = has(Kind::cell_blocks) && has(Kind::cell_maxima) && has(Kind::cell_starts);
    const bool none = !has(Kind::cell_blocks) && !has(Kind::cell_maxima) && !has(Kind::cell_starts);
    require(all || none, sizeof(format::Header), "some of the sections of cells are missing");
    if (none) return;
    Cells& cells = segment_.cells_;
    cells.blocks = view<std::uint64_t>(Kind::cell_blocks);
    const std::uint64_t n_blocks = segment_.postings_.block_windows.size();
    for (std::size_t i = 0; i < cells.blocks.size(); ++i) {
        const bool fits = cells.blocks[i] < n_blocks && (i == 0 || cells.blocks[i] > cells.blocks[i - 1]);
        require(fits, place(Kind::cell_blocks, cells.blocks, i), "a block with cells is out of order or not there");
    }
    cells.maxima = view_impacts(Kind::cell_maxima, cells.blocks.size() * format::kCells);
    cells.starts = view<std::uint16_t>(Kind::cell_starts, cells.blocks.size() * format::kCells);
}

void SegmentReader::read_rows() {
    Rows& rows = segment_.rows_;
    const std::uint64_t n_entries = (segment_.features_ & format::kPruned) == 0
                                        ? segment_.n_postings_
                                        : section(Kind::row_impacts).length / (segment_.is_wide() ? 2 : 1);
    require(n_entries >= segment_.n_postings_, section(Kind::row_impacts).offset, "fewer row entries than postings");
    rows.starts = view_starts(Kind::document_rows, segment_.n_documents_, n_entries, false);
    if (segment_.n_terms_ <= format::kMaxNarrowTerms) {
        rows.narrow_terms = view<std::uint16_t>(Kind::row_terms, n_entries);
    } else {
        rows.wide_terms = view<std::uint32_t>(Kind::row_terms, n_entries);
    }
    rows.impacts = view_impacts(Kind::row_impacts, n_entries);
    segment_.has_weights_ = has(Kind::row_weights);
    if (segment_.has_weights_) rows.weights = view<std::uint16_t>(Kind::row_weights, n_entries);
}

void SegmentReader::read_ids() {
    const format::Section& id_bytes = section(Kind::id_bytes);
    segment_.ids_.starts = view_starts(Kind::document_ids, segment_.n_documents_, id_bytes.length, false);
    segment_.ids_.bytes = {reinterpret_cast<const char*>(bytes_.data() + id_bytes.offset), id_bytes.length};
    segment_.id_bytes_offset_ = id_bytes.offset;
}

void SegmentReader::check_terms() const {
    const auto terms = segment_.postings_.terms;
    for (std::size_t i = 0; i < terms.size(); ++i) {
        const bool fits = terms[i] < segment_.n_terms_ && (i == 0 || terms[i] > terms[i - 1]);
        require(fits, place(Kind::terms, terms, i), "a term is out of order or beyond the vocabulary");
    }
}

void SegmentReader::check_windows() const {
    const Postings& postings = segment_.postings_;
    const auto windows = postings.block_windows;
    const std::uint32_t n_windows = (segment_.n_documents_ + kWindow - 1) / kWindow;
    for (std::size_t term = 0; term < postings.terms.size(); ++term) {
        const auto [begin, end] = postings.blocks(term);
        for (std::uint64_t block = begin; block < end; ++block) {
            const bool fits = windows[block] < n_windows && (block == begin || windows[block] > windows[block - 1]);
            require(fits, place(Kind::block_windows, windows, block),
                    "a window is out of order or beyond the documents");
        }
    }
}

}  // namespace everglade
