// A term at a time within windows of 16,384 documents: the sums of one window fit the second-level cache, and postings
// are read strictly in order. Sums are integers, so the order of terms, windows and threads cannot show.
//
// Where a window has dense blocks, these are left out at first. The sums over the others and the maxima of the dense
// ones bound every cell of 16 documents; only cells that can reach the floor get their postings of the dense blocks.

#include "scan.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "everglade/format.hpp"

namespace everglade {
namespace {

using format::kCell;
using format::kWindow;

/// Sums are collected in steps, so that the floor found in one step already thins out the next.
constexpr std::uint32_t kStep = 1024;

/// Up to so many postings in a window, visiting their documents again is cheaper than sweeping over all sums.
constexpr std::uint64_t kFewPostings = 512;

/// Costs in nanoseconds, by which cells are used or not. Measured on 237,568 documents (Zen 4, 2.6 GHz); twice or half
/// of them changes the times of searches by less than noise. docs/decisions/0016-block-maxima.md has the figures.
constexpr double kPostingCost = 0.5;   // of adding a posting
constexpr double kSiftCost = 1000;     // of comparing the bounds of all cells with the floor
constexpr double kCandidateCost = 20;  // of collecting a cell
constexpr double kLookupCost = 30;     // of adding the postings of one dense block in a cell

/// So many cells, or k if that is more, are completed before the others, so that these face a floor near the last.
constexpr std::size_t kBestCells = 32;

/// After so many windows in a row where cells did not pay, they are tried in one of 2^kMostFailures.
constexpr std::uint32_t kMostFailures = 6;

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

void add_block(std::uint32_t* sums, const Postings& postings, const QueryBlock& block) noexcept {
    postings.impacts.visit([&](auto impacts) {
        add_block(sums, postings.documents.data() + block.first, impacts.data() + block.first, block.count,
                  block.impact);
    });
}

}  // namespace

void SegmentScan::begin(const SearchedSegment& searched, const Query& query, std::size_t k, std::uint32_t floor,
                        Path path) {
    const Segment& segment = *searched.segment;
    searched_ = searched;
    postings_ = &segment.postings();
    k_ = std::min<std::size_t>(k, segment.n_documents());
    path_ = segment.cells().blocks.empty() ? Path::scan : path;
    done_ = kNoWindow;
    wait_ = failures_ = 0;
    cursors_.clear();
    const auto dense = segment.cells().blocks;
    for (std::size_t i = 0; i < query.terms.size(); ++i) {
        if (query.impacts[i] == 0) continue;
        if (const auto place = segment.find_term(static_cast<std::uint32_t>(query.terms[i]))) {
            const auto [first, last] = postings_->blocks(*place);
            const auto first_dense = std::lower_bound(dense.begin(), dense.end(), first) - dense.begin();
            cursors_.push_back({first, last, static_cast<std::size_t>(first_dense), query.impacts[i]});
        }
    }
    cells_.begin(segment);
    // With cells, windows and documents come in another order than that of their numbers.
    top_.begin(k_, floor, !segment.is_reordered() && path_ == Path::scan);
}

void SegmentScan::scan_promising(Sums& sums) {
    if (path_ == Path::scan) return;
    const std::vector<Cursor> before = cursors_;
    const std::uint32_t window = promising_window();
    if (window != kNoWindow && next_window(window) == window) scan(window, sums);
    cursors_ = before;
    done_ = window;
}

/// The window where what the terms can add is greatest, each weighted by the length of the number of its postings.
std::uint32_t SegmentScan::promising_window() const {
    std::vector<std::uint64_t> promises((std::uint64_t{searched_.segment->n_documents()} + kWindow - 1) / kWindow);
    for (const Cursor& cursor : cursors_) {
        for (std::uint64_t block = cursor.block; block < cursor.end; ++block) {
            const std::uint64_t count = postings_->block_postings[block + 1] - postings_->block_postings[block];
            promises[postings_->block_windows[block]] +=
                std::uint64_t{cursor.impact} * postings_->block_bounds[block] * std::bit_width(count);
        }
    }
    if (promises.size() < 2) return kNoWindow;
    return static_cast<std::uint32_t>(std::max_element(promises.begin(), promises.end()) - promises.begin());
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
    if (window == done_) return;
    find_blocks(window);
    if (bound() < top_.floor()) return;
    try_cells() ? scan_cells(window, sums.data()) : scan_all(window, sums.data());
}

void SegmentScan::find_blocks(std::uint32_t window) {
    const Cells& cells = searched_.segment->cells();
    blocks_.clear();
    for (Cursor& cursor : cursors_) {
        if (postings_->block_windows[cursor.block] != window) continue;
        const std::uint64_t first = postings_->block_postings[cursor.block];
        const std::uint64_t count = postings_->block_postings[cursor.block + 1] - first;
        while (cursor.dense < cells.blocks.size() && cells.blocks[cursor.dense] < cursor.block) ++cursor.dense;
        const bool dense = cursor.dense < cells.blocks.size() && cells.blocks[cursor.dense] == cursor.block;
        blocks_.push_back(
            {first, count, cursor.impact, postings_->block_bounds[cursor.block], dense ? cursor.dense : kNotDense});
    }
}

/// No document of the window can score more than this.
std::uint64_t SegmentScan::bound() const noexcept {
    std::uint64_t sum = 0;
    for (const QueryBlock& block : blocks_) sum += std::uint64_t{block.impact} * block.bound;
    return sum;
}

/// Whether to try the cells of the window.
bool SegmentScan::try_cells() {
    if (path_ == Path::scan) return false;
    cells_.begin_window(blocks_);
    if (path_ == Path::cells || cells_.n_blocks() == 0) return cells_.n_blocks() > 0;
    if (wait_ > 0) {
        --wait_;
        return false;
    }
    return static_cast<double>(cells_.n_postings()) * kPostingCost > kSiftCost;
}

/// Whether completing so many cells costs less than all postings of the dense blocks.
bool SegmentScan::cells_pay(std::size_t n_candidates) const noexcept {
    if (path_ == Path::cells) return true;
    const double each = kCandidateCost + kLookupCost * static_cast<double>(cells_.n_blocks());
    return static_cast<double>(n_candidates) * each < static_cast<double>(cells_.n_postings()) * kPostingCost;
}

void SegmentScan::scan_all(std::uint32_t window, std::uint32_t* sums) {
    std::uint64_t added = 0;
    for (const QueryBlock& block : blocks_) {
        add_block(sums, *postings_, block);
        added += block.count;
    }
    added <= kFewPostings ? visit(window, sums) : sweep(window, sums);
}

/// Add up the blocks that are not dense, and see from the bounds of the others which cells are worth completing.
void SegmentScan::scan_cells(std::uint32_t window, std::uint32_t* sums) {
    for (const QueryBlock& block : blocks_) {
        if (block.dense == kNotDense) add_block(sums, *postings_, block);
    }
    const std::size_t n_cells = (documents_in(window) + kCell - 1) / kCell;
    std::span<Candidate> candidates = cells_.sift(sums, n_cells, top_.floor());
    std::span<Candidate> best;
    const std::size_t n_best = std::max(k_, kBestCells);
    if (candidates.size() > 2 * n_best && cells_pay(n_best)) {
        const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(n_best);
        std::nth_element(candidates.begin(), middle, candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.bound > b.bound; });
        best = candidates.first(n_best);
        complete(window, sums, best);
        top_.settle();
        candidates = still_of_use(sums, candidates.subspan(n_best));
    }
    if (cells_pay(candidates.size())) {
        failures_ = 0;
        complete(window, sums, candidates);
    } else {
        failures_ = std::min(failures_ + 1, kMostFailures);
        wait_ = (1u << failures_) - 1;
        scan_dense(window, sums, best);
    }
}

