#include "everglade/collect.hpp"

#include <iterator>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace everglade {
namespace {

#if defined(__x86_64__)

Key* take(const std::uint32_t* scores, std::uint64_t mask, std::uint32_t first_local, Key* out) noexcept {
    for (; mask != 0; mask &= mask - 1) {
        const auto i = static_cast<std::uint32_t>(__builtin_ctzll(mask));
        *out++ = make_key(scores[i], first_local + i);
    }
    return out;
}

__attribute__((target("avx512f"))) Key* collect_avx512(std::uint32_t* scores, std::size_t count, std::uint32_t floor,
                                                       std::uint32_t first_local, Key* out) noexcept {
    const __m512i least = _mm512_set1_epi32(static_cast<int>(floor));
    const __m512i zero = _mm512_setzero_si512();
    std::size_t at = 0;
    for (; at + 64 <= count; at += 64) {
        std::uint64_t mask = 0;
        for (unsigned part = 0; part < 4; ++part) {
            const __m512i score = _mm512_loadu_si512(scores + at + 16 * part);
            mask |= static_cast<std::uint64_t>(_mm512_cmpge_epu32_mask(score, least)) << (16 * part);
        }
        if (mask != 0) out = take(scores + at, mask, first_local + static_cast<std::uint32_t>(at), out);
        for (unsigned part = 0; part < 4; ++part) _mm512_storeu_si512(scores + at + 16 * part, zero);
    }
    return collect_portable(scores + at, count - at, floor, first_local + static_cast<std::uint32_t>(at), out);
}

__attribute__((target("avx2"))) Key* collect_avx2(std::uint32_t* scores, std::size_t count, std::uint32_t floor,
                                                  std::uint32_t first_local, Key* out) noexcept {
    const __m256i least = _mm256_set1_epi32(static_cast<int>(floor));
    const __m256i zero = _mm256_setzero_si256();
    std::size_t at = 0;
    for (; at + 32 <= count; at += 32) {
        std::uint64_t mask = 0;
        for (unsigned part = 0; part < 4; ++part) {
            auto* const place = reinterpret_cast<__m256i*>(scores + at + 8 * part);
            const __m256i score = _mm256_loadu_si256(place);
            // There is no unsigned comparison: a score reaches the floor if it is the greater of the two.
            const __m256i reaches = _mm256_cmpeq_epi32(_mm256_max_epu32(score, least), score);
            const auto bits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(reaches)));
            mask |= static_cast<std::uint64_t>(bits) << (8 * part);
        }
        if (mask != 0) out = take(scores + at, mask, first_local + static_cast<std::uint32_t>(at), out);
        for (unsigned part = 0; part < 4; ++part) {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(scores + at + 8 * part), zero);
        }
    }
    return collect_portable(scores + at, count - at, floor, first_local + static_cast<std::uint32_t>(at), out);
}

#endif

constexpr Collect kWays[] = {
#if defined(__x86_64__)
    collect_avx512,
    collect_avx2,
#endif
    collect_portable,
};

std::size_t first_way() noexcept {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return 0;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return std::size(kWays) - 1;
}

}  // namespace

Key* collect_portable(std::uint32_t* scores, std::size_t count, std::uint32_t floor, std::uint32_t first_local,
                      Key* out) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        if (scores[i] >= floor) *out++ = make_key(scores[i], first_local + static_cast<std::uint32_t>(i));
        scores[i] = 0;
    }
    return out;
}

std::span<const Collect> ways_to_collect() noexcept { return std::span(kWays).subspan(first_way()); }

}  // namespace everglade
