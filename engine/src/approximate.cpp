// Search in two steps: scan the terms that promise most, then score the best candidates by their whole vectors.

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "everglade/score.hpp"
#include "searcher.hpp"

namespace everglade {
namespace {

/// Rows are asked for so many documents before they are read, and where they stand twice as many.
constexpr std::size_t kAhead = 8;

/// Queries that own their entries.
struct ChosenTerms {
    std::vector<std::int64_t> starts{0};
    std::vector<std::int32_t> terms;
    std::vector<std::uint32_t> impacts;

    Queries view() const { return {starts, terms, impacts}; }
};

std::uint32_t greatest_impact(const Segment& segment, std::uint32_t term) {
    const auto place = segment.find_term(term);
    if (!place) return 0;
    std::uint32_t greatest = 0;
    for (auto [block, last] = segment.postings().blocks(*place); block < last; ++block) {
        greatest = std::max(greatest, segment.postings().block_bounds[block]);
    }
    return greatest;
}

struct Promise {
    std::uint64_t most;  // what the term can add to a score
    std::int32_t term;
    std::uint32_t impact;
};

/// The terms of the query, each once, with what they can add.
std::vector<Promise> promises_of(std::span<const SearchedSegment> segments, const Query& query) {
    std::vector<Promise> promises;
    for (std::size_t i = 0; i < query.terms.size(); ++i) promises.push_back({0, query.terms[i], query.impacts[i]});
    std::sort(promises.begin(), promises.end(), [](const Promise& a, const Promise& b) { return a.term < b.term; });
    std::size_t count = 0;
    for (const Promise& promise : promises) {
        if (count > 0 && promises[count - 1].term == promise.term) {
            promises[count - 1].impact += promise.impact;
        } else {
            promises[count++] = promise;
        }
    }
    promises.resize(count);
    for (Promise& promise : promises) {
        std::uint32_t greatest = 0;
        for (const SearchedSegment& searched : segments) {
            greatest = std::max(greatest, greatest_impact(*searched.segment, static_cast<std::uint32_t>(promise.term)));
        }
        promise.most = std::uint64_t{promise.impact} * greatest;
    }
    return promises;
}

/// Add the terms of a query that cover `mass` of what all of them can add.
void choose_terms(std::span<const SearchedSegment> segments, const Query& query, double mass, ChosenTerms& chosen) {
    std::vector<Promise> promises = promises_of(segments, query);
    std::stable_sort(promises.begin(), promises.end(),
                     [](const Promise& a, const Promise& b) { return a.most > b.most; });
    std::uint64_t total = 0;
    for (const Promise& promise : promises) total += promise.most;
    const double enough = mass * static_cast<double>(total);
    std::uint64_t covered = 0;
    for (const Promise& promise : promises) {
        if (static_cast<double>(covered) >= enough) break;
        chosen.terms.push_back(promise.term);
        chosen.impacts.push_back(promise.impact);
        covered += promise.most;
    }
    chosen.starts.push_back(static_cast<std::int64_t>(chosen.terms.size()));
}

/// The second step, for one query after another.
class Completion {
  public:
    Completion(std::span<const SearchedSegment> segments, std::uint32_t n_terms)
        : segments_(segments), scorer_(n_terms) {}

    /// The best k candidates by their whole vectors, best first. The span lives until the next call.
    std::span<const Hit> best(const Query& query, std::span<const Hit> candidates, std::size_t k) {
        hits_.assign(candidates.begin(), candidates.end());
        scorer_.begin(query);
        const std::size_t count = hits_.size();
        for (std::size_t i = 0; i < std::min(2 * kAhead, count); ++i) ask_for_start(i);
        for (std::size_t i = 0; i < std::min(kAhead, count); ++i) ask_for_row(i);
        for (std::size_t i = 0; i < count; ++i) {
            if (i + 2 * kAhead < count) ask_for_start(i + 2 * kAhead);
            if (i + kAhead < count) ask_for_row(i + kAhead);
            hits_[i].score = scorer_.score(segment_of(hits_[i]), hits_[i].local);
        }
        const std::size_t kept = std::min(k, count);
        std::partial_sort(hits_.begin(), hits_.begin() + static_cast<std::ptrdiff_t>(kept), hits_.end(),
                          [this](const Hit& a, const Hit& b) { return stands_before(segments_, a, b); });
        return std::span(hits_).first(kept);
    }

  private:
    const Segment& segment_of(const Hit& hit) const { return *segments_[hit.segment].segment; }
    void ask_for_start(std::size_t i) const { DocumentScorer::prefetch_start(segment_of(hits_[i]), hits_[i].local); }
    void ask_for_row(std::size_t i) const { DocumentScorer::prefetch_row(segment_of(hits_[i]), hits_[i].local); }

    std::span<const SearchedSegment> segments_;
    DocumentScorer scorer_;
    std::vector<Hit> hits_;
};

}  // namespace

void search_approximate(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k,
                        std::size_t n_threads, const Approximation& approximation, const Results& results) {
    require_search(segments, queries, k, n_threads);
    if (!(approximation.mass > 0 && approximation.mass <= 1)) {
        throw std::invalid_argument("mass must be above 0 and at most 1");
    }
    if (approximation.candidates < k) throw std::invalid_argument("candidates must be at least k");
    ChosenTerms chosen;
    for (std::size_t number = 0; number < queries.count(); ++number) {
        choose_terms(segments, queries[number], approximation.mass, chosen);
    }
    const std::uint32_t n_terms = segments.empty() ? 0 : segments.front().segment->n_terms();
    search_each(segments, chosen.view(), approximation.candidates, n_threads, Path::automatic, [&] {
        return [&, completion = Completion(segments, n_terms)](std::size_t number,
                                                               std::span<const Hit> candidates) mutable {
            write_row(completion.best(queries[number], candidates, k), number, k, results);
        };
    });
}

}  // namespace everglade
