#include "everglade/head.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <climits>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <stdexcept>

#include "everglade/threads.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#define EVERGLADE_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")))
#endif

namespace everglade {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kBundleRows = 256;  // short texts are screened together, so that the decoder is read less often
constexpr float kLargestByte = 127.0F;

/// How long a row is after rounding, and how far it moved.
struct Rounding {
    float norm, residual;
};

// Sums of squares are taken in float32; they are bounds, so they are made a little larger than they come out.
constexpr float kMargin = 1.0001F;
constexpr float kSmallestScale = 1e-18F;
constexpr float kEpsilon = std::numeric_limits<float>::epsilon();
constexpr float kUnbounded = std::numeric_limits<float>::infinity();

#if defined(__x86_64__)

/// Rounds a row to `scale` times whole numbers of at most 127.
EVERGLADE_VNNI Rounding round_row(const float* row, std::size_t width, float scale, std::int8_t* out) {
    // Squares of numbers this small are lost: without a bound everything is a candidate.
    const bool is_bounded = scale == 0 || scale > kSmallestScale;
    const __m512 unit = _mm512_set1_ps(scale), inverse = _mm512_set1_ps(scale > 0 ? 1 / scale : 0.0F);
    __m512 norm = _mm512_setzero_ps(), residual = _mm512_setzero_ps();
    for (std::size_t i = 0; i < width; i += 16) {
        const auto present = static_cast<__mmask16>(width - i < 16 ? (1U << (width - i)) - 1 : 0xFFFFU);
        const __m512 values = _mm512_maskz_loadu_ps(present, row + i);
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(values, inverse));
        const __m512 rounded = _mm512_mul_ps(_mm512_cvtepi32_ps(whole), unit);
        const __m512 moved = _mm512_sub_ps(values, rounded);
        norm = _mm512_fmadd_ps(rounded, rounded, norm);
        residual = _mm512_fmadd_ps(moved, moved, residual);
        _mm_mask_storeu_epi8(out + i, present, _mm512_cvtsepi32_epi8(whole));
    }
    if (!is_bounded) return {kUnbounded, kUnbounded};
    return {kMargin * std::sqrt(_mm512_reduce_add_ps(norm)), kMargin * std::sqrt(_mm512_reduce_add_ps(residual))};
}

/// The largest magnitude, or NaN where a value is none.
EVERGLADE_VNNI float largest_magnitude(const float* values, std::size_t count) {
    __m512 largest = _mm512_setzero_ps();
    __mmask16 foreign = 0;
    for (std::size_t i = 0; i < count; i += 16) {
        const auto present = static_cast<__mmask16>(count - i < 16 ? (1U << (count - i)) - 1 : 0xFFFFU);
        const __m512 some = _mm512_maskz_loadu_ps(present, values + i);
        foreign |= _mm512_cmp_ps_mask(some, some, _CMP_UNORD_Q);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(some));
    }
    return foreign != 0 ? std::numeric_limits<float>::quiet_NaN() : _mm512_reduce_max_ps(largest);
}

#else

Rounding round_row(const float*, std::size_t, float, std::int8_t*) { return {}; }
float largest_magnitude(const float*, std::size_t) { return 0; }

#endif

}  // namespace

void PackedDecoder::Free::operator()(std::int8_t* memory) const noexcept {
    ::operator delete[](memory, std::align_val_t{kCacheLine});
}

