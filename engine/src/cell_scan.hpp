#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cells.hpp"
#include "everglade/segment.hpp"

namespace everglade {

inline constexpr std::size_t kNotDense = ~std::size_t{0};

/// A block of the window that is scanned, and what the query gives it.
struct QueryBlock {
    std::uint64_t first;
    std::uint64_t count;
    std::uint32_t impact;
    std::uint32_t bound;
    std::size_t dense;  // its place among the blocks with cells, or kNotDense
};

/// The dense blocks of one window after another: first their bounds, then only the postings of cells that matter.
class CellScan {
  public:
    /// Take up a segment.
    void begin(const Segment& segment) noexcept;

    /// Take up the dense ones of the blocks of a window.
    void begin_window(std::span<const QueryBlock> blocks);

    std::size_t n_blocks() const noexcept { return blocks_.size(); }
    std::uint64_t n_postings() const noexcept { return n_postings_; }

    /// Given the sums over all blocks that are not dense: the cells that may hold a score of `floor`. The sums of the
    /// others become 0. The span lives until the next call.
    std::span<Candidate> sift(std::uint32_t* sums, std::size_t n_cells, std::uint32_t floor);

    /// Add the postings of the dense blocks in these cells.
    void add(std::span<const Candidate> candidates, std::uint32_t* sums) const noexcept;

  private:
    template <typename Impact>
    void add_block(const QueryBlock& block, std::span<const Candidate> candidates, const Impact* impacts,
                   std::uint32_t* sums) const noexcept;

    CellLoops loops_ = ways_through_cells().front();
    const Postings* postings_ = nullptr;
    const Cells* cells_ = nullptr;
    std::vector<QueryBlock> blocks_;
    std::uint64_t n_postings_ = 0;
    std::vector<std::uint32_t> bounds_;
    std::vector<Candidate> candidates_;
};

}  // namespace everglade
