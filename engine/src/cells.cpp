// The loops over all cells of a window, once for each kind of processor, as in collect.cpp.

#include "cells.hpp"

#include <iterator>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace everglade {
namespace {

using format::kCell;
using format::kCells;

/// Compiled for each kind of processor in turn; the compiler makes vectors of it.
template <typename Impact>
inline __attribute__((always_inline)) void add_all(std::uint32_t* __restrict bounds, const Impact* __restrict maxima,
                                                   std::uint32_t query_impact) noexcept {
    for (std::size_t cell = 0; cell < kCells; ++cell) bounds[cell] += query_impact * maxima[cell];
}

Candidate candidate(const std::uint32_t* sums, const std::uint32_t* bounds, std::size_t cell) noexcept {
    // A plain maximum over a fixed count, of which compilers make vectors.
    std::uint32_t greatest = 0;
    for (std::size_t i = 0; i < kCell; ++i) greatest = std::max(greatest, sums[cell * kCell + i]);
    return {bounds[cell] + greatest, static_cast<std::uint16_t>(cell)};
}

void add_maxima_portable(std::uint32_t* bounds, const std::uint8_t* maxima, std::uint32_t query_impact) noexcept {
    add_all(bounds, maxima, query_impact);
}

void add_wide_maxima_portable(std::uint32_t* bounds, const std::uint16_t* maxima, std::uint32_t query_impact) noexcept {
    add_all(bounds, maxima, query_impact);
}

std::size_t sift_portable(std::uint32_t* sums, const std::uint32_t* bounds, std::size_t n_cells, std::uint32_t floor,
                          Candidate* out) noexcept {
    std::size_t found = 0;
    for (std::size_t cell = 0; cell < n_cells; ++cell) {
        const Candidate seen = candidate(sums, bounds, cell);
        if (seen.bound >= floor) {
            out[found++] = seen;
        } else {
            std::fill_n(sums + cell * kCell, kCell, 0u);
        }
    }
    return found;
}

#if defined(__x86_64__)

/// What the sums of a cell must reach, given its bound.
std::uint32_t needed(std::uint32_t bound, std::uint32_t floor) noexcept { return bound >= floor ? 0 : floor - bound; }

__attribute__((target("avx512f,avx512bw"))) void add_maxima_avx512(std::uint32_t* bounds, const std::uint8_t* maxima,
                                                                   std::uint32_t query_impact) noexcept {
    add_all(bounds, maxima, query_impact);
}

__attribute__((target("avx512f,avx512bw"))) void add_wide_maxima_avx512(std::uint32_t* bounds,
                                                                        const std::uint16_t* maxima,
                                                                        std::uint32_t query_impact) noexcept {
    add_all(bounds, maxima, query_impact);
}

__attribute__((target("avx512f,avx512bw"))) std::size_t sift_avx512(std::uint32_t* sums, const std::uint32_t* bounds,
                                                                    std::size_t n_cells, std::uint32_t floor,
                                                                    Candidate* out) noexcept {
    static_assert(kCell == 16);
    std::size_t found = 0;
    for (std::size_t cell = 0; cell < n_cells; ++cell) {
        std::uint32_t* const place = sums + cell * kCell;
        const __m512i least = _mm512_set1_epi32(static_cast<int>(needed(bounds[cell], floor)));
        if (_mm512_cmpge_epu32_mask(_mm512_loadu_si512(place), least) == 0) {
            _mm512_storeu_si512(place, _mm512_setzero_si512());
        } else {
            out[found++] = candidate(sums, bounds, cell);
        }
    }
    return found;
}

__attribute__((target("avx2"))) void add_maxima_avx2(std::uint32_t* bounds, const std::uint8_t* maxima,
                                                     std::uint32_t query_impact) noexcept {
    add_all(bounds, maxima, query_impact);
}

__attribute__((target("avx2"))) void add_wide_maxima_avx2(std::uint32_t* bounds, const std::uint16_t* maxima,
                                                          std::uint32_t query_impact) noexcept {
    add_all(bounds, maxima, query_impact);
}

__attribute__((target("avx2"))) std::size_t sift_avx2(std::uint32_t* sums, const std::uint32_t* bounds,
                                                      std::size_t n_cells, std::uint32_t floor,
                                                      Candidate* out) noexcept {
    static_assert(kCell == 16);
    std::size_t found = 0;
    for (std::size_t cell = 0; cell < n_cells; ++cell) {
        auto* const place = reinterpret_cast<__m256i*>(sums + cell * kCell);
        const __m256i least = _mm256_set1_epi32(static_cast<int>(needed(bounds[cell], floor)));
        const __m256i greatest = _mm256_max_epu32(_mm256_loadu_si256(place), _mm256_loadu_si256(place + 1));
        // There is no unsigned comparison: a sum reaches the least if it is the greater of the two.
        const __m256i reaches = _mm256_cmpeq_epi32(_mm256_max_epu32(greatest, least), greatest);
        if (_mm256_movemask_epi8(reaches) == 0) {
            _mm256_storeu_si256(place, _mm256_setzero_si256());
            _mm256_storeu_si256(place + 1, _mm256_setzero_si256());
        } else {
            out[found++] = candidate(sums, bounds, cell);
        }
    }
    return found;
}

#endif

constexpr CellLoops kWays[] = {
#if defined(__x86_64__)
    {add_maxima_avx512, add_wide_maxima_avx512, sift_avx512},
    {add_maxima_avx2, add_wide_maxima_avx2, sift_avx2},
#endif
    {add_maxima_portable, add_wide_maxima_portable, sift_portable},
};

std::size_t first_way() noexcept {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return 0;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return std::size(kWays) - 1;
}

}  // namespace

std::span<const CellLoops> ways_through_cells() noexcept { return std::span(kWays).subspan(first_way()); }

}  // namespace everglade
