// The best documents of each query over all segments, by one thread a query or by several together.

#include "everglade/search.hpp"

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "everglade/format.hpp"
#include "searcher.hpp"

namespace everglade {
namespace {

/// From so many postings on, sharing a query among threads gains more than starting them costs.
constexpr std::uint64_t kManyPostings = 500'000;

/// From so many postings on, queries that go through the windows together gain an eighth; below, nothing.
constexpr std::uint64_t kBeyondCaches = 50'000'000;
constexpr std::size_t kGroup = 32;
constexpr std::size_t kKeysOfGroup = 32'000;  // as each query keeps the documents it has found
constexpr std::size_t kSharesOfThread = 4;    // so that no thread waits long for the last one

std::uint64_t n_windows(const Segment& segment) noexcept {
    return (std::uint64_t{segment.n_documents()} + format::kWindow - 1) / format::kWindow;
}

}  // namespace

bool stands_before(std::span<const SearchedSegment> segments, const Hit& a, const Hit& b) noexcept {
    if (a.score != b.score) return a.score > b.score;
    return segments[a.segment].segment->id_bytes(a.local) < segments[b.segment].segment->id_bytes(b.local);
}

void Searcher::begin(std::size_t n_queries) {
    while (ways_.size() < n_queries) ways_.push_back({SegmentScan(collect_), {}});
    for (std::size_t i = 0; i < n_queries; ++i) ways_[i].best.clear();
}

void Searcher::search(std::span<const Query> queries, std::size_t k) {
    begin(queries.size());
    const std::span<Way> ways = std::span(ways_).first(queries.size());
    for (std::size_t segment = 0; segment < segments_.size(); ++segment) {
        for (std::size_t i = 0; i < ways.size(); ++i) {
            // A document of another segment may win a tie by its id, so the k-th best score itself is still enough.
            ways[i].scan.begin(segments_[segment], queries[i], k, ways[i].floor(k), path_);
            ways[i].scan.scan_promising(sums_);
        }
        for (std::uint32_t window = 0; window < n_windows(*segments_[segment].segment); ++window) {
            for (Way& way : ways) {
                if (way.scan.next_window(window) == window) way.scan.scan(window, sums_);
            }
        }
        for (Way& way : ways) merge(way, segment, k);
    }
}

void Searcher::search_part(const Query& query, std::size_t k, SharedSearch& shared) {
    begin(1);
    Way& way = ways_.front();
    std::uint64_t first = 0;
    std::uint64_t mine = shared.next_window++;
    for (std::size_t segment = 0; segment < segments_.size(); ++segment) {
        const std::uint64_t end = first + n_windows(*segments_[segment].segment);
        if (mine < end) {
            way.scan.begin(segments_[segment], query, k, way.floor(k), path_);
            for (; mine < end; mine = shared.next_window++) {
                const auto window = static_cast<std::uint32_t>(mine - first);
                if (way.scan.next_window(window) != window) continue;
                way.scan.raise_floor(shared.floor.load(std::memory_order_relaxed));
                way.scan.scan(window, sums_);
                shared.raise_floor(way.scan.reached());
            }
            merge(way, segment, k);
            shared.raise_floor(way.floor(k));
        }
        first = end;
    }
}

void Searcher::merge(Way& way, std::size_t segment, std::size_t k) {
    merged_.clear();
    auto old = way.best.begin();
    for (const Key key : way.scan.finish()) {
        const Hit hit{score_of(key), segments_[segment].segment->by_rank(number_of(key)), segment};
        while (old != way.best.end() && !stands_before(segments_, hit, *old)) merged_.push_back(*old++);
        merged_.push_back(hit);
    }
    merged_.insert(merged_.end(), old, way.best.end());
    if (merged_.size() > k) merged_.resize(k);
    way.best.swap(merged_);
}

std::vector<Hit> search_together(std::span<const SearchedSegment> segments, const Query& query, std::size_t k,
                                 std::size_t n_threads, Path path) {
    SharedSearch shared;
    std::mutex lock;
    std::vector<Hit> best;
    run_on_threads(n_threads, [&] {
        Searcher searcher(segments, path);
        searcher.search_part(query, k, shared);
        const std::lock_guard held(lock);
        best.insert(best.end(), searcher.found().begin(), searcher.found().end());
    });
    std::sort(best.begin(), best.end(),
              [segments](const Hit& a, const Hit& b) { return stands_before(segments, a, b); });
    if (best.size() > k) best.resize(k);
    return best;
}

bool pays_together(std::span<const SearchedSegment> segments, const Query& query) {
    std::uint64_t postings = 0;
    for (const SearchedSegment& searched : segments) {
        const Postings& all = searched.segment->postings();
        for (const std::int32_t term : query.terms) {
            const auto place = searched.segment->find_term(static_cast<std::uint32_t>(term));
            if (!place) continue;
            const auto [first, last] = all.blocks(*place);
            postings += all.block_postings[last] - all.block_postings[first];
        }
    }
    return postings >= kManyPostings;
}

std::size_t group_size(std::span<const SearchedSegment> segments, std::size_t k, std::size_t n_queries,
                       std::size_t n_threads) noexcept {
    std::uint64_t postings = 0;
    for (const SearchedSegment& searched : segments) postings += searched.segment->n_postings();
    if (postings < kBeyondCaches) return 1;
    const std::size_t fair = n_queries / (kSharesOfThread * n_threads);
    return std::max<std::size_t>(1, std::min({kGroup, kKeysOfGroup / k, fair}));
}

void write_row(std::span<const Hit> hits, std::size_t row, std::size_t k, const Results& results) {
    for (std::size_t i = 0; i < k; ++i) {
        const bool found = i < hits.size();
        results.segments[row * k + i] = found ? static_cast<std::int32_t>(hits[i].segment) : -1;
        results.locals[row * k + i] = found ? hits[i].local : 0;
        results.scores[row * k + i] = found ? hits[i].score : 0;
    }
}

void require_search(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k,
                    std::size_t n_threads) {
    if (k == 0) throw std::invalid_argument("k must be at least 1");
    if (n_threads == 0) throw std::invalid_argument("threads must be at least 1");
    require_segments(segments);
    require_queries(queries, segments);
}

void search(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k, std::size_t n_threads,
            const Results& results, Path path) {
    require_search(segments, queries, k, n_threads);
    search_each(segments, queries, k, n_threads, path, [&] {
        return [&](std::size_t number, std::span<const Hit> hits) { write_row(hits, number, k, results); };
    });
}

}  // namespace everglade
