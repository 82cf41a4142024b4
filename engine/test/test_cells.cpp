// Cells: what a segment keeps of its dense blocks, and searches that skip by it over postings made to mislead them.

#include <numeric>
#include <optional>

#include "cells.hpp"
#include "check.hpp"
#include "corpus.hpp"
#include "everglade/format.hpp"
#include "searcher.hpp"
#include "twin.hpp"

using corpus::at;
using corpus::Corpus;
using corpus::Row;
using everglade::Candidate;
using everglade::SearchedSegment;
using everglade::Segment;
using everglade::format::kCell;
using everglade::format::kCells;
using everglade::format::kWindow;
using twin::OwnedQueries;
using twin::search;
using twin::search_slowly;

namespace {

std::vector<std::uint32_t> numbers_below(std::size_t count, std::uint32_t most, std::mt19937& random) {
    std::vector<std::uint32_t> made(count);
    for (std::uint32_t& number : made) number = static_cast<std::uint32_t>(random() % most);
    return made;
}

/// Search on every path, with one thread and with three, and compare with the slow twin.
void compare(std::span<const SearchedSegment> segments, const OwnedQueries& queries) {
    for (const std::size_t k : {1, 10, 33, 2000}) {
        const auto expected = search_slowly(segments, queries.view(), k);
        CHECK(search(segments, queries.view(), k) == expected);
        twin::Found shared = expected;
        for (std::size_t query = 0; query < queries.view().count(); ++query) {
            const auto hits = everglade::search_together(segments, queries.view()[query], k, 3, everglade::Path::cells);
            everglade::write_row(hits, query, k, {shared.segments, shared.locals, shared.scores});
        }
        CHECK(shared == expected);
    }
}

/// Documents of terms 0 to 7, of which the later are rarer, in two windows and a half.
Corpus documents(std::uint32_t most_impact, std::mt19937& random) {
    Corpus made;
    for (std::size_t d = 0; d < kWindow * 5 / 2; ++d) {
        Row row;
        for (std::int32_t term = 0; term < 8; ++term) {
            if (random() % 8 >= static_cast<unsigned>(term))
                row[term] = static_cast<std::uint16_t>(1 + random() % most_impact);
        }
        made.add(corpus::padded(d), row);
    }
    return made;
}

OwnedQueries some_queries() {
    OwnedQueries made;
    made.add({{0, 1}});
    made.add({{7, 4095}, {0, 1}});
    made.add({{0, 3}, {1, 3}, {2, 3}, {3, 3}, {4, 3}, {5, 3}, {6, 3}, {7, 3}});
    made.add({{2, 1}, {2, 2}, {5, 4095}, {9, 7}});
    return made;
}

/// Compare with cells in every block, and in the densest alone.
void compare_corpus(Corpus& made, const OwnedQueries& queries) {
    for (const std::uint32_t cells_from : {1u, 8000u}) {
        made.cells_from = cells_from;
        made.write(at("cells"));
        const Segment segment(at("cells"));
        CHECK(!segment.cells().blocks.empty());
        std::vector<std::uint8_t> hidden((segment.n_documents() + 7) / 8);
        for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = i % 3 == 0 ? 0xFF : 0x22;
        compare(std::vector<SearchedSegment>{{&segment, std::nullopt}}, queries);
        compare(std::vector<SearchedSegment>{{&segment, hidden}}, queries);
    }
}

}  // namespace

