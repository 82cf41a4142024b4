// The SPLADE head on a processor with 8-bit dot products (AVX-512 VNNI): the weight of term j in a text is
// log(1 + relu(max over positions i of h_i . E_j + b_j)).
//
// Nearly all terms of the vocabulary have no weight, so the logits are screened first, in 8 bits:
//   1. hidden states and decoder rows are rounded to 8 bits, each with its own scale, and all products of a text are
//      taken as integers; the three largest of each term are kept, with the positions of the first two;
//   2. by Cauchy-Schwarz |h.E - h'.E'| <= |h - h'| |E| + |h'| |E - E'| for the rounded h', E'. A term whose largest
//      logit plus that bound is not above 0 has no weight; every other one is computed again in float32 at the two
//      positions kept, and at all positions if the third could be above them.
// So the result is that of float32 arithmetic, position included, and most of the work is done in 8 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace everglade {

/// Whether this processor can run the head below.
bool head_is_supported() noexcept;

/// Rows of floats, one after another.
struct Rows32 {
    const float* values;
    std::size_t count;
    std::size_t width;

    const float* row(std::size_t i) const noexcept { return values + i * width; }
};

/// The hidden states of some texts without padding: those of text t are rows starts[t] to starts[t + 1].
struct HiddenStates {
    Rows32 rows;
    std::span<const std::int64_t> starts;

    std::size_t n_texts() const noexcept { return starts.size() - 1; }
};

/// A decoder matrix of shape (terms, width), rounded to 8 bits and laid out for the screening.
class PackedDecoder {
  public:
    PackedDecoder(Rows32 weight, std::size_t threads);

    std::size_t n_terms() const noexcept { return n_terms_; }
    std::size_t width() const noexcept { return width_; }
    bool is_finite() const noexcept { return is_finite_; }

    static constexpr std::size_t kBlock = 64;  // terms screened together, 4 vectors of 16
    static constexpr std::size_t kQuadBytes = kBlock * 4;
    std::size_t n_blocks() const noexcept { return scales_.size() / kBlock; }
    std::size_t n_quads() const noexcept { return n_quads_; }  // groups of four along the width

    /// The quads of a block, one after another: 64 terms times 4 bytes each.
    const std::int8_t* quads(std::size_t block) const noexcept { return values_.get() + block * n_quads_ * kQuadBytes; }
    const std::int32_t* offsets() const noexcept { return offsets_.data(); }
    const float* scales() const noexcept { return scales_.data(); }
    const float* norms() const noexcept { return norms_.data(); }
    const float* residuals() const noexcept { return residuals_.data(); }

  private:
    struct Free {
        void operator()(std::int8_t* memory) const noexcept;
    };
    std::size_t n_terms_, width_, n_quads_;
    bool is_finite_ = true;
    std::unique_ptr<std::int8_t[], Free> values_;
    std::vector<std::int32_t> offsets_;  // -128 times the sum of the row's bytes: hidden bytes are stored 128 too high
    std::vector<float> scales_, norms_, residuals_;  // the row's scale, |E|, |E - E'|
};

/// A term whose largest logit in a text is above 0, or no number.
struct ActiveTerm {
    std::int32_t term;
    std::int32_t position;  // counted from the first row of the text
    float logit;
};

/// Give the active terms of every text, ascending. A text with hidden states that are not finite gets one entry with
/// term -1. `bias` may be empty.
std::vector<std::vector<ActiveTerm>> find_active(const PackedDecoder& decoder, Rows32 weight,
                                                 std::span<const float> bias, const HiddenStates& hidden,
                                                 std::size_t threads);

/// Slopes of the loss by the largest logit of each active term, as the forward pass left them, both (texts, terms).
struct HeadSlopes {
    const float* slopes;  // 0 where a term is not active
    const std::int32_t* positions;
};

/// grad[start of t + position] += slope * weight[term] over all active entries; `grad` comes as zeros.
void add_hidden_gradient(Rows32 weight, const HeadSlopes& at, const HiddenStates& hidden, float* grad,
                         std::size_t threads);

/// grad[term] = sum of slope * hidden[start of t + position] over all active entries.
void weight_gradient(const HeadSlopes& at, const HiddenStates& hidden, std::size_t n_terms, float* grad,
                     std::size_t threads);

}  // namespace everglade
