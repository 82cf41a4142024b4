#include "use_segment.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

#include "everglade/errors.hpp"
#include "everglade/score.hpp"
#include "everglade/search.hpp"

namespace everglade::fuzz {
namespace {

/// Of a segment that is used whole; larger ones would only slow things down.
constexpr std::size_t kMostDocuments = 4096;

/// One input in so many has its documents scored by their rows: that takes tables of a quarter of a mebibyte, which the
/// sanitizer maps, poisons and unmaps each time, and so half of what an execution costs.
constexpr std::uint32_t kScoredInputs = 4;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "wrong answer: %s\n", what);
    std::abort();
}

struct OwnQuery {
    std::vector<std::int64_t> starts;
    std::vector<std::int32_t> terms;
    std::vector<std::uint32_t> impacts;
};

OwnQuery draw_query(const Segment& segment, std::mt19937& random) {
    OwnQuery query;
    const auto present = segment.postings().terms;
    const std::size_t count = segment.n_terms() == 0 ? 0 : random() % 6;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t term =
            !present.empty() && random() % 4 != 0 ? present[random() % present.size()] : random() % segment.n_terms();
        query.terms.push_back(static_cast<std::int32_t>(term));
        query.impacts.push_back(random() % 5 == 0 ? 4095 : 1 + random() % 9);
    }
    query.starts = {0, static_cast<std::int64_t>(query.terms.size())};
    return query;
}

struct Answer {
    std::vector<std::int32_t> segments;
    std::vector<std::uint32_t> locals;
    std::vector<std::uint32_t> scores;

    explicit Answer(std::size_t k) : segments(k), locals(k), scores(k) {}
    Results results() { return {segments, locals, scores}; }
    bool operator==(const Answer&) const = default;
};

/// Best first: greater scores, then smaller ids, over the postings as gather_rows gives them.
Answer naive_search(const Segment& segment, const OwnQuery& query, const std::vector<std::uint8_t>& hidden,
                    std::size_t k) {
    const GatheredRows rows = segment.gather_rows();
    std::vector<std::pair<std::uint32_t, std::uint32_t>> found;
    for (std::uint32_t local = 0; local < segment.n_documents(); ++local) {
        if ((hidden[local / 8] >> (local % 8) & 1) != 0) continue;
        std::uint32_t score = 0;
        for (auto entry = rows.starts[local]; entry < rows.starts[local + 1]; ++entry) {
            for (std::size_t i = 0; i < query.terms.size(); ++i) {
                if (static_cast<std::uint32_t>(query.terms[i]) == rows.terms[entry]) {
                    score += query.impacts[i] * rows.impacts[entry];
                }
            }
        }
        if (score > 0) found.emplace_back(score, local);
    }
    std::sort(found.begin(), found.end(), [&](const auto& a, const auto& b) {
        if (a.first != b.first) return a.first > b.first;
        return segment.id_bytes(a.second) < segment.id_bytes(b.second);
    });
    Answer answer(k);
    std::fill(answer.segments.begin(), answer.segments.end(), -1);
    for (std::size_t i = 0; i < std::min(k, found.size()); ++i) {
        answer.segments[i] = 0;
        answer.scores[i] = found[i].first;
        answer.locals[i] = found[i].second;
    }
    return answer;
}

/// The score of a document by its row.
std::uint32_t naive_score(const Segment& segment, const OwnQuery& query, std::uint32_t local) {
    const auto [first, last] = segment.row(local);
    std::uint32_t score = 0;
    for (auto entry = first; entry < last; ++entry) {
        for (std::size_t i = 0; i < query.terms.size(); ++i) {
            if (static_cast<std::uint32_t>(query.terms[i]) == segment.rows().term(entry)) {
                score += query.impacts[i] * segment.rows().impacts[entry];
            }
        }
    }
    return score;
}

void use_searches(const Segment& segment, std::mt19937& random, bool verified) {
    const OwnQuery query = draw_query(segment, random);
    const std::size_t k = 1 + random() % 12;
    std::vector<std::uint8_t> hidden((std::size_t{segment.n_documents()} + 7) / 8);
    for (auto& byte : hidden) byte = static_cast<std::uint8_t>(random() & random());
    const std::vector<SearchedSegment> searched{{&segment, hidden}};
    const Queries queries{query.starts, query.terms, query.impacts};
    Answer exact(k), skipping(k);
    search(searched, queries, k, 1, exact.results(), Path::scan);
    search(searched, queries, k, 1, skipping.results(), Path::cells);
    if (verified) {
        require(exact == naive_search(segment, query, hidden, k), "search and the naive sum over the postings differ");
        require(exact == skipping, "searches with and without cells differ");
    }
    if (random() % kScoredInputs != 0) return;
    Answer rough(k), whole(k);
    search_approximate(searched, queries, k, 1, {0.5, k + random() % 9}, rough.results());
    search_approximate(searched, queries, k, 1, {1.0, k}, whole.results());
    if (!verified || segment.has_rows()) return;
    require(exact == whole, "search and the approximate search of the whole mass differ");
}

void use_rows(const Segment& segment) {
    std::uint64_t sum = segment.gather_rows().terms.size() + segment.n_row_entries();
    for (std::uint32_t local = 0; local < segment.n_documents(); ++local) {
        sum += segment.find_impact(0, local) * (segment.postings().terms.empty() ? 0 : 1);
        if (!segment.has_rows()) continue;
        const auto [first, last] = segment.row(local);
        for (auto i = first; i < last; ++i) sum += segment.rows().term(i) + segment.rows().impacts[i];
    }
    if (sum == std::numeric_limits<std::uint64_t>::max()) std::abort();  // so that the reads cannot be left out
}

void use_scores(const Segment& segment, std::mt19937& random, bool verified) {
    const OwnQuery query = draw_query(segment, random);
    std::vector<std::uint32_t> locals(segment.n_documents());
    std::iota(locals.begin(), locals.end(), 0u);
    std::vector<std::uint32_t> scores(locals.size());
    score_documents(segment, locals, {query.terms, query.impacts}, scores);
    if (segment.has_weights()) {
        std::vector<double> exact(locals.size());
        const std::vector<float> weights(query.impacts.begin(), query.impacts.end());
        score_documents_float(segment, locals, query.terms, weights, exact);
        const bool sums = std::all_of(exact.begin(), exact.end(), [](double score) { return score >= 0; });
        require(!verified || sums, "a sum of weights is negative or no number");
    }
    if (!verified || !segment.has_rows()) return;
    for (const std::uint32_t local : locals) {
        require(scores[local] == naive_score(segment, query, local), "a score and the naive sum over the row differ");
    }
}

void use_ids(const Segment& segment, bool verified) {
    for (std::uint32_t local = 0; local < segment.n_documents(); ++local) {
        try {
            const auto found = segment.find(segment.id(local));
            require(!verified || found == local, "an id of a verified segment is not found where it stands");
        } catch (const CorruptSegment&) {
            require(!verified, "a verified segment holds an id that is no text");
        }
    }
}

}  // namespace

void use_segment(const Segment& segment, std::uint32_t seed, bool verified) {
    std::mt19937 random(seed);
    if (segment.n_documents() > kMostDocuments) return;
    use_searches(segment, random, verified);
    use_rows(segment);
    if (random() % kScoredInputs == 0) use_scores(segment, random, verified);
    use_ids(segment, verified);
}

}  // namespace everglade::fuzz
