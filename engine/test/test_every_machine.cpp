// What must come out the same on every processor, compiler and number of threads: bytes of segments, orders, hits, and
// scores. The digests below were taken on x86-64; `make engine-test-aarch64` compares them on an emulated aarch64.

#include <numeric>

#include "check.hpp"
#include "corpus.hpp"
#include "everglade/crc32c.hpp"
#include "everglade/reorder.hpp"
#include "everglade/score.hpp"
#include "everglade/search.hpp"
#include "everglade/segment.hpp"

using corpus::at;
using corpus::Corpus;
using everglade::SearchedSegment;
using everglade::Segment;

namespace {

constexpr std::uint32_t kTerms = 400;
constexpr std::uint32_t kDocuments = 20'000;  // more than a window

/// Linear congruential numbers (Knuth's MMIX): the same everywhere, which the standard library's distributions are not.
class Numbers {
  public:
    std::uint32_t below(std::uint32_t end) noexcept {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::uint32_t>((state_ >> 33) % end);
    }

  private:
    std::uint64_t state_ = 1;
};

class Digest {
  public:
    template <typename Range>
    void add(const Range& values) noexcept {
        sum_ = everglade::crc32c(values.data(), values.size() * sizeof(*values.data()), sum_);
    }
    std::uint32_t sum() const noexcept { return sum_; }

  private:
    std::uint32_t sum_ = 0;
};

/// Frequent terms have small numbers.
std::int32_t random_term(Numbers& numbers) {
    return static_cast<std::int32_t>(numbers.below(1 + numbers.below(kTerms)));
}

const Corpus& documents() {
    static const Corpus made = [] {
        Corpus corpus;
        corpus.n_terms = kTerms;
        Numbers numbers;
        for (std::uint32_t d = 0; d < kDocuments; ++d) {
            corpus::Row row;
            for (std::uint32_t i = 0; i < 12; ++i) {
                row[random_term(numbers)] = static_cast<std::uint16_t>(1 + numbers.below(255));
            }
            corpus.add(corpus::padded(d), row);
        }
        return corpus;
    }();
    return made;
}

std::vector<std::uint32_t> order_of(std::size_t n_threads) {
    return everglade::find_order({kTerms, documents().starts, documents().terms}, n_threads);
}

struct OwnedQueries {
    std::vector<std::int64_t> starts{0};
    std::vector<std::int32_t> terms;
    std::vector<std::uint32_t> impacts;

    everglade::Queries view() const { return {starts, terms, impacts}; }
};

OwnedQueries random_queries() {
    OwnedQueries made;
    Numbers numbers;
    for (int query = 0; query < 40; ++query) {
        for (int i = 0; i < 1 + query % 12; ++i) {
            made.terms.push_back(random_term(numbers));
            made.impacts.push_back(1 + numbers.below(4'095));
        }
        made.starts.push_back(static_cast<std::int64_t>(made.terms.size()));
    }
    return made;
}

/// Scores and ids, so that it does not matter where a document stands.
std::uint32_t digest_of_search(const Segment& segment, std::size_t n_threads, double mass) {
    const OwnedQueries queries = random_queries();
    const std::vector<SearchedSegment> segments{{&segment, std::nullopt}};
    Digest digest;
    for (const std::size_t k : {1u, 10u, 1'000u}) {
        const std::size_t size = queries.view().count() * k;
        std::vector<std::int32_t> found(size);
        std::vector<std::uint32_t> locals(size), scores(size);
        const everglade::Results results{found, locals, scores};
        if (mass == 1) {
            everglade::search(segments, queries.view(), k, n_threads, results);
        } else {
            everglade::search_approximate(segments, queries.view(), k, n_threads, {mass, 2 * k}, results);
        }
        digest.add(scores);
        for (std::size_t i = 0; i < size; ++i) {
            if (found[i] >= 0) digest.add(segment.id(locals[i]));
        }
    }
    return digest.sum();
}

constexpr std::uint32_t kExact = 0x3e5e4670;
constexpr std::uint32_t kApproximate = 0xa5c7aa07;

}  // namespace

TEST(segments_have_the_same_bytes) {
    Corpus made = documents();
    CHECK(made.write(at("plain")).crc32c == 0x4bd756c5);
    made.weigh();
    made.order = order_of(1);
    made.prune();
    CHECK(made.write(at("full")).crc32c == 0x4bc78f33);
}

TEST(orders_are_the_same_on_any_number_of_threads) {
    for (const std::size_t n_threads : {1u, 2u, 3u}) {
        Digest digest;
        digest.add(order_of(n_threads));
        CHECK(digest.sum() == 0xff209217);
    }
}

TEST(searches_find_the_same) {
    Corpus made = documents();
    made.write(at("by_id"));
    made.order = order_of(1);
    made.write(at("ordered"));
    made.cells_from = 300;
    made.write(at("cells"));
    CHECK(Segment(at("cells")).cells().blocks.size() > 100);
    for (const char* name : {"by_id", "ordered", "cells"}) {
        const Segment segment(at(name));
        for (const std::size_t n_threads : {1u, 3u}) {
            CHECK(digest_of_search(segment, n_threads, 1) == kExact);
            CHECK(digest_of_search(segment, n_threads, .8) == kApproximate);
        }
    }
}

TEST(float_scores_are_the_same_to_the_bit) {
    Corpus made = documents();
    made.weigh();
    made.write(at("weights"));
    const Segment segment(at("weights"));
    std::vector<std::uint32_t> locals(kDocuments);
    std::iota(locals.begin(), locals.end(), 0u);
    std::vector<double> scores(kDocuments);
    const OwnedQueries queries = random_queries();
    Digest digest;
    for (std::size_t i = 0; i < queries.view().count(); ++i) {
        const everglade::Query query = queries.view()[i];
        std::vector<float> weights;
        for (const std::uint32_t impact : query.impacts) weights.push_back(static_cast<float>(impact) / 1'000.0f);
        everglade::score_documents_float(segment, locals, query.terms, weights, scores);
        digest.add(scores);
    }
    CHECK(digest.sum() == 0x5ea19696);
}
