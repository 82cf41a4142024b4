// Hostile cells: wrong maxima and starts under right checksums are found, or harmless where nobody looked.

#include <cstring>

#include "check.hpp"
#include "corpus.hpp"
#include "everglade/format.hpp"
#include "everglade/segment.hpp"
#include "hostile.hpp"

using corpus::at;
using corpus::Corpus;
using everglade::Segment;
using everglade::Verify;
using hostile::celled_segment;
using hostile::opens;
using hostile::sealed;
using hostile::section_of;
using hostile::written;
namespace format = everglade::format;

namespace {

/// Two windows and some; cells in the blocks of both terms, 4 in all.
const std::string& windowed_segment() {
    static const std::string bytes = [] {
        Corpus made;
        for (std::uint32_t d = 0; d < 2 * format::kWindow + 20; ++d) {
            corpus::Row row;
            if (d % 7 == 0) row[4] = static_cast<std::uint16_t>(1 + d % 5);
            if (d % 9 == 0 && d < 2 * format::kWindow) row[7] = 3;
            made.add(corpus::padded(d), row);
        }
        made.cells_from = 1800;
        made.rows = false;
        return written(made);
    }();
    return bytes;
}

}  // namespace

TEST(broken_rules_of_cells_under_right_checksums_are_found) {
    using format::Kind;
    for (const std::string& good : {celled_segment(), windowed_segment()}) {
        CHECK(Segment((corpus::write(at("cells"), good), at("cells"))).cells().blocks.size() > 0);
        const auto change = [&](Kind kind, std::size_t at, auto value) {
            std::string bytes = good;
            const format::Section section = section_of(good, kind);
            CHECK(at + sizeof value <= section.length);
            std::memcpy(bytes.data() + section.offset + at, &value, sizeof value);
            return sealed(bytes);
        };
        const std::size_t last_cell = section_of(good, Kind::cell_maxima).length - 1;
        for (const auto verify : {Verify::everything, Verify::structure}) {
            CHECK(!opens(change(Kind::cell_blocks, 0, std::uint64_t{1} << 40), verify));  // beyond the blocks
            CHECK(!opens(change(Kind::cell_blocks, 0, std::uint64_t{7}), verify));
        }
        for (const std::size_t cell : {std::size_t{0}, std::size_t{1}, last_cell}) {
            for (const int value : {0, 1, 6, 255}) {  // one is right at most: the others are too low or too high
                const std::string bytes = change(Kind::cell_maxima, cell, static_cast<std::uint8_t>(value));
                CHECK(bytes == good || !opens(bytes, Verify::everything));
                CHECK(opens(bytes, Verify::structure));  // and harmless where nobody looked
            }
            for (const int value : {0, 1, 200, 16'384, 65'535}) {
                const std::string bytes = change(Kind::cell_starts, 2 * cell, static_cast<std::uint16_t>(value));
                CHECK(bytes == good || !opens(bytes, Verify::everything));
                CHECK(opens(bytes, Verify::structure));
            }
        }
    }
    const std::string twice = [] {  // the same block twice
        std::string bytes = windowed_segment();
        char* const blocks = bytes.data() + section_of(bytes, Kind::cell_blocks).offset;
        std::memcpy(blocks + 8, blocks, 8);
        return sealed(bytes);
    }();
    CHECK(!opens(twice, Verify::structure));
}

TEST(the_sections_of_cells_come_together) {
    using format::Kind;
    const Kind first_three[] = {Kind::cell_blocks, Kind::cell_maxima, Kind::cell_starts};
    for (const Kind missing : first_three) {
        // The three get the other two kinds and one of a later minor version, which is skipped.
        std::vector<std::uint32_t> left{format::kKnownKinds + 1};
        for (const Kind kind : first_three) {
            if (kind != missing) left.insert(left.end() - 1, static_cast<std::uint32_t>(kind));
        }
        std::string bytes = celled_segment();
        std::uint32_t n_sections;
        std::memcpy(&n_sections, bytes.data() + offsetof(format::Header, n_sections), sizeof n_sections);
        char* const last_three = bytes.data() + sizeof(format::Header) + (n_sections - 3) * sizeof(format::Section);
        for (std::size_t i = 0; i < 3; ++i) std::memcpy(last_three + i * sizeof(format::Section), &left[i], 4);
        corpus::write(at("torn"), sealed(bytes));
        try {
            Segment(at("torn"), Verify::structure);
            CHECK(false);
        } catch (const everglade::CorruptSegment& error) {
            CHECK(error.why.find("sections of cells") != std::string::npos);
        }
    }
}
