#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "check.hpp"
#include "everglade/head.hpp"

using everglade::ActiveTerm;
using everglade::HiddenStates;
using everglade::PackedDecoder;
using everglade::Rows32;

namespace {

struct Input {
    std::size_t n_terms, width;
    std::vector<float> weight, bias, hidden;
    std::vector<std::int64_t> starts;

    Rows32 decoder() const { return {weight.data(), n_terms, width}; }
    HiddenStates states() const { return {{hidden.data(), hidden.size() / width, width}, starts}; }

    std::vector<std::vector<ActiveTerm>> find(std::size_t threads = 1) const {
        return everglade::find_active(PackedDecoder(decoder(), threads), decoder(), bias, states(), threads);
    }
};

Input random_input(std::mt19937& random, std::size_t n_terms, std::size_t width,
                   const std::vector<std::size_t>& lengths) {
    std::normal_distribution<float> normal;
    Input input{n_terms, width, {}, {}, {}, {0}};
    for (std::size_t i = 0; i < n_terms * width; ++i) input.weight.push_back(normal(random));
    for (std::size_t i = 0; i < n_terms; ++i)
        input.bias.push_back(normal(random) - std::sqrt(static_cast<float>(width)));
    for (const std::size_t length : lengths) {
        for (std::size_t i = 0; i < length * width; ++i) input.hidden.push_back(normal(random));
        input.starts.push_back(input.starts.back() + static_cast<std::int64_t>(length));
    }
    return input;
}

double logit(const Input& input, std::size_t row, std::size_t term) {
    double sum = input.bias.empty() ? 0 : input.bias[term];
    for (std::size_t i = 0; i < input.width; ++i) {
        sum += static_cast<double>(input.hidden[row * input.width + i]) * input.weight[term * input.width + i];
    }
    return sum;
}

/// Every term is active exactly if its largest logit is above 0, and has that logit at its position, up to rounding.
void check_equals_brute_force(const Input& input, const std::vector<std::vector<ActiveTerm>>& found) {
    CHECK(found.size() == input.states().n_texts());
    for (std::size_t text = 0; text < found.size(); ++text) {
        const auto first = static_cast<std::size_t>(input.starts[text]),
                   last = static_cast<std::size_t>(input.starts[text + 1]);
        auto next = found[text].begin();
        for (std::size_t term = 0; term < input.n_terms; ++term) {
            double best = -std::numeric_limits<double>::infinity(), magnitude = 0;
            for (std::size_t row = first; row < last; ++row) {
                best = std::max(best, logit(input, row, term));
                magnitude = std::max(magnitude, std::abs(best));
            }
            const double rounding = 1e-5 * (1 + magnitude) * std::sqrt(static_cast<double>(input.width));
            const bool is_active = next != found[text].end() && next->term == static_cast<std::int32_t>(term);
            CHECK(is_active ? best > -rounding : !(best > rounding));
            if (!is_active) continue;
            CHECK(std::abs(next->logit - best) < rounding);
            CHECK(next->position >= 0 && next->position < static_cast<std::int32_t>(last - first));
            CHECK(std::abs(logit(input, first + static_cast<std::size_t>(next->position), term) - best) < rounding);
            ++next;
        }
        CHECK(next == found[text].end());
    }
}

}  // namespace

TEST(active_terms_are_those_of_brute_force) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(3);
    for (const std::size_t width : {1u, 3u, 4u, 16u, 17u, 63u, 128u}) {
        for (const std::size_t n_terms : {1u, 15u, 64u, 65u, 200u}) {
            const Input input = random_input(random, n_terms, width, {0, 1, 2, 3, 5, 6, 7, 12, 40});
            check_equals_brute_force(input, input.find());
        }
    }
}

TEST(long_texts_leave_fewer_bits_to_the_products) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(4);
    const Input input = random_input(random, 70, 96, {9000, 3});
    check_equals_brute_force(input, input.find());
}

TEST(equal_and_nearly_equal_positions_are_told_apart) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(5);
    Input input = random_input(random, 100, 32, {30});
    std::fill(input.bias.begin(), input.bias.end(), 0.0F);
    std::normal_distribution<float> normal;
    // All positions are one vector with noise far below the step of 8 bits.
    for (std::size_t i = 32; i < input.hidden.size(); ++i)
        input.hidden[i] = input.hidden[i % 32] + 1e-4F * normal(random);
    check_equals_brute_force(input, input.find());
    for (std::size_t i = 32; i < input.hidden.size(); ++i) input.hidden[i] = input.hidden[i % 32];
    const auto found = input.find();
    CHECK(!found[0].empty());
    for (const ActiveTerm& entry : found[0]) CHECK(entry.position == 0);
}

