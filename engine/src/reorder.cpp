// Recursive graph bisection. The cost of a term with d postings among n documents is about d log2(n / (d + 1)) bits,
// the entropy of its gaps; a document's gain from changing sides is what its terms' costs fall by, all else left in
// place.

#include "everglade/reorder.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <numbers>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "everglade/format.hpp"
#include "everglade/threads.hpp"

namespace everglade {
namespace {

/// Halves of this size and below keep the order they came in: a block of the index holds as many.
constexpr std::size_t kLeaf = 32;

/// Rounds of swaps for one halving. More change little: most documents find their side in the first few.
constexpr int kRounds = 8;

/// A round that swaps fewer pairs than this share of the documents is the last.
constexpr double kWorthwhile = 0.005;

/// By how much d log2(d + 1) grows when a term gets one more posting than d, written so that nothing large is
/// subtracted from its like: in a half of millions of documents the difference would drown in rounding.
class Growth {
  public:
    Growth() {
        for (std::size_t d = 0; d < table_.size(); ++d) table_[d] = compute(static_cast<double>(d));
    }
    double operator()(std::uint32_t d) const noexcept { return d < table_.size() ? table_[d] : compute(d); }

  private:
    static double compute(double d) noexcept {
        return std::log2(d + 2) + d * std::log1p(1 / (d + 1)) / std::numbers::ln2;
    }

    std::array<double, 4096> table_{};
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
        : documents_(documents),
          counts_(documents.n_terms),
          to_right_(documents.n_terms),
          to_left_(documents.n_terms) {}

    /// Put the documents of a run into two halves, of which the first has `middle` documents.
    void halve(std::span<std::uint32_t> run, std::size_t middle) {
        const auto left = run.first(middle);
        const auto right = run.subspan(middle);
        count(left, right);
        for (int round = 0; round < kRounds; ++round) {
            find_gains(left.size(), right.size());
            gather(left, to_right_, leaving_left_);
            gather(right, to_left_, leaving_right_);
            if (static_cast<double>(swap(left, right)) < kWorthwhile * static_cast<double>(run.size())) break;
        }
        for (const std::uint32_t term : touched_) counts_[term] = {};
        touched_.clear();
        // Each half stands with those most at home first; so those nearest to the other side come to lie beside it.
        std::reverse(left.begin(), left.end());
    }

  private:
    struct TermCount {
        std::uint32_t left = 0;
        std::uint32_t right = 0;
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
        const double sizes = std::log2(static_cast<double>(n_left) / static_cast<double>(n_right));
        for (const std::uint32_t term : touched_) {
            const auto [left, right] = counts_[term];
            to_right_[term] = left > 0 ? static_cast<float>(sizes + growth_(right) - growth_(left - 1)) : 0.0F;
            to_left_[term] = right > 0 ? static_cast<float>(-sizes + growth_(left) - growth_(right - 1)) : 0.0F;
        }
    }

    /// The candidates of a half, those that gain most first; among equals the one that stands first.
    void gather(std::span<const std::uint32_t> half, const std::vector<float>& gains, std::vector<Candidate>& leaving) {
        leaving.clear();
        for (const std::uint32_t document : half) {
            float gain = 0.0F;
            for (const std::int32_t term : terms_of(document)) gain += gains[static_cast<std::uint32_t>(term)];
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
    Growth growth_;
    std::vector<TermCount> counts_;
    std::vector<float> to_right_, to_left_;
    std::vector<std::uint32_t> touched_;
    std::vector<Candidate> leaving_left_, leaving_right_;
};

void require_terms(const DocumentTerms& documents) {
    const auto starts = documents.starts;
    const bool framed = !starts.empty() && starts.front() == 0 &&
                        static_cast<std::uint64_t>(starts.back()) == documents.terms.size() &&
                        std::is_sorted(starts.begin(), starts.end());
    if (!framed) throw std::invalid_argument("indptr must start at 0, never fall, and end at the number of terms");
    if (documents.n_documents() > format::kMaxDocuments || documents.n_terms > format::kMaxTerms) {
        throw std::invalid_argument("a segment holds at most 2^30 documents and 2^24 terms, not " +
                                    std::to_string(documents.n_documents()) + " and " +
                                    std::to_string(documents.n_terms));
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
    while (true) {
        std::erase_if(runs, [](Run run) { return run.size() <= kLeaf; });
        if (runs.empty()) return order;
        std::atomic<std::size_t> next{0};
        run_on_threads(std::min(granted_threads(n_threads), runs.size()), [&] {
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
}

}  // namespace everglade
