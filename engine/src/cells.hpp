#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "everglade/format.hpp"

namespace everglade {

/// What a segment keeps of each cell of a dense block.
template <typename Impact>
struct BlockCells {
    std::array<Impact, format::kCells> maxima{};
    std::array<std::uint16_t, format::kCells> starts{};

    /// The documents of the block ascend, and are below format::kWindow.
    BlockCells(std::span<const std::uint16_t> documents, std::span<const Impact> impacts) {
        for (std::size_t i = 0; i < documents.size(); ++i) {
            const std::size_t cell = documents[i] / format::kCell;
            maxima[cell] = std::max(maxima[cell], impacts[i]);
            ++starts[cell];
        }
        std::uint16_t before = 0;
        for (std::uint16_t& start : starts) before = static_cast<std::uint16_t>(before + std::exchange(start, before));
    }
};

/// bounds[i] += query_impact * maxima[i] for every cell of a window.
using AddMaxima = void (*)(std::uint32_t* bounds, const std::uint8_t* maxima, std::uint32_t query_impact) noexcept;
using AddWideMaxima = void (*)(std::uint32_t* bounds, const std::uint16_t* maxima, std::uint32_t query_impact) noexcept;

/// A cell that may hold a document of use, and the most that one in it can score.
struct Candidate {
    std::uint32_t bound;
    std::uint16_t cell;
};

/// Writes the cells where bounds[cell] and the greatest sum together reach `floor`, in order, and sets the sums of all
/// others to 0. `out` must have room for n_cells + 1. Returns how many there are.
using Sift = std::size_t (*)(std::uint32_t* sums, const std::uint32_t* bounds, std::size_t n_cells, std::uint32_t floor,
                             Candidate* out) noexcept;

/// How a processor does the three.
struct CellLoops {
    AddMaxima add_maxima;
    AddWideMaxima add_wide_maxima;
    Sift sift;
};

/// Every way this processor can run, the fastest first; the last is the slow twin of the tests.
std::span<const CellLoops> ways_through_cells() noexcept;

}  // namespace everglade
