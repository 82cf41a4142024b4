#include "cell_scan.hpp"

#include <algorithm>

namespace everglade {

using format::kCells;

void CellScan::begin(const Segment& segment) noexcept {
    postings_ = &segment.postings();
    cells_ = &segment.cells();
}

void CellScan::begin_window(std::span<const QueryBlock> blocks) {
    blocks_.clear();
    n_postings_ = 0;
    for (const QueryBlock& block : blocks) {
        if (block.dense == kNotDense) continue;
        blocks_.push_back(block);
        n_postings_ += block.count;
    }
}

std::span<Candidate> CellScan::sift(std::uint32_t* sums, std::size_t n_cells, std::uint32_t floor) {
    bounds_.assign(kCells, 0);
    candidates_.resize(kCells + 1);
    for (const QueryBlock& block : blocks_) {
        cells_->maxima.visit([&](auto maxima) {
            const auto* const first = maxima.data() + block.dense * kCells;
            if constexpr (sizeof(*first) == 1) {
                loops_.add_maxima(bounds_.data(), first, block.impact);
            } else {
                loops_.add_wide_maxima(bounds_.data(), first, block.impact);
            }
        });
    }
    const std::size_t found = loops_.sift(sums, bounds_.data(), n_cells, floor, candidates_.data());
    return std::span(candidates_).first(found);
}

void CellScan::add(std::span<const Candidate> candidates, std::uint32_t* sums) const noexcept {
    postings_->impacts.visit([&](auto impacts) {
        for (const QueryBlock& block : blocks_) add_block(block, candidates, impacts.data() + block.first, sums);
    });
}

template <typename Impact>
void CellScan::add_block(const QueryBlock& block, std::span<const Candidate> candidates, const Impact* impacts,
                         std::uint32_t* sums) const noexcept {
    const std::uint16_t* const documents = postings_->documents.data() + block.first;
    const std::uint16_t* const starts = cells_->starts.data() + block.dense * kCells;
    // In a file that was not verified a start may be any number.
    const auto start = [&](std::size_t cell) {
        return cell < kCells ? std::min<std::uint64_t>(starts[cell], block.count) : block.count;
    };
    // Each cell is somewhere else in the memory: ask for all before the first is read.
    for (const Candidate& candidate : candidates) {
        const std::uint64_t first = start(candidate.cell);
        __builtin_prefetch(documents + first);
        __builtin_prefetch(impacts + first);
    }
    for (const Candidate& candidate : candidates) {
        const std::uint64_t end = start(std::size_t{candidate.cell} + 1);
        for (std::uint64_t i = start(candidate.cell); i < end; ++i) sums[documents[i]] += block.impact * impacts[i];
    }
}

}  // namespace everglade