/// Leave out, and set to 0, the cells that no longer reach the floor.
std::span<Candidate> SegmentScan::still_of_use(std::uint32_t* sums, std::span<Candidate> candidates) const noexcept {
    const auto end = std::remove_if(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
        if (candidate.bound >= top_.floor()) return false;
        std::fill_n(sums + candidate.cell * kCell, kCell, 0u);
        return true;
    });
    return candidates.first(static_cast<std::size_t>(end - candidates.begin()));
}

/// Add up the dense blocks in these cells; collect and clear their sums.
void SegmentScan::complete(std::uint32_t window, std::uint32_t* sums, std::span<const Candidate> candidates) {
    cells_.add(candidates, sums);
    const std::uint32_t count = documents_in(window);
    Key* const begin = top_.room(candidates.size() * kCell);
    Key* end = begin;
    for (const Candidate& candidate : candidates) {
        const std::uint32_t first = candidate.cell * kCell;
        end = collect_(sums + first, std::min(kCell, count - first), top_.floor(), window * kWindow + first, end);
    }
    top_.gathered(found_among(begin, end));
}

/// Add up the dense blocks everywhere, as too many cells are of use; `done` are those that have been completed.
void SegmentScan::scan_dense(std::uint32_t window, std::uint32_t* sums, std::span<const Candidate> done) {
    for (const QueryBlock& block : blocks_) {
        if (block.dense != kNotDense) add_block(sums, *postings_, block);
    }
    for (const Candidate& candidate : done) std::fill_n(sums + candidate.cell * kCell, kCell, 0u);
    sweep(window, sums);
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
    for (const QueryBlock& block : blocks_) {
        for (std::uint64_t i = block.first; i < block.first + block.count; ++i) {
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
