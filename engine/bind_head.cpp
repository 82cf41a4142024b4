// The SPLADE head as the Python module everglade._head. It translates and nothing more.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "everglade/head.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename T, std::size_t Dimensions>
using Given = nb::ndarray<const T, nb::numpy, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
template <typename T, std::size_t Dimensions>
using Filled = nb::ndarray<T, nb::numpy, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Vector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

everglade::Rows32 rows(const Given<float, 2>& array) { return {array.data(), array.shape(0), array.shape(1)}; }

everglade::HiddenStates hidden_states(const Given<float, 2>& hidden, const Given<std::int64_t, 1>& starts) {
    const std::span<const std::int64_t> at{starts.data(), starts.size()};
    if (at.empty() || at.front() != 0 || at.back() != static_cast<std::int64_t>(hidden.shape(0)) ||
        !std::is_sorted(at.begin(), at.end())) {
        throw std::invalid_argument("starts must rise from 0 to the number of rows of hidden");
    }
    return {rows(hidden), at};
}

std::size_t at_least_one(std::int64_t threads) {
    if (threads < 1) throw std::invalid_argument("threads must be at least 1");
    return static_cast<std::size_t>(threads);
}

void require_shape(bool fits, const char* what) {
    if (!fits) throw std::invalid_argument(what);
}

using Bias = std::optional<Given<float, 1>>;

std::vector<std::vector<everglade::ActiveTerm>> find_active(const everglade::PackedDecoder& packed,
                                                            const Given<float, 2>& weight, const Bias& bias,
                                                            const Given<float, 2>& hidden,
                                                            const Given<std::int64_t, 1>& starts,
                                                            std::int64_t threads) {
    require_shape(weight.shape(0) == packed.n_terms() && weight.shape(1) == packed.width(),
                  "weight must have the shape that was packed");
    require_shape(hidden.shape(1) == packed.width(), "hidden must be as wide as weight");
    require_shape(!bias || bias->shape(0) == packed.n_terms(), "bias must have one entry for each term");
    std::span<const float> added;
    if (bias) added = {bias->data(), bias->size()};
    const auto states = hidden_states(hidden, starts);
    const std::size_t workers = at_least_one(threads);
    const nb::gil_scoped_release released;
    return everglade::find_active(packed, rows(weight), added, states, workers);
}

/// Fills weights and positions, both (texts, terms) and zero where nothing is active.
void best(const everglade::PackedDecoder& packed, const Given<float, 2>& weight, const Bias& bias,
          const Given<float, 2>& hidden, const Given<std::int64_t, 1>& starts, const Filled<float, 2>& weights,
          const Filled<std::int32_t, 2>& positions, std::int64_t threads) {
    const std::size_t n_terms = packed.n_terms();
    require_shape(weights.shape(0) + 1 == starts.size() && weights.shape(1) == n_terms,
                  "weights must be (texts, terms)");
    require_shape(positions.shape(0) == weights.shape(0) && positions.shape(1) == n_terms,
                  "positions must be (texts, terms)");
    const auto active = find_active(packed, weight, bias, hidden, starts, threads);
    float* const out = weights.data();
    for (std::size_t text = 0; text < active.size(); ++text) {
        for (const everglade::ActiveTerm& entry : active[text]) {
            if (entry.term < 0) {
                std::fill_n(out + text * n_terms, n_terms, NAN);
                continue;
            }
            const std::size_t place = text * n_terms + static_cast<std::size_t>(entry.term);
            out[place] = std::log1p(entry.logit);
            positions.data()[place] = entry.position;
        }
    }
}

template <typename T>
Vector<T> owned(std::unique_ptr<T[]> values, std::size_t size) {
    T* const data = values.get();
    nb::capsule owner(data, [](void* memory) noexcept { delete[] static_cast<T*>(memory); });
    static_cast<void>(values.release());
    return Vector<T>(data, {size}, owner);
}

std::tuple<Vector<std::int64_t>, Vector<std::int32_t>, Vector<float>> sparse(
    const everglade::PackedDecoder& packed, const Given<float, 2>& weight, const Bias& bias,
    const Given<float, 2>& hidden, const Given<std::int64_t, 1>& starts, std::int64_t threads) {
    const auto active = find_active(packed, weight, bias, hidden, starts, threads);
    auto indptr = std::make_unique<std::int64_t[]>(active.size() + 1);
    for (std::size_t text = 0; text < active.size(); ++text) {
        indptr[text + 1] = indptr[text] + static_cast<std::int64_t>(active[text].size());
    }
    const auto size = static_cast<std::size_t>(indptr[active.size()]);
    auto terms = std::make_unique_for_overwrite<std::int32_t[]>(size);
    auto weights = std::make_unique_for_overwrite<float[]>(size);
    std::size_t place = 0;
    for (const auto& text : active) {
        for (const everglade::ActiveTerm& entry : text) {
            terms[place] = entry.term;
            weights[place++] = std::log1p(entry.logit);
        }
    }
    return {owned(std::move(indptr), active.size() + 1), owned(std::move(terms), size),
            owned(std::move(weights), size)};
}

