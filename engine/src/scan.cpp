// A term at a time within windows of 16,384 documents: the sums of one window fit the second-level cache, and postings
// are read strictly in order. Sums are integers, so the order of terms, windows and threads cannot show.

#include "scan.hpp"

#include <algorithm>
#include <utility>

#include "everglade/format.hpp"

namespace everglade {
namespace {

using format::kWindow;

/// Sums are collected in steps, so that the floor found in one step already thins out the next.
constexpr std::uint32_t kStep = 1024;

/// Up to so many postings in a window, visiting their documents again is cheaper than sweeping over all sums.
constexpr std::uint64_t kFewPostings = 512;

/// sums[document] += query_impact * impact, for the postings of one block.
template <typename Impact>
void add_block(std::uint32_t* sums, const std::uint16_t* documents, const Impact* impacts, std::size_t count,
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

}  // namespace

void SegmentScan::begin(const SearchedSegment& searched, const Query& query, std::size_t k, std::uint32_t floor) {
    const Segment& segment = *searched.segment;
    searched_ = searched;
    postings_ = &segment.postings();
    cursors_.clear();
    for (std::size_t i = 0; i < query.terms.size(); ++i) {
        if (query.impacts[i] == 0) continue;
        if (const auto place = segment.find_term(static_cast<std::uint32_t>(query.terms[i]))) {
            const auto [first, last] = postings_->blocks(*place);
            cursors_.push_back({first, last, query.impacts[i]});
        }
    }
    top_.begin(std::min<std::size_t>(k, segment.n_documents()), floor, !segment.is_reordered());
}

std::uint32_t SegmentScan::next_window(std::uint32_t least) noexcept {
    const auto windows = postings_->block_windows;
    std::uint32_t next = kNoWindow;
    for (Cursor& cursor : cursors_) {
        while (cursor.block < cursor.end && windows[cursor.block] < least) ++cursor.block;
        if (cursor.block < cursor.end) next = std::min<std::uint32_t>(next, windows[cursor.block]);
    }
    std::erase_if(cursors_, [](const Cursor& cursor) { return cursor.block == cursor.end; });
    return next;
}

void SegmentScan::scan(std::uint32_t window, Sums& sums) {
    if (bound(window) < top_.floor()) return;
    const std::uint64_t added =
        postings_->impacts.visit([&](auto impacts) { return add(window, impacts, sums.data()); });
    added <= kFewPostings ? visit(window, sums.data()) : sweep(window, sums.data());
}

/// No document of the window can score more than this.
std::uint64_t SegmentScan::bound(std::uint32_t window) const noexcept {
    std::uint64_t sum = 0;
    for (const Cursor& cursor : cursors_) {
        if (postings_->block_windows[cursor.block] != window) continue;
        sum += std::uint64_t{cursor.impact} * postings_->block_bounds[cursor.block];
    }
    return sum;
}

/// Add up the sums of the window. Returns the number of postings.
template <typename Impact>
std::uint64_t SegmentScan::add(std::uint32_t window, std::span<const Impact> impacts,
                               std::uint32_t* sums) const noexcept {
    std::uint64_t added = 0;
    for (const Cursor& cursor : cursors_) {
        if (postings_->block_windows[cursor.block] != window) continue;
        const std::uint64_t first = postings_->block_postings[cursor.block];
        const std::uint64_t count = postings_->block_postings[cursor.block + 1] - first;
        add_block(sums, postings_->documents.data() + first, impacts.data() + first, count, cursor.impact);
        added += count;
    }
    return added;
}

/// Collect and clear the sums of a window of many postings.
void SegmentScan::sweep(std::uint32_t window, std::uint32_t* sums) {
    const std::uint32_t first = window * kWindow;
    const std::uint32_t count = documents_in(window);
    for (std::uint32_t from = 0; from < count; from += kStep) {
        Key* const begin = top_.room(kStep);
        Key* const end = collect_(sums + from, std::min(kStep, count - from), top_.floor(), first + from, begin);
        top_.gathered(found_among(begin, end));
    }
}

/// Collect and clear the sums of a window of few postings. All at once, as locals do not ascend from term to term.
void SegmentScan::visit(std::uint32_t window, std::uint32_t* sums) {
    const std::uint32_t count = documents_in(window);
    Key* const begin = top_.room(kFewPostings);
    Key* end = begin;
    for (const Cursor& cursor : cursors_) {
        if (postings_->block_windows[cursor.block] != window) continue;
        const std::uint64_t last = postings_->block_postings[cursor.block + 1];
        for (auto i = postings_->block_postings[cursor.block]; i < last; ++i) {
            const std::uint32_t document = postings_->documents[i];
            const std::uint32_t score = std::exchange(sums[document], 0);
            if (score >= top_.floor() && document < count) *end++ = make_key(score, window * kWindow + document);
        }
    }
    top_.gathered(found_among(begin, end));
}

std::uint32_t SegmentScan::documents_in(std::uint32_t window) const noexcept {
    return std::min(kWindow, searched_.segment->n_documents() - window * kWindow);
}

/// Take out the hidden documents, and turn the locals of the others into ranks. Returns the new end.
Key* SegmentScan::found_among(Key* begin, Key* end) const noexcept {
    if (searched_.hidden) {
        end = std::remove_if(begin, end, [hidden = *searched_.hidden](Key key) {
            const std::uint32_t local = number_of(key);
            return (hidden[local / 8] >> (local % 8) & 1) != 0;
        });
    }
    if (searched_.segment->is_reordered()) {
        const auto ranks = searched_.segment->order().ranks;
        std::transform(begin, end, begin, [ranks](Key key) { return make_key(score_of(key), ranks[number_of(key)]); });
    }
    return end;
}

}  // namespace everglade