PackedDecoder::PackedDecoder(Rows32 weight, std::size_t threads)
    : n_terms_(weight.count), width_(weight.width), n_quads_((weight.width + 3) / 4) {
    const std::size_t padded = (n_terms_ + kBlock - 1) / kBlock * kBlock;
    const std::size_t size = padded * n_quads_ * 4;
    values_.reset(new (std::align_val_t{kCacheLine}) std::int8_t[size]());
    offsets_.resize(padded);
    scales_.resize(padded);
    norms_.resize(padded);
    residuals_.resize(padded);
    std::atomic<std::size_t> next{0};
    std::atomic<bool> is_finite{true};
    run_on_threads(threads, [&] {
        std::vector<std::int8_t> bytes(n_quads_ * 4);
        for (std::size_t block = next++; block < n_blocks(); block = next++) {
            for (std::size_t term = block * kBlock; term < std::min((block + 1) * kBlock, n_terms_); ++term) {
                const float* const row = weight.row(term);
                const float scale = largest_magnitude(row, width_) / kLargestByte;
                if (!std::isfinite(scale)) {
                    is_finite = false;
                    continue;
                }
                std::int8_t* const lane = values_.get() + block * n_quads_ * kQuadBytes + term % kBlock * 4;
                const Rounding rounding = round_row(row, width_, scale, bytes.data());
                for (std::size_t quad = 0; quad < n_quads_; ++quad) {
                    std::memcpy(lane + quad * kQuadBytes, bytes.data() + quad * 4, 4);
                }
                offsets_[term] = -128 * std::accumulate(bytes.begin(), bytes.end(), 0);
                scales_[term] = scale;
                norms_[term] = rounding.norm + rounding.residual;  // no less than |E|
                residuals_[term] = rounding.residual;
            }
        }
    });
    is_finite_ = is_finite;
}

#if defined(__x86_64__)

namespace {

/// The hidden states of one text in 8 bits, 128 too high, and what bounds the error of a product with them.
struct RoundedText {
    std::size_t first_row, n_rows;
    std::size_t at;               // first byte
    float scale, norm, residual;  // the largest |h'| and |h - h'|
    unsigned position_bits;       // a key is a product, then the position in its lowest bits
    unsigned dropped_bits;        // lowest bits of the product that found no room
};

struct Candidate {
    std::int32_t term;
    std::int32_t first, second;  // positions, -1 if there is none
    float third;                 // no position but those two has a larger logit
};

/// What one thread works with; kept from bundle to bundle.
struct Workspace {
    std::vector<std::uint8_t> bytes;
    std::vector<RoundedText> texts;
    std::array<Candidate, PackedDecoder::kBlock> candidates;
};

RoundedText round_text(const HiddenStates& hidden, std::size_t text, std::size_t n_quads,
                       std::vector<std::uint8_t>& out) {
    const auto first = static_cast<std::size_t>(hidden.starts[text]);
    const auto n_rows = static_cast<std::size_t>(hidden.starts[text + 1]) - first;
    const std::size_t width = hidden.rows.width;
    RoundedText rounded{first, n_rows, out.size(), 0, 0, 0, 0, 0};
    rounded.scale = largest_magnitude(hidden.rows.row(first), n_rows * width) / kLargestByte;
    out.resize(out.size() + n_rows * n_quads * 4, 128);
    if (!std::isfinite(rounded.scale)) return rounded;
    for (std::size_t i = 0; i < n_rows; ++i) {
        std::uint8_t* const bytes = out.data() + rounded.at + i * n_quads * 4;
        const Rounding rounding =
            round_row(hidden.rows.row(first + i), width, rounded.scale, reinterpret_cast<std::int8_t*>(bytes));
        for (std::size_t at = 0; at < width; ++at) bytes[at] ^= 128;  // 128 more, as a byte without sign
        rounded.norm = std::max(rounded.norm, rounding.norm);
        rounded.residual = std::max(rounded.residual, rounding.residual);
    }
    // A product is at most 127 * 127 * width in magnitude.
    const auto product_bits = 1 + static_cast<unsigned>(std::bit_width(127U * 127U * width));
    rounded.position_bits = static_cast<unsigned>(std::bit_width(n_rows));
    rounded.dropped_bits = product_bits + rounded.position_bits > 32 ? product_bits + rounded.position_bits - 32 : 0;
    return rounded;
}

/// sums += states . terms, four products of bytes to each lane. The intrinsic makes GCC copy its sums about.
EVERGLADE_VNNI inline void add_products(__m512i& sums, __m512i states, __m512i terms) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(states), "v"(terms));
}

