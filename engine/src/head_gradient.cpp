#include <algorithm>
#include <atomic>

#include "everglade/head.hpp"
#include "everglade/threads.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace everglade {
namespace {

/// sums += factor * values
#if defined(__x86_64__)
__attribute__((target("avx512f"))) void add_scaled(float factor, const float* values, float* sums, std::size_t width) {
    const __m512 factors = _mm512_set1_ps(factor);
    for (std::size_t i = 0; i < width; i += 16) {
        const auto present = static_cast<__mmask16>(width - i < 16 ? (1U << (width - i)) - 1 : 0xFFFFU);
        const __m512 sum = _mm512_maskz_loadu_ps(present, sums + i);
        const __m512 product = _mm512_fmadd_ps(factors, _mm512_maskz_loadu_ps(present, values + i), sum);
        _mm512_mask_storeu_ps(sums + i, present, product);
    }
}
#else
void add_scaled(float factor, const float* values, float* sums, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i) sums[i] += factor * values[i];
}
#endif

}  // namespace

void add_hidden_gradient(Rows32 weight, const HeadSlopes& at, const HiddenStates& hidden, float* grad,
                         std::size_t threads) {
    const std::size_t n_terms = weight.count, width = weight.width;
    std::atomic<std::size_t> next{0};
    run_on_threads(std::min(threads, std::max<std::size_t>(1, hidden.n_texts())), [&] {
        for (std::size_t text = next++; text < hidden.n_texts(); text = next++) {
            const float* const slopes = at.slopes + text * n_terms;
            for (std::size_t term = 0; term < n_terms; ++term) {
                if (slopes[term] == 0) continue;
                const std::size_t row =
                    static_cast<std::size_t>(hidden.starts[text] + at.positions[text * n_terms + term]);
                float* const sums = grad + row * width;
                const float* const values = weight.row(term);
                add_scaled(slopes[term], values, sums, width);
            }
        }
    });
}

void weight_gradient(const HeadSlopes& at, const HiddenStates& hidden, std::size_t n_terms, float* grad,
                     std::size_t threads) {
    constexpr std::size_t kTerms = 64;
    const std::size_t width = hidden.rows.width, pieces = (n_terms + kTerms - 1) / kTerms;
    std::atomic<std::size_t> next{0};
    run_on_threads(std::min(threads, std::max<std::size_t>(1, pieces)), [&] {
        for (std::size_t piece = next++; piece < pieces; piece = next++) {
            const std::size_t first = piece * kTerms, last = std::min(first + kTerms, n_terms);
            std::fill(grad + first * width, grad + last * width, 0.0F);
            for (std::size_t text = 0; text < hidden.n_texts(); ++text) {
                for (std::size_t term = first; term < last; ++term) {
                    const float slope = at.slopes[text * n_terms + term];
                    if (slope == 0) continue;
                    const auto row =
                        static_cast<std::size_t>(hidden.starts[text] + at.positions[text * n_terms + term]);
                    const float* const values = hidden.rows.row(row);
                    float* const sums = grad + term * width;
                    add_scaled(slope, values, sums, width);
                }
            }
        }
    });
}

}  // namespace everglade