TEST(a_few_huge_dimensions_only_make_the_screening_coarser) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(6);
    Input input = random_input(random, 150, 48, {25, 4});
    for (std::size_t row = 0; row < 29; ++row) input.hidden[row * 48 + 7] *= 1000;
    for (std::size_t term = 0; term < 150; ++term) input.weight[term * 48 + 7] *= 1e-3F;
    check_equals_brute_force(input, input.find());
    std::fill(input.weight.begin(), input.weight.begin() + 48, 0.0F);
    std::fill(input.hidden.begin(), input.hidden.begin() + 48 * 25, 0.0F);
    input.bias[0] = 1;
    check_equals_brute_force(input, input.find());
}

TEST(numbers_too_small_to_square_are_not_lost) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(10);
    Input input = random_input(random, 100, 16, {6, 2});
    std::fill(input.bias.begin(), input.bias.end(), 0.0F);
    for (float& value : input.hidden) value *= 1e-30F;
    const auto found = input.find();
    for (std::size_t term = 0; term < 100; ++term) {
        double best = -1;
        for (std::size_t row = 0; row < 6; ++row) best = std::max(best, logit(input, row, term));
        const bool is_active = std::any_of(found[0].begin(), found[0].end(), [&](const ActiveTerm& entry) {
            return entry.term == static_cast<std::int32_t>(term);
        });
        CHECK(is_active == (best > 0));
    }
}

TEST(wide_rows_of_long_texts_fit_the_keys) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(11);
    const Input input = random_input(random, 5, 4096, {600});
    check_equals_brute_force(input, input.find());
}

TEST(threads_change_nothing) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(7);
    const Input input = random_input(random, 500, 24, std::vector<std::size_t>(60, 37));
    const auto one = input.find(1), four = input.find(4);
    for (std::size_t text = 0; text < one.size(); ++text) {
        CHECK(std::equal(one[text].begin(), one[text].end(), four[text].begin(), four[text].end(),
                         [](const ActiveTerm& a, const ActiveTerm& b) {
                             return a.term == b.term && a.position == b.position && a.logit == b.logit;
                         }));
    }
}

TEST(what_is_not_finite_is_told) {
    if (!everglade::head_is_supported()) return;
    std::mt19937 random(8);
    for (const float foreign : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        Input input = random_input(random, 80, 20, {3, 4, 5});
        input.hidden[4 * 20 + 3] = foreign;
        const auto found = input.find();
        CHECK(found[1].size() == 1 && found[1][0].term == -1);
        CHECK(found[0].empty() || found[0][0].term >= 0);
        CHECK(PackedDecoder(input.decoder(), 1).is_finite());
        input.weight[33] = foreign;
        CHECK(!PackedDecoder(input.decoder(), 1).is_finite());
        input.weight[33] = 0;
        input.bias[5] = foreign;
        for (const std::size_t text : {0u, 2u}) {
            const auto entries = input.find()[text];
            CHECK(std::any_of(entries.begin(), entries.end(),
                              [](const ActiveTerm& entry) { return entry.term == 5 && !std::isfinite(entry.logit); }));
        }
    }
}

TEST(gradients_are_sums_over_active_entries) {
    std::mt19937 random(9);
    const Input input = random_input(random, 130, 21, {4, 0, 9});
    std::vector<float> slopes(3 * 130, 0.0F);
    std::vector<std::int32_t> positions(3 * 130, 0);
    std::vector<double> grad_hidden(13 * 21, 0.0), grad_weight(130 * 21, 0.0);
    std::normal_distribution<float> normal;
    for (std::size_t text : {0u, 2u}) {
        const auto first = static_cast<std::size_t>(input.starts[text]);
        const auto length = static_cast<std::size_t>(input.starts[text + 1]) - first;
        for (std::size_t term = 0; term < 130; term += 1 + random() % 3) {
            const std::size_t place = text * 130 + term;
            slopes[place] = normal(random);
            positions[place] = static_cast<std::int32_t>(random() % length);
            const std::size_t row = first + static_cast<std::size_t>(positions[place]);
            for (std::size_t i = 0; i < 21; ++i) {
                grad_hidden[row * 21 + i] += slopes[place] * static_cast<double>(input.weight[term * 21 + i]);
                grad_weight[term * 21 + i] += slopes[place] * static_cast<double>(input.hidden[row * 21 + i]);
            }
        }
    }
    for (const std::size_t threads : {1u, 3u}) {
        std::vector<float> found_hidden(13 * 21, 0.0F), found_weight(130 * 21, 9.0F);
        everglade::add_hidden_gradient(input.decoder(), {slopes.data(), positions.data()}, input.states(),
                                       found_hidden.data(), threads);
        everglade::weight_gradient({slopes.data(), positions.data()}, input.states(), 130, found_weight.data(),
                                   threads);
        for (std::size_t i = 0; i < grad_hidden.size(); ++i) CHECK(std::abs(found_hidden[i] - grad_hidden[i]) < 1e-4);
        for (std::size_t i = 0; i < grad_weight.size(); ++i) CHECK(std::abs(found_weight[i] - grad_weight[i]) < 1e-4);
    }
}