/// The three largest keys of 64 terms.
struct Best {
    __m512i first[4], second[4], third[4];
};

/// Takes `Count` positions into account, from `position` on.
template <int Count>
EVERGLADE_VNNI inline void screen_rows(const std::int8_t* const quads, std::size_t n_quads, const std::int32_t* offsets,
                                       const std::uint8_t* bytes, const RoundedText& text, int position, Best& best) {
    const std::size_t stride = n_quads * 4;
    __m512i sums[Count][4];
#pragma GCC unroll 8
    for (int row = 0; row < Count; ++row) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sums[row][v] = _mm512_loadu_si512(offsets + 16 * v);
    }
    for (std::size_t q = 0; q < n_quads; ++q) {
        __m512i terms[4];
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) terms[v] = _mm512_load_si512(quads + (q * 4 + v) * 64);
#pragma GCC unroll 8
        for (int row = 0; row < Count; ++row) {
            std::int32_t four;
            std::memcpy(&four, bytes + row * stride + q * 4, 4);
            const __m512i states = _mm512_set1_epi32(four);
#pragma GCC unroll 4
            for (int v = 0; v < 4; ++v) add_products(sums[row][v], states, terms[v]);
        }
    }
    const __m128i dropped = _mm_cvtsi32_si128(static_cast<int>(text.dropped_bits));
    const __m128i room = _mm_cvtsi32_si128(static_cast<int>(text.position_bits));
#pragma GCC unroll 8
    for (int row = 0; row < Count; ++row) {
        const __m512i place = _mm512_set1_epi32(position + row);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
            __m512i key = _mm512_or_si512(_mm512_sll_epi32(_mm512_sra_epi32(sums[row][v], dropped), room), place);
            const __m512i lower = _mm512_min_epi32(best.first[v], key);
            best.first[v] = _mm512_max_epi32(best.first[v], key);
            const __m512i lowest = _mm512_min_epi32(best.second[v], lower);
            best.second[v] = _mm512_max_epi32(best.second[v], lower);
            best.third[v] = _mm512_max_epi32(best.third[v], lowest);
        }
    }
}

constexpr int kRowsAtOnce = 6;  // times four vectors of sums, all in registers

EVERGLADE_VNNI Best screen(const PackedDecoder& decoder, std::size_t block, const std::uint8_t* bytes,
                           const RoundedText& text) {
    const std::size_t n_quads = decoder.n_quads();
    const std::int8_t* const quads = decoder.quads(block);
    const std::int32_t* const offsets = decoder.offsets() + block * PackedDecoder::kBlock;
    Best best;
    const __m512i none = _mm512_set1_epi32(INT_MIN);
    for (int v = 0; v < 4; ++v) best.first[v] = best.second[v] = best.third[v] = none;
    std::size_t row = 0;
    for (; row + kRowsAtOnce <= text.n_rows; row += kRowsAtOnce) {
        screen_rows<kRowsAtOnce>(quads, n_quads, offsets, bytes + row * n_quads * 4, text, static_cast<int>(row), best);
    }
    for (; row < text.n_rows; ++row) {
        screen_rows<1>(quads, n_quads, offsets, bytes + row * n_quads * 4, text, static_cast<int>(row), best);
    }
    return best;
}

