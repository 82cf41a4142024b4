#include <deque>
#include <optional>
#include <stdexcept>

#include "check.hpp"
#include "corpus.hpp"
#include "everglade/format.hpp"
#include "everglade/search.hpp"
#include "searcher.hpp"
#include "twin.hpp"

using corpus::at;
using corpus::Corpus;
using corpus::Row;
using everglade::Path;
using everglade::SearchedSegment;
using everglade::Segment;
using twin::Found;
using twin::kPaths;
using twin::OwnedQueries;
using twin::search;
using twin::search_slowly;

namespace {

/// Documents number first, first + step, ... with few different impacts, so that equal scores are common. Term t occurs
/// in one of t + 1 documents.
Corpus random_corpus(std::size_t first, std::size_t step, std::size_t count, std::mt19937& random) {
    Corpus made;
    made.cells_from = 1 + random() % 1000;
    for (std::size_t i = 0; i < count; ++i) {
        Row row;
        for (std::int32_t term = 0; term < 40; term += 1 + term / 2) {
            if (random() % static_cast<unsigned>(term * term + 1) == 0)
                row[term] = static_cast<std::uint8_t>(1 + random() % 3);
        }
        made.add(corpus::padded(first + i * step), row);
    }
    return made;
}

OwnedQueries some_queries() {
    OwnedQueries made;
    made.add({{0, 1}});
    made.add({{0, 2}, {1, 1}, {2, 3}, {4, 9}});
    made.add({{28, 4095}, {18, 1}});
    made.add({{2, 1}, {0, 0}, {2, 1}});
    made.add({});
    made.add({{49, 7}});
    made.add({{18, 5}, {12, 5}, {7, 5}, {4, 5}, {2, 5}, {1, 5}, {0, 5}});
    return made;
}

}  // namespace

TEST(search_equals_the_slow_twin_over_windows_and_segments) {
    std::mt19937 random(5);
    // Three segments whose ids interleave: two and a half windows, a few documents, none.
    random_corpus(0, 2, everglade::format::kWindow * 5 / 2, random).write(at("large"));
    random_corpus(1, 2, 300, random).write(at("small"));
    Corpus().write(at("none"));
    const Segment large(at("large")), small(at("small")), none(at("none"));
    std::vector<std::uint8_t> gone((large.n_documents() + 7) / 8);
    for (std::uint8_t& byte : gone) byte = static_cast<std::uint8_t>(random() & random());
    const std::vector<SearchedSegment> all{{&small, std::nullopt}, {&none, std::nullopt}, {&large, std::nullopt}};
    const std::vector<SearchedSegment> fewer{{&large, gone}, {&small, std::nullopt}};
    const OwnedQueries queries = some_queries();
    for (const auto& segments : {all, fewer}) {
        for (const std::size_t k : {1, 7, 150, 1000}) {
            const Found expected = search_slowly(segments, queries.view(), k);
            CHECK(search(segments, queries.view(), k) == expected);
            CHECK(search(segments, queries.view(), k, 3) == expected);
        }
    }
}

