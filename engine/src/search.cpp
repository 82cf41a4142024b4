// Exact search, a term at a time within windows of 16,384 documents: the sums of one window fit the second-level cache,
// and postings are read strictly in order. Sums are integers, so the order of terms, windows and threads cannot show.

#include "everglade/search.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "everglade/collect.hpp"
#include "everglade/format.hpp"
#include "everglade/threads.hpp"
#include "everglade/top_k.hpp"

namespace everglade {
namespace {

using format::kWindow;

/// Sums are collected in steps, so that the floor found in one step already thins out the next.
constexpr std::uint32_t kStep = 1024;

/// Up to so many postings in a window, visiting their documents again is cheaper than sweeping over all sums.
constexpr std::uint64_t kFewPostings = 512;
static_assert(kFewPostings <= kStep);

/// A machine gains nothing from more threads than it has cores; the least is for tests on small ones.
constexpr std::size_t kThreadsAlwaysGranted = 8;

struct FreeMemory {
    void operator()(void* memory) const noexcept { std::free(memory); }
};

/// One sum for every value a 16-bit document number can take, though a window uses only the first 16,384: so no file,
/// however damaged, makes us write outside. Untouched pages cost nothing.
class Sums {
  public:
    Sums() : sums_(static_cast<std::uint32_t*>(std::calloc(1 << 16, sizeof(std::uint32_t)))) {
        if (!sums_) throw std::bad_alloc();
    }
    std::uint32_t* data() noexcept { return sums_.get(); }

  private:
    std::unique_ptr<std::uint32_t[], FreeMemory> sums_;
};

/// Where one query term stands in its blocks of one segment.
struct Cursor {
    std::uint64_t block;
    std::uint64_t end;
    std::uint32_t impact;
};

struct Hit {
    std::uint32_t score;
    std::uint32_t local;
    std::size_t segment;
};

/// sums[document] += query_impact * impact, for the postings of one block.
void add_block(std::uint32_t* sums, const std::uint16_t* documents, const std::uint8_t* impacts, std::size_t count,
               std::uint32_t query_impact) noexcept {
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        sums[documents[i]] += query_impact * impacts[i];
        sums[documents[i + 1]] += query_impact * impacts[i + 1];
        sums[documents[i + 2]] += query_impact * impacts[i + 2];
        sums[documents[i + 3]] += query_impact * impacts[i + 3];
    }
    for (; i < count; ++i) sums[documents[i]] += query_impact * impacts[i];
}

/// Finds the best documents of one query at a time; keeps its memory from one to the next.
class Searcher {
  public:
    explicit Searcher(std::span<const SearchedSegment> segments) : segments_(segments) {}

    /// The best k, best first. The span lives until the next call.
    std::span<const Hit> search(std::span<const std::int32_t> terms, std::span<const std::uint32_t> impacts,
                                std::size_t k) {
        best_.clear();
        for (std::size_t segment = 0; segment < segments_.size(); ++segment) {
            place_cursors(*segments_[segment].segment, terms, impacts);
            if (cursors_.empty()) continue;
            // A document of another segment may win a tie by its id, so the k-th best score itself is still enough.
            top_.begin(std::min<std::size_t>(k, segments_[segment].segment->n_documents()),
                       best_.size() == k ? best_.back().score : 1);
            scan(segments_[segment]);
            merge(segment, k);
        }
        return best_;
    }

  private:
    void place_cursors(const Segment& segment, std::span<const std::int32_t> terms,
                       std::span<const std::uint32_t> impacts) {
        cursors_.clear();
        const Postings& postings = segment.postings();
        for (std::size_t i = 0; i < terms.size(); ++i) {
            if (impacts[i] == 0) continue;
            if (const auto place = segment.find_term(static_cast<std::uint32_t>(terms[i]))) {
                cursors_.push_back({postings.term_blocks[*place], postings.term_blocks[*place + 1], impacts[i]});
            }
        }
    }