/// Finds the terms of a block that may be active and gives their number.
EVERGLADE_VNNI std::size_t find_candidates(const PackedDecoder& decoder, std::size_t block, const RoundedText& text,
                                           std::span<const float> bias, const Best& best, Candidate* out) {
    const __m512i positions = _mm512_set1_epi32(static_cast<int>((1U << text.position_bits) - 1));
    const __m128i room = _mm_cvtsi32_si128(static_cast<int>(text.position_bits));
    const __m512i none = _mm512_set1_epi32(INT_MIN);
    const auto step = static_cast<float>(1U << text.dropped_bits);
    // Sums of `width` float32 products are off by no more than this times |h| |E|, here and in whatever we compare
    // with.
    const float arithmetic = static_cast<float>(decoder.width()) * kEpsilon;
    const float magnitude = text.norm + text.residual;
    std::size_t count = 0;
    for (std::size_t v = 0; v < 4; ++v) {
        const std::size_t first_term = block * PackedDecoder::kBlock + v * 16;
        if (first_term >= decoder.n_terms()) break;
        const auto known = static_cast<unsigned>(std::min<std::size_t>(16, decoder.n_terms() - first_term));
        const auto present = static_cast<__mmask16>((1U << known) - 1);
        const __m512 unit =
            _mm512_mul_ps(_mm512_loadu_ps(decoder.scales() + first_term), _mm512_set1_ps(text.scale * step));
        const __m512 norm = _mm512_loadu_ps(decoder.norms() + first_term);
        const __m512 residual = _mm512_loadu_ps(decoder.residuals() + first_term);
        __m512 slack = _mm512_mul_ps(norm, _mm512_set1_ps(text.residual + arithmetic * magnitude));
        slack = _mm512_fmadd_ps(residual, _mm512_set1_ps(text.norm), slack);
        if (text.dropped_bits > 0) slack = _mm512_add_ps(slack, unit);  // dropped bits only ever lower a product
        if (!bias.empty()) {
            const __m512 added = _mm512_maskz_loadu_ps(present, bias.data() + first_term);
            slack = _mm512_add_ps(slack, _mm512_fmadd_ps(_mm512_abs_ps(added), _mm512_set1_ps(kEpsilon), added));
        }
        const auto bound = [&](__m512i key) __attribute__((always_inline)) EVERGLADE_VNNI {
            return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sra_epi32(key, room)), unit, slack);
        };
        // Not "greater than 0", so that a bound that is no number makes a candidate too.
        unsigned found = _mm512_mask_cmp_ps_mask(present, bound(best.first[v]), _mm512_setzero_ps(), _CMP_NLE_UQ);
        if (found == 0) continue;
        alignas(64) std::int32_t first[16], second[16];
        alignas(64) float third[16];
        const __mmask16 has_second = _mm512_cmpneq_epi32_mask(best.second[v], none);
        const __mmask16 has_third = _mm512_cmpneq_epi32_mask(best.third[v], none);
        _mm512_store_si512(first, _mm512_and_si512(best.first[v], positions));
        _mm512_store_si512(second, _mm512_mask_and_epi32(_mm512_set1_epi32(-1), has_second, best.second[v], positions));
        _mm512_store_ps(third, _mm512_mask_blend_ps(has_third, _mm512_set1_ps(-INFINITY), bound(best.third[v])));
        for (; found != 0; found &= found - 1) {
            const auto lane = static_cast<unsigned>(std::countr_zero(found));
            out[count++] = {static_cast<std::int32_t>(first_term + lane), first[lane], second[lane], third[lane]};
        }
    }
    return count;
}

/// The products of `Count` rows, one after another, with a row.
template <int Count>
EVERGLADE_VNNI inline void multiply(const float* rows, const float* row, std::size_t width, float* out) {
    __m512 sums[Count];
    for (int r = 0; r < Count; ++r) sums[r] = _mm512_setzero_ps();
    for (std::size_t i = 0; i < width; i += 16) {
        const auto present = static_cast<__mmask16>(width - i < 16 ? (1U << (width - i)) - 1 : 0xFFFFU);
        const __m512 factors = _mm512_maskz_loadu_ps(present, row + i);
#pragma GCC unroll 8
        for (int r = 0; r < Count; ++r) {
            sums[r] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(present, rows + r * width + i), factors, sums[r]);
        }
    }
    for (int r = 0; r < Count; ++r) out[r] = _mm512_reduce_add_ps(sums[r]);
}