TEST(every_kind_of_segment_is_searched_alone_and_together) {
    std::mt19937 random(9);
    Corpus plain = random_corpus(0, 4, everglade::format::kWindow * 3 / 2, random);
    Corpus moved = random_corpus(1, 4, everglade::format::kWindow * 5 / 2, random);
    moved.shuffle(random);
    Corpus wide = random_corpus(2, 4, 900, random);
    wide.wide = true;
    wide.prune();
    Corpus bare = random_corpus(3, 4, everglade::format::kWindow + 5, random);
    bare.wide = true;
    bare.shuffle(random);
    bare.rows = false;
    std::deque<Segment> made;
    std::vector<std::vector<std::uint8_t>> hidden;
    for (const Corpus* corpus : {&plain, &moved, &wide, &bare}) {
        corpus->write(at("kind"));
        made.emplace_back(at("kind"));
        hidden.emplace_back((made.back().n_documents() + 7) / 8);
        for (std::uint8_t& byte : hidden.back()) byte = static_cast<std::uint8_t>(random() & random());
    }
    std::vector<SearchedSegment> segments;
    for (std::size_t i = 0; i < made.size(); ++i) segments.push_back({&made[i], hidden[i]});
    const OwnedQueries queries = some_queries();
    for (const std::size_t k : {1, 10, 150, 1000, 90'000}) {
        const Found expected = search_slowly(segments, queries.view(), k);
        CHECK(search(segments, queries.view(), k) == expected);
        Found shared = expected;
        for (const everglade::Collect collect : everglade::ways_to_collect()) {
            everglade::Searcher searcher(segments, Path::cells, collect);
            std::vector<everglade::Query> group;
            for (std::size_t query = 0; query < queries.view().count(); ++query) group.push_back(queries.view()[query]);
            searcher.search(group, k);
            for (std::size_t query = 0; query < group.size(); ++query) {
                everglade::write_row(searcher.found(query), query, k, {shared.segments, shared.locals, shared.scores});
            }
            CHECK(shared == expected);
        }
        for (std::size_t query = 0; query < queries.view().count(); ++query) {
            const auto hits =
                everglade::search_together(segments, queries.view()[query], k, 1 + query % 3, kPaths[query % 3]);
            everglade::write_row(hits, query, k, {shared.segments, shared.locals, shared.scores});
        }
        CHECK(shared == expected);
    }
}

TEST(a_heavy_query_is_shared_among_threads) {
    // 30 terms in each of 40,000 documents: more than a million postings.
    Corpus made;
    Row row;
    for (std::int32_t term = 0; term < 30; ++term) row[term] = 1;
    for (std::size_t d = 0; d < 40'000; ++d) {
        row[static_cast<std::int32_t>(d % 30)] = static_cast<std::uint16_t>(1 + d % 3);
        made.add(corpus::padded(d), row);
    }
    made.cells_from = 4096;
    made.write(at("heavy"));
    const Segment segment(at("heavy"));
    const std::vector<SearchedSegment> segments{{&segment, std::nullopt}};
    OwnedQueries queries;
    std::vector<std::pair<std::int32_t, std::uint32_t>> entries;
    for (std::int32_t term = 0; term < 30; ++term) entries.emplace_back(term, 1 + term % 4);
    queries.add(entries);
    queries.add({{3, 1}});
    CHECK(everglade::pays_together(segments, queries.view()[0]));
    CHECK(!everglade::pays_together(segments, queries.view()[1]));
    const Found expected = search_slowly(segments, queries.view(), 20);
    CHECK(search(segments, queries.view(), 20, 1) == expected);
    CHECK(search(segments, queries.view(), 20, 3) == expected);
}

TEST(approximate_search_with_all_the_mass_is_search) {
    std::mt19937 random(12);
    random_corpus(0, 1, 3000, random).write(at("whole"));
    const Segment segment(at("whole"));
    const std::vector<SearchedSegment> segments{{&segment, std::nullopt}};
    const OwnedQueries queries = some_queries();
    const std::size_t size = queries.view().count() * 20;
    Found found{std::vector<std::int32_t>(size), std::vector<std::uint32_t>(size), std::vector<std::uint32_t>(size)};
    everglade::search_approximate(segments, queries.view(), 20, 2, {1.0, 20},
                                  {found.segments, found.locals, found.scores});
    CHECK(found == search(segments, queries.view(), 20));
}

TEST(k_may_be_larger_than_the_collection) {
    std::mt19937 random(6);
    random_corpus(0, 1, 20, random).write(at("twenty"));
    const Segment segment(at("twenty"));
    const std::vector<SearchedSegment> segments{{&segment, std::nullopt}};
    const OwnedQueries queries = some_queries();
    CHECK(search(segments, queries.view(), 50) == search_slowly(segments, queries.view(), 50));
}

TEST(wrong_arguments_are_refused) {
    Corpus made;
    made.add("a", {{1, 1}});
    made.write(at("one"));
    made.n_terms = 51;
    made.write(at("other"));
    const Segment one(at("one")), other(at("other"));
    const std::vector<std::uint8_t> two_bytes(2);
    OwnedQueries query;
    query.add({{1, 1}});
    const auto refused = [](std::vector<SearchedSegment> segments, const OwnedQueries& queries, std::size_t k,
                            std::size_t threads) {
        return check::throws<std::invalid_argument>([&] { search(segments, queries.view(), k, threads); });
    };
    CHECK(!refused({{&one, std::nullopt}}, query, 1, 1));
    CHECK(refused({{&one, std::nullopt}}, query, 0, 1));
    CHECK(refused({{&one, std::nullopt}}, query, 1, 0));
    CHECK(refused({{&one, two_bytes}}, query, 1, 1));
    CHECK(refused({{&one, std::nullopt}, {&other, std::nullopt}}, query, 1, 1));
    for (const auto& entry :
         std::vector<std::pair<std::int32_t, std::uint32_t>>{{50, 1}, {-1, 1}, {1, everglade::kMaxQueryMass + 1}}) {
        OwnedQueries bad;
        bad.add({entry});
        CHECK(refused({{&one, std::nullopt}}, bad, 1, 1));
    }
    OwnedQueries beyond = query;
    beyond.starts[1] = 2;
    CHECK(refused({{&one, std::nullopt}}, beyond, 1, 1));
    beyond.starts = {1, 1};
    CHECK(refused({{&one, std::nullopt}}, beyond, 1, 1));
}