    void scan(const SearchedSegment& searched) {
        const Postings& postings = searched.segment->postings();
        while (!cursors_.empty()) {
            std::uint32_t window = ~std::uint32_t{0};
            for (const Cursor& cursor : cursors_) {
                window = std::min<std::uint32_t>(window, postings.block_windows[cursor.block]);
            }
            if (bound(postings, window) >= top_.floor()) {
                const std::uint64_t added = add(postings, window);
                added <= kFewPostings ? visit(searched, window) : sweep(searched, window);
            }
            advance(postings, window);
        }
    }

    /// No document of the window can score more than this.
    std::uint64_t bound(const Postings& postings, std::uint32_t window) const {
        std::uint64_t sum = 0;
        for (const Cursor& cursor : cursors_) {
            if (postings.block_windows[cursor.block] != window) continue;
            sum += std::uint64_t{cursor.impact} * postings.block_bounds[cursor.block];
        }
        return sum;
    }

    /// Add up the sums of the window. Returns the number of postings.
    std::uint64_t add(const Postings& postings, std::uint32_t window) {
        std::uint64_t added = 0;
        for (const Cursor& cursor : cursors_) {
            if (postings.block_windows[cursor.block] != window) continue;
            const std::uint64_t first = postings.block_postings[cursor.block];
            const std::uint64_t count = postings.block_postings[cursor.block + 1] - first;
            add_block(sums_.data(), postings.documents.data() + first, postings.impacts.data() + first, count,
                      cursor.impact);
            added += count;
        }
        return added;
    }

    /// Collect and clear the sums of a window of many postings.
    void sweep(const SearchedSegment& searched, std::uint32_t window) {
        const std::uint32_t first = window * kWindow;
        const std::uint32_t count = documents_in(searched, window);
        for (std::uint32_t from = 0; from < count; from += kStep) {
            Key* const begin = top_.room(kStep);
            Key* const end =
                collect_(sums_.data() + from, std::min(kStep, count - from), top_.floor(), first + from, begin);
            top_.gathered(without_deleted(searched, begin, end));
        }
    }

    /// Collect and clear the sums of a window of few postings. All at once, as locals do not ascend from term to term.
    void visit(const SearchedSegment& searched, std::uint32_t window) {
        const Postings& postings = searched.segment->postings();
        const std::uint32_t count = documents_in(searched, window);
        Key* const begin = top_.room(kFewPostings);
        Key* end = begin;
        for (const Cursor& cursor : cursors_) {
            if (postings.block_windows[cursor.block] != window) continue;
            for (auto i = postings.block_postings[cursor.block]; i < postings.block_postings[cursor.block + 1]; ++i) {
                const std::uint32_t document = postings.documents[i];
                const std::uint32_t score = std::exchange(sums_.data()[document], 0);
                if (score >= top_.floor() && document < count) *end++ = make_key(score, window * kWindow + document);
            }
        }
        top_.gathered(without_deleted(searched, begin, end));
    }

    static std::uint32_t documents_in(const SearchedSegment& searched, std::uint32_t window) noexcept {
        return std::min(kWindow, searched.segment->n_documents() - window * kWindow);
    }

    static Key* without_deleted(const SearchedSegment& searched, Key* begin, Key* end) noexcept {
        if (!searched.deleted) return end;
        return std::remove_if(begin, end, [deleted = *searched.deleted](Key key) {
            const std::uint32_t local = local_of(key);
            return (deleted[local / 8] >> (local % 8) & 1) != 0;
        });
    }

    void advance(const Postings& postings, std::uint32_t window) {
        for (Cursor& cursor : cursors_) cursor.block += postings.block_windows[cursor.block] == window;
        std::erase_if(cursors_, [](const Cursor& cursor) { return cursor.block == cursor.end; });
    }

    void merge(std::size_t segment, std::size_t k) {
        merged_.clear();
        auto old = best_.begin();
        for (const Key key : top_.finish()) {
            const Hit hit{score_of(key), local_of(key), segment};
            while (old != best_.end() && !better(hit, *old)) merged_.push_back(*old++);
            merged_.push_back(hit);
        }
        merged_.insert(merged_.end(), old, best_.end());
        if (merged_.size() > k) merged_.resize(k);
        best_.swap(merged_);
    }

