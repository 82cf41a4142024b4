// Recursive graph bisection. The cost of a term with d postings among n documents is about d log2(n / (d + 1)) bits,
// the entropy of its gaps; a document's gain from changing sides is what its terms' costs fall by, all else left in
// place.

#include "everglade/reorder.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "everglade/threads.hpp"

namespace everglade {
namespace {

/// Halves of this size and below keep the order they came in: a block of the index holds as many.
constexpr std::size_t kLeaf = 32;

/// Rounds of swaps for one halving. More change little: most documents find their side in the first few.
constexpr int kRounds = 12;

/// A round in which fewer than this share of the documents change sides is the last.
constexpr double kWorthwhile = 0.002;

/// log2 of small numbers, looked up.
class Logarithms {
  public:
    Logarithms() {
        for (std::size_t i = 1; i < table_.size(); ++i) table_[i] = std::log2(static_cast<float>(i));
    }
    float operator()(std::uint32_t number) const noexcept {
        return number < table_.size() ? table_[number] : std::log2(static_cast<float>(number));
    }

  private:
    std::array<float, 4096> table_{};
};

/// One document of a half, and how many bits its change of sides saves.
struct Candidate {
    float gain;
    std::uint32_t document;
};

/// Halves runs of documents; one for each thread, as its counts are its own.
class Halving {
  public:
    explicit Halving(const DocumentTerms& documents)
        : documents_(documents), counts_(documents.n_terms), gains_(documents.n_terms) {}

    /// Put the documents of a run into two halves, of which the first has `middle` documents.
    void halve(std::span<std::uint32_t> run, std::size_t middle) {
        const auto left = run.first(middle);
        const auto right = run.subspan(middle);
        count(left, right);
        for (int round = 0; round < kRounds; ++round) {
            find_gains(left.size(), right.size());
            gather(left, &TermGain::to_right, leaving_left_);
            gather(right, &TermGain::to_left, leaving_right_);
            if (static_cast<double>(swap(left, right)) < kWorthwhile * static_cast<double>(run.size())) break;
        }
        for (const std::uint32_t term : touched_) counts_[term] = {};
        touched_.clear();
    }

  private:
    struct TermCount {
        std::uint32_t left = 0;
        std::uint32_t right = 0;
    };
    struct TermGain {
        float to_right;
        float to_left;
    };

    std::span<const std::int32_t> terms_of(std::uint32_t document) const noexcept {
        const auto first = static_cast<std::size_t>(documents_.starts[document]);
        return documents_.terms.subspan(first, static_cast<std::size_t>(documents_.starts[document + 1]) - first);
    }

    void count(std::span<const std::uint32_t> left, std::span<const std::uint32_t> right) {
        for (const std::uint32_t document : left) count_one(document, &TermCount::left);
        for (const std::uint32_t document : right) count_one(document, &TermCount::right);
    }

    void count_one(std::uint32_t document, std::uint32_t TermCount::*side) {
        for (const std::int32_t term : terms_of(document)) {
            TermCount& found = counts_[static_cast<std::uint32_t>(term)];
            if (found.left + found.right == 0) touched_.push_back(static_cast<std::uint32_t>(term));
            ++(found.*side);
        }
    }

    /// What moving one posting of a term from one side to the other saves.
    void find_gains(std::size_t n_left, std::size_t n_right) {
        const float size_left = std::log2(static_cast<float>(n_left));
        const float size_right = std::log2(static_cast<float>(n_right));
        const auto cost = [&](std::uint32_t left, std::uint32_t right) {
            return static_cast<float>(left) * (size_left - logarithm_(left + 1)) +
                   static_cast<float>(right) * (size_right - logarithm_(right + 1));
        };
        for (const std::uint32_t term : touched_) {
            const auto [left, right] = counts_[term];
            const float now = cost(left, right);
            gains_[term] = {left > 0 ? now - cost(left - 1, right + 1) : 0.0F,
                            right > 0 ? now - cost(left + 1, right - 1) : 0.0F};
        }
    }