void gradients(const Given<float, 2>& slopes, const Given<std::int32_t, 2>& positions, const Given<float, 2>& weight,
               const Given<float, 2>& hidden, const Given<std::int64_t, 1>& starts,
               const std::optional<Filled<float, 2>>& grad_hidden, const std::optional<Filled<float, 2>>& grad_weight,
               std::int64_t threads) {
    const auto states = hidden_states(hidden, starts);
    const auto decoder = rows(weight);
    require_shape(decoder.width == states.rows.width, "hidden must be as wide as weight");
    require_shape(slopes.shape(0) == states.n_texts() && slopes.shape(1) == decoder.count,
                  "slopes must be (texts, terms)");
    require_shape(positions.shape(0) == slopes.shape(0) && positions.shape(1) == slopes.shape(1),
                  "positions must be (texts, terms)");
    require_shape(
        !grad_hidden || (grad_hidden->shape(0) == hidden.shape(0) && grad_hidden->shape(1) == hidden.shape(1)),
        "grad_hidden must have the shape of hidden");
    require_shape(
        !grad_weight || (grad_weight->shape(0) == weight.shape(0) && grad_weight->shape(1) == weight.shape(1)),
        "grad_weight must have the shape of weight");
    const everglade::HeadSlopes at{slopes.data(), positions.data()};
    const std::size_t workers = at_least_one(threads);
    const nb::gil_scoped_release released;
    if (grad_hidden) everglade::add_hidden_gradient(decoder, at, states, grad_hidden->data(), workers);
    if (grad_weight) everglade::weight_gradient(at, states, decoder.count, grad_weight->data(), workers);
}

}  // namespace

NB_MODULE(_head, m) {
    m.doc() = "The SPLADE head on processors with 8-bit dot products; everglade.model.head is its face.";

    m.def("is_supported", &everglade::head_is_supported, "Whether this processor can run what is here.");

    nb::class_<everglade::PackedDecoder>(m, "PackedDecoder",
                                         "A decoder matrix (terms, width) rounded to 8 bits, for the screening.")
        .def(
            "__init__",
            [](everglade::PackedDecoder* self, const Given<float, 2>& weight, std::int64_t threads) {
                if (!everglade::head_is_supported()) throw std::invalid_argument("this processor cannot run the head");
                const auto decoder = rows(weight);
                const std::size_t workers = at_least_one(threads);
                const nb::gil_scoped_release released;
                new (self) everglade::PackedDecoder(decoder, workers);
            },
            "weight"_a.noconvert(), "threads"_a = 1)
        .def_prop_ro("is_finite", &everglade::PackedDecoder::is_finite, "Whether every value of the matrix is finite.")
        .def("best", &best, "weight"_a.noconvert(), "bias"_a.noconvert().none(), "hidden"_a.noconvert(),
             "starts"_a.noconvert(), "weights"_a.noconvert(), "positions"_a.noconvert(), "threads"_a = 1,
             "Fill in weight, log(1 + logit), and position of every active term of every text.\n\n"
             "Both arrays, (texts, terms), come as zeros. The hidden states of text t are rows starts[t] to starts[t + "
             "1].\n"
             "A text with hidden states that are not finite gets NaN for all terms.")
        .def("sparse", &sparse, "weight"_a.noconvert(), "bias"_a.noconvert().none(), "hidden"_a.noconvert(),
             "starts"_a.noconvert(), "threads"_a = 1,
             "The same as compressed sparse rows: indptr, terms, weights. A text that is not finite has the term -1.");

    m.def("gradients", &gradients, "slopes"_a.noconvert(), "positions"_a.noconvert(), "weight"_a.noconvert(),
          "hidden"_a.noconvert(), "starts"_a.noconvert(), "grad_hidden"_a.noconvert().none(),
          "grad_weight"_a.noconvert().none(), "threads"_a = 1,
          "Lead slopes of the loss by each largest logit, (texts, terms), back to hidden states and decoder.\n\n"
          "grad_hidden comes as zeros; grad_weight is written whole. Either may be None.");
}
