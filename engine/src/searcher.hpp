#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "everglade/search.hpp"
#include "everglade/threads.hpp"
#include "scan.hpp"

namespace everglade {

/// A document that was found.
struct Hit {
    std::uint32_t score;
    std::uint32_t local;
    std::size_t segment;
};

/// Whether `a` stands before `b`: by score, then by id.
bool stands_before(std::span<const SearchedSegment> segments, const Hit& a, const Hit& b) noexcept;

/// What the threads that search for one query have in common.
struct SharedSearch {
    std::atomic<std::uint64_t> next_window{0};  // counted through all segments
    std::atomic<std::uint32_t> floor{1};        // k documents reach this score

    void raise_floor(std::uint32_t score) noexcept {
        std::uint32_t known = floor.load(std::memory_order_relaxed);
        while (known < score && !floor.compare_exchange_weak(known, score, std::memory_order_relaxed)) {
        }
    }
};

/// Finds the best documents of queries; keeps its memory from one to the next.
class Searcher {
  public:
    explicit Searcher(std::span<const SearchedSegment> segments, Path path = Path::automatic,
                      Collect collect = ways_to_collect().front())
        : segments_(segments), path_(path), collect_(collect) {}

    /// Find the best k for each query: all of them scan a window before any goes on to the next, so that its postings
    /// come from the cache. The results are those of one query at a time.
    void search(std::span<const Query> queries, std::size_t k);

    /// Find the best k of the windows that this thread gets; other threads with the same `shared` get the others.
    void search_part(const Query& query, std::size_t k, SharedSearch& shared);

    /// What the i-th query found, best first. The span lives until the next search.
    std::span<const Hit> found(std::size_t i = 0) const noexcept { return ways_[i].best; }

  private:
    /// One query on its way.
    struct Way {
        SegmentScan scan;
        std::vector<Hit> best;

        std::uint32_t floor(std::size_t k) const noexcept { return best.size() == k ? best.back().score : 1; }
    };

    void begin(std::size_t n_queries);
    void merge(Way& way, std::size_t segment, std::size_t k);

    std::span<const SearchedSegment> segments_;
    Path path_;
    Collect collect_;
    Sums sums_;
    std::vector<Way> ways_;
    std::vector<Hit> merged_;
};

/// The best k, found by several threads that share the windows.
std::vector<Hit> search_together(std::span<const SearchedSegment> segments, const Query& query, std::size_t k,
                                 std::size_t n_threads, Path path = Path::automatic);

/// Whether several threads find this query's documents sooner together than one does alone.
bool pays_together(std::span<const SearchedSegment> segments, const Query& query);

/// How many queries go through the windows together: more than one only where postings come from the memory anyway.
std::size_t group_size(std::span<const SearchedSegment> segments, std::size_t k, std::size_t n_queries,
                       std::size_t n_threads) noexcept;

/// Find the best k for every query and pass each row to what `make_take` makes on the thread: take(number, hits).
template <typename MakeTake>
void search_each(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k,
                 std::size_t n_threads, Path path, MakeTake make_take) {
    const std::size_t threads = granted_threads(n_threads);
    std::vector<std::size_t> alone;
    for (std::size_t number = 0; number < queries.count(); ++number) {
        if (queries.count() < threads && pays_together(segments, queries[number])) {
            make_take()(number, search_together(segments, queries[number], k, threads, path));
        } else {
            alone.push_back(number);
        }
    }
    if (alone.empty()) return;
    const std::size_t size = group_size(segments, k, alone.size(), threads);
    std::atomic<std::size_t> next{0};
    run_on_threads(std::min(threads, alone.size()), [&] {
        Searcher searcher(segments, path);
        auto take = make_take();
        std::vector<Query> group;
        for (std::size_t first = next.fetch_add(size); first < alone.size(); first = next.fetch_add(size)) {
            group.clear();
            for (std::size_t i = first; i < std::min(first + size, alone.size()); ++i)
                group.push_back(queries[alone[i]]);
            searcher.search(group, k);
            for (std::size_t i = 0; i < group.size(); ++i) take(alone[first + i], searcher.found(i));
        }
    });
}

/// Write one row of the results, padded to k.
void write_row(std::span<const Hit> hits, std::size_t row, std::size_t k, const Results& results);

/// Throws std::invalid_argument unless these can be searched.
void require_search(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k,
                    std::size_t n_threads);

}  // namespace everglade