    /// The candidates of a half, those that gain most first; among equals the one that stands first.
    void gather(std::span<const std::uint32_t> half, float TermGain::*direction, std::vector<Candidate>& leaving) {
        leaving.clear();
        for (const std::uint32_t document : half) {
            float gain = 0.0F;
            for (const std::int32_t term : terms_of(document))
                gain += gains_[static_cast<std::uint32_t>(term)].*direction;
            leaving.push_back({gain, document});
        }
        std::stable_sort(leaving.begin(), leaving.end(),
                         [](const Candidate& a, const Candidate& b) { return a.gain > b.gain; });
    }

    /// Swap pairs, the best with the best, while a pair gains. Returns how many pairs there were.
    std::size_t swap(std::span<std::uint32_t> left, std::span<std::uint32_t> right) {
        const std::size_t pairs = std::min(left.size(), right.size());
        std::size_t swapped = 0;
        while (swapped < pairs && leaving_left_[swapped].gain + leaving_right_[swapped].gain > 0) {
            move(leaving_left_[swapped].document, &TermCount::left, &TermCount::right);
            move(leaving_right_[swapped].document, &TermCount::right, &TermCount::left);
            std::swap(leaving_left_[swapped].document, leaving_right_[swapped].document);
            ++swapped;
        }
        const auto document_of = [](const Candidate& candidate) { return candidate.document; };
        std::transform(leaving_left_.begin(), leaving_left_.end(), left.begin(), document_of);
        std::transform(leaving_right_.begin(), leaving_right_.end(), right.begin(), document_of);
        return swapped;
    }

    void move(std::uint32_t document, std::uint32_t TermCount::*from, std::uint32_t TermCount::*to) {
        for (const std::int32_t term : terms_of(document)) {
            TermCount& count = counts_[static_cast<std::uint32_t>(term)];
            --(count.*from);
            ++(count.*to);
        }
    }

    const DocumentTerms& documents_;
    Logarithms logarithm_;
    std::vector<TermCount> counts_;
    std::vector<TermGain> gains_;
    std::vector<std::uint32_t> touched_;
    std::vector<Candidate> leaving_left_, leaving_right_;
};

void require_terms(const DocumentTerms& documents) {
    const auto starts = documents.starts;
    const bool framed = !starts.empty() && starts.front() == 0 &&
                        static_cast<std::uint64_t>(starts.back()) == documents.terms.size() &&
                        std::is_sorted(starts.begin(), starts.end());
    if (!framed) throw std::invalid_argument("indptr must start at 0, never fall, and end at the number of terms");
    if (documents.n_documents() > std::numeric_limits<std::uint32_t>::max()) {
        throw std::invalid_argument("there are more documents than 32 bits can count");
    }
    for (const std::int32_t term : documents.terms) {
        if (term < 0 || static_cast<std::uint32_t>(term) >= documents.n_terms) {
            throw std::invalid_argument("term " + std::to_string(term) + " is not in the vocabulary of " +
                                        std::to_string(documents.n_terms));
        }
    }
}

using Run = std::span<std::uint32_t>;

/// Halves keep whole leaves, so that the leaves of the whole are runs of exactly kLeaf.
std::size_t middle_of(Run run) noexcept {
    const std::size_t leaves = (run.size() + kLeaf - 1) / kLeaf;
    return (leaves + 1) / 2 * kLeaf;
}

}  // namespace

std::vector<std::uint32_t> find_order(const DocumentTerms& documents, std::size_t n_threads) {
    require_terms(documents);
    std::vector<std::uint32_t> order(documents.n_documents());
    std::iota(order.begin(), order.end(), 0U);
    // Level by level: the runs of one level share no document, so each may go to any thread.
    std::vector<Run> runs{order};
    while (!runs.empty()) {
        std::erase_if(runs, [](Run run) { return run.size() <= kLeaf; });
        std::atomic<std::size_t> next{0};
        run_on_threads(std::max<std::size_t>(1, std::min(n_threads, runs.size())), [&] {
            Halving halving(documents);
            for (std::size_t i = next++; i < runs.size(); i = next++) halving.halve(runs[i], middle_of(runs[i]));
        });
        std::vector<Run> halves;
        for (const Run run : runs) {
            halves.push_back(run.first(middle_of(run)));
            halves.push_back(run.subspan(middle_of(run)));
        }
        runs.swap(halves);
    }
    return order;
}

}  // namespace everglade