TEST(every_way_through_cells_equals_the_last) {
    std::mt19937 random(1);
    const auto& slow = everglade::ways_through_cells().back();
    for (const auto& way : everglade::ways_through_cells()) {
        for (const std::uint32_t query_impact : {0u, 1u, 4095u, 16'843'008u}) {
            std::vector<std::uint32_t> bounds = numbers_below(kCells, 1000, random), same = bounds;
            std::vector<std::uint8_t> maxima(kCells);
            std::vector<std::uint16_t> wide(kCells);
            for (std::uint8_t& maximum : maxima) maximum = static_cast<std::uint8_t>(random());
            for (std::uint16_t& maximum : wide) maximum = static_cast<std::uint16_t>(random());
            way.add_maxima(bounds.data(), maxima.data(), query_impact);
            slow.add_maxima(same.data(), maxima.data(), query_impact);
            CHECK(bounds == same);
            way.add_wide_maxima(bounds.data(), wide.data(), query_impact % 65'537);
            slow.add_wide_maxima(same.data(), wide.data(), query_impact % 65'537);
            CHECK(bounds == same);
        }
        for (const std::size_t n_cells : {1u, 2u, 1000u, 1024u}) {
            for (const std::uint32_t floor : {1u, 3u, 0x80000000u, 0xFFFFFFFFu}) {
                // Bounds and sums that reach the floor together, just or not, on both sides of the sign bit.
                std::vector<std::uint32_t> bounds = numbers_below(kCells, 3, random);
                std::vector<std::uint32_t> sums = numbers_below(kWindow, 3, random);
                for (const std::uint32_t cell : numbers_below(200, kCells, random)) bounds[cell] = floor - cell % 2;
                for (const std::uint32_t i : numbers_below(400, kWindow, random)) {
                    const std::uint32_t bound = bounds[i / kCell];
                    sums[i] = bound < floor ? floor - bound - i % 2 : i % 3;
                }
                for (std::size_t i = 0; i < sums.size(); ++i) {
                    sums[i] = std::min(sums[i], 0xFFFFFFFF - bounds[i / kCell]);
                }
                std::vector<std::uint32_t> same = sums;
                std::vector<Candidate> found(kCells + 1), expected(kCells + 1);
                found.resize(way.sift(sums.data(), bounds.data(), n_cells, floor, found.data()));
                expected.resize(slow.sift(same.data(), bounds.data(), n_cells, floor, expected.data()));
                CHECK(sums == same);
                CHECK(found.size() == expected.size());
                for (std::size_t i = 0; i < found.size(); ++i) {
                    CHECK(found[i].cell == expected[i].cell && found[i].bound == expected[i].bound);
                }
            }
        }
    }
}

TEST(sifting_keeps_what_reaches_the_floor_and_clears_the_rest) {
    std::vector<std::uint32_t> sums(kWindow), bounds(kCells);
    sums[3 * kCell + 15] = 5;
    sums[7 * kCell] = 4;
    bounds[3] = 5;
    bounds[7] = 5;
    bounds[9] = 10;
    std::vector<Candidate> found(kCells + 1);
    CHECK(everglade::ways_through_cells().back().sift(sums.data(), bounds.data(), kCells, 10, found.data()) == 2);
    CHECK(found[0].cell == 3 && found[0].bound == 10 && found[1].cell == 9 && found[1].bound == 10);
    CHECK(std::accumulate(sums.begin(), sums.end(), 0u) == 5);
}

TEST(cells_hold_the_maxima_and_starts_of_dense_blocks) {
    Corpus made;
    for (std::uint32_t d = 0; d < kWindow + 40; ++d) {
        Row row;
        if (d % 2 == 0) row[3] = static_cast<std::uint16_t>(1 + d % 251);
        if (d == 35) row[5] = 9;
        made.add(corpus::padded(d), row);
    }
    made.cells_from = 20;
    made.write(at("dense"));
    const Segment segment(at("dense"));
    const auto& cells = segment.cells();
    CHECK(cells.blocks.size() == 2 && cells.blocks[0] == 0 && cells.blocks[1] == 1);
    for (std::uint32_t cell = 0; cell < kCells; ++cell) {
        std::uint32_t greatest = 0;
        for (std::uint32_t d = cell * kCell; d < (cell + 1) * kCell; d += 2) greatest = std::max(greatest, 1 + d % 251);
        CHECK(cells.maxima[cell] == greatest && cells.starts[cell] == cell * kCell / 2);
        // 40 documents in the second window: three cells, then nothing more.
        CHECK(cells.starts[kCells + cell] == std::min(20u, cell * kCell / 2));
        CHECK((cells.maxima[kCells + cell] == 0) == (cell > 2));
    }
    made.cells_from = 21;
    made.write(at("dense"));
    CHECK(Segment(at("dense")).cells().blocks.size() == 1);
    made.cells_from.reset();
    made.write(at("dense"));
    CHECK(Segment(at("dense")).cells().blocks.empty());
}

TEST(equal_impacts_and_ties_everywhere) {
    std::mt19937 random(2);
    Corpus made = documents(1, random);
    compare_corpus(made, some_queries());
    made.shuffle(random);
    compare_corpus(made, some_queries());
}

TEST(all_kinds_of_impacts) {
    std::mt19937 random(3);
    Corpus made = documents(255, random);
    made.shuffle(random);
    compare_corpus(made, some_queries());
    made.wide = true;
    for (std::uint16_t& impact : made.wide_impacts) impact = static_cast<std::uint16_t>(impact * 257);
    made.prune();
    compare_corpus(made, some_queries());
}

TEST(the_heaviest_query_does_not_overflow_a_bound) {
    std::mt19937 random(4);
    Corpus made = documents(1, random);
    for (std::uint8_t& impact : made.impacts) impact = 255;
    for (std::uint16_t& impact : made.wide_impacts) impact = 65'535;
    OwnedQueries narrow, wide;
    narrow.add({{0, everglade::kMaxQueryMass - 9}, {6, 4}, {7, 5}});
    wide.add({{0, everglade::kMaxWideQueryMass - 9}, {6, 4}, {7, 5}});
    compare_corpus(made, narrow);
    made.wide = true;
    compare_corpus(made, wide);
}

TEST(a_term_in_one_cell_and_windows_without_postings) {
    Corpus made;
    for (std::size_t d = 0; d < 3 * kWindow; ++d) {
        Row row;
        if (d >= 2 * kWindow + 16 && d < 2 * kWindow + 32) row = {{1, 7}, {2, static_cast<std::uint16_t>(1 + d % 3)}};
        if (d == 5 || d == 2 * kWindow + 33) row[1] = 255;
        if (d % 2 == 1) row[3] = 1;  // 8,192 postings in each window
        made.add(corpus::padded(d), row);
    }
    OwnedQueries queries;
    queries.add({{1, 1}});
    queries.add({{2, 100}, {3, 1}});
    queries.add({{1, 1}, {2, 82}, {3, 2}});
    compare_corpus(made, queries);
}