    bool better(const Hit& a, const Hit& b) const {
        if (a.score != b.score) return a.score > b.score;
        return segments_[a.segment].segment->id(a.local) < segments_[b.segment].segment->id(b.local);
    }

    std::span<const SearchedSegment> segments_;
    Collect collect_ = ways_to_collect().front();
    Sums sums_;
    TopK top_;
    std::vector<Cursor> cursors_;
    std::vector<Hit> best_;
    std::vector<Hit> merged_;
};

void require_segments(std::span<const SearchedSegment> segments) {
    for (const SearchedSegment& searched : segments) {
        const std::size_t bytes = (std::size_t{searched.segment->n_documents()} + 7) / 8;
        if (searched.deleted && searched.deleted->size() != bytes) {
            throw std::invalid_argument(
                "the deletions of a segment of " + std::to_string(searched.segment->n_documents()) +
                " documents take " + std::to_string(bytes) + " bytes, not " + std::to_string(searched.deleted->size()));
        }
        if (searched.segment->n_terms() != segments.front().segment->n_terms()) {
            throw std::invalid_argument("the segments have different vocabularies");
        }
    }
}

void require_queries(const Queries& queries, std::uint64_t n_terms) {
    const auto starts = queries.starts;
    if (queries.terms.size() != queries.impacts.size())
        throw std::invalid_argument("a query needs one impact for each term");
    const bool framed =
        !starts.empty() && starts.front() == 0 && static_cast<std::uint64_t>(starts.back()) == queries.terms.size();
    if (!framed || !std::is_sorted(starts.begin(), starts.end())) {
        throw std::invalid_argument(
            "the indptr of the queries must start at 0, never fall, and end at the number of terms");
    }
    for (std::size_t query = 0; query < queries.count(); ++query) {
        std::uint64_t mass = 0;
        for (auto i = static_cast<std::size_t>(starts[query]); i < static_cast<std::size_t>(starts[query + 1]); ++i) {
            mass += queries.impacts[i];
            if (queries.terms[i] < 0 || static_cast<std::uint64_t>(queries.terms[i]) >= n_terms) {
                throw std::invalid_argument("query " + std::to_string(query) + ": term " +
                                            std::to_string(queries.terms[i]) + " is not in the vocabulary of " +
                                            std::to_string(n_terms));
            }
        }
        if (mass > kMaxQueryMass) {
            throw std::invalid_argument("query " + std::to_string(query) + ": its impacts sum to " +
                                        std::to_string(mass) + ", more than " + std::to_string(kMaxQueryMass) +
                                        ", so a score could overflow");
        }
    }
}

/// Write one row of the results, padded to k.
void write_row(std::span<const Hit> hits, std::size_t row, std::size_t k, const Results& results) {
    for (std::size_t i = 0; i < k; ++i) {
        const bool found = i < hits.size();
        results.segments[row * k + i] = found ? static_cast<std::int32_t>(hits[i].segment) : -1;
        results.locals[row * k + i] = found ? hits[i].local : 0;
        results.scores[row * k + i] = found ? hits[i].score : 0;
    }
}

}  // namespace

void search(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k, std::size_t n_threads,
            const Results& results) {
    if (k == 0) throw std::invalid_argument("k must be at least 1");
    if (n_threads == 0) throw std::invalid_argument("threads must be at least 1");
    require_segments(segments);
    require_queries(queries, segments.empty() ? format::kMaxTerms : segments.front().segment->n_terms());
    const std::size_t count = queries.count();
    std::atomic<std::size_t> next{0};
    const std::size_t most = std::max<std::size_t>(std::thread::hardware_concurrency(), kThreadsAlwaysGranted);
    run_on_threads(std::min({n_threads, most, std::max<std::size_t>(count, 1)}), [&] {
        Searcher searcher(segments);
        for (std::size_t query = next++; query < count; query = next++) {
            const auto first = static_cast<std::size_t>(queries.starts[query]);
            const auto size = static_cast<std::size_t>(queries.starts[query + 1]) - first;
            write_row(searcher.search(queries.terms.subspan(first, size), queries.impacts.subspan(first, size), k),
                      query, k, results);
        }
    });
}

}  // namespace everglade