/// Computes a candidate's largest logit in float32; of equal ones the first position counts.
EVERGLADE_VNNI ActiveTerm settle(const Candidate& candidate, const float* row, float bias, const Rows32& states,
                                 const RoundedText& text) {
    ActiveTerm active{candidate.term, candidate.first, 0};
    const float* const rows = states.row(text.first_row);
    multiply<1>(rows + static_cast<std::size_t>(candidate.first) * states.width, row, states.width, &active.logit);
    const auto consider = [&](std::int32_t position, float logit) {
        if (logit > active.logit || (logit == active.logit && position < active.position)) {
            active.position = position;
            active.logit = logit;
        }
    };
    if (candidate.second >= 0) {
        float logit;
        multiply<1>(rows + static_cast<std::size_t>(candidate.second) * states.width, row, states.width, &logit);
        consider(candidate.second, logit);
    }
    if (!(candidate.third < active.logit + bias) && !(candidate.third <= 0)) {
        std::size_t position = 0;
        float logits[kRowsAtOnce];
        for (; position + kRowsAtOnce <= text.n_rows; position += kRowsAtOnce) {
            multiply<kRowsAtOnce>(rows + position * states.width, row, states.width, logits);
            for (std::size_t i = 0; i < kRowsAtOnce; ++i) consider(static_cast<std::int32_t>(position + i), logits[i]);
        }
        for (; position < text.n_rows; ++position) {
            multiply<1>(rows + position * states.width, row, states.width, logits);
            consider(static_cast<std::int32_t>(position), logits[0]);
        }
    }
    active.logit += bias;
    return active;
}

}  // namespace

bool head_is_supported() noexcept {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

std::vector<std::vector<ActiveTerm>> find_active(const PackedDecoder& decoder, Rows32 weight,
                                                 std::span<const float> bias, const HiddenStates& hidden,
                                                 std::size_t threads) {
    // Bundles of texts: the decoder is read once for each.
    std::vector<std::size_t> bundles{0};
    for (std::size_t text = 0; text < hidden.n_texts(); ++text) {
        const auto rows = hidden.starts[text + 1] - hidden.starts[bundles.back()];
        if (static_cast<std::size_t>(rows) >= kBundleRows || text + 1 == hidden.n_texts()) bundles.push_back(text + 1);
    }
    std::vector<std::vector<ActiveTerm>> active(hidden.n_texts());
    std::atomic<std::size_t> next{0};
    run_on_threads(std::min(threads, std::max<std::size_t>(1, bundles.size() - 1)), [&] {
        Workspace work;
        for (std::size_t bundle = next++; bundle + 1 < bundles.size(); bundle = next++) {
            work.bytes.clear();
            work.texts.clear();
            for (std::size_t text = bundles[bundle]; text < bundles[bundle + 1]; ++text) {
                work.texts.push_back(round_text(hidden, text, decoder.n_quads(), work.bytes));
                if (!std::isfinite(work.texts.back().scale)) active[text].push_back({-1, 0, NAN});
            }
            for (std::size_t block = 0; block < decoder.n_blocks(); ++block) {
                for (std::size_t i = 0; i < work.texts.size(); ++i) {
                    const RoundedText& text = work.texts[i];
                    if (text.n_rows == 0 || !std::isfinite(text.scale)) continue;
                    const Best best = screen(decoder, block, work.bytes.data() + text.at, text);
                    const std::size_t count = find_candidates(decoder, block, text, bias, best, work.candidates.data());
                    for (std::size_t c = 0; c < count; ++c) {
                        const auto term = static_cast<std::size_t>(work.candidates[c].term);
                        const ActiveTerm found = settle(work.candidates[c], weight.row(term),
                                                        bias.empty() ? 0.0F : bias[term], hidden.rows, text);
                        if (!(found.logit <= 0)) active[bundles[bundle] + i].push_back(found);
                    }
                }
            }
        }
    });
    return active;
}

#else

bool head_is_supported() noexcept { return false; }

std::vector<std::vector<ActiveTerm>> find_active(const PackedDecoder&, Rows32, std::span<const float>,
                                                 const HiddenStates&, std::size_t) {
    throw std::logic_error("this processor has no 8-bit dot products");
}

#endif

}  // namespace everglade
