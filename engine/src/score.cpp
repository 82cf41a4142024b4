// Scores of given documents, over their rows. Compiled without contraction of products and sums, so that every machine
// gives the same doubles.

#include "everglade/score.hpp"

#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>

#include "everglade/format.hpp"

namespace everglade {
namespace {

/// The value of a float16 that is finite and at least 0 (IEEE 754 binary16: 5 bits of exponent, 10 of fraction).
double from_half(std::uint16_t half) noexcept {
    constexpr std::uint32_t kRebias = (127 - 15) << 23;
    if (half < 0x0400) return half * 0x1p-24;
    return std::bit_cast<float>((std::uint32_t{half} << 13) + kRebias);
}

std::size_t table_size(std::uint32_t n_terms) noexcept { return std::max(n_terms, format::kMaxNarrowTerms); }

void require_documents(const Segment& segment, std::span<const std::uint32_t> locals) {
    for (const std::uint32_t local : locals) segment.require_local(local);
}

}  // namespace

DocumentScorer::DocumentScorer(std::uint32_t n_terms)
    : n_terms_(n_terms), impacts_(make_zeros<std::uint32_t>(table_size(n_terms))) {}

void DocumentScorer::begin(const Query& query) {
    for (const std::int32_t term : query_.terms) impacts_[static_cast<std::uint32_t>(term)] = 0;
    query_ = query;
    for (std::size_t i = 0; i < query.terms.size(); ++i) {
        impacts_[static_cast<std::uint32_t>(query.terms[i])] += query.impacts[i];
    }
}

std::uint32_t DocumentScorer::score(const Segment& segment, std::uint32_t local) const noexcept {
    if (segment.has_rows()) {
        return score_row(segment.rows(), segment.rows().starts[local], segment.rows().starts[local + 1]);
    }
    std::uint32_t score = 0;
    for (std::size_t i = 0; i < query_.terms.size(); ++i) {
        if (const auto place = segment.find_term(static_cast<std::uint32_t>(query_.terms[i]))) {
            score += query_.impacts[i] * segment.find_impact(*place, local);
        }
    }
    return score;
}

std::uint32_t DocumentScorer::score_row(const Rows& rows, std::size_t first, std::size_t last) const noexcept {
    return rows.impacts.visit([&](auto impacts) {
        std::uint32_t score = 0;
        if (rows.wide_terms.empty()) {
            for (std::size_t i = first; i < last; ++i) score += impacts_[rows.narrow_terms[i]] * impacts[i];
            return score;
        }
        for (std::size_t i = first; i < last; ++i) {
            // A file that was not verified may hold any term.
            if (rows.wide_terms[i] < n_terms_) score += impacts_[rows.wide_terms[i]] * impacts[i];
        }
        return score;
    });
}

void DocumentScorer::prefetch_start(const Segment& segment, std::uint32_t local) noexcept {
    if (segment.has_rows()) __builtin_prefetch(segment.rows().starts.data() + local);
}

void DocumentScorer::prefetch_row(const Segment& segment, std::uint32_t local) noexcept {
    if (!segment.has_rows()) return;
    const Rows& rows = segment.rows();
    const auto ask_for = [first = rows.starts[local], last = rows.starts[local + 1]](auto entries) {
        constexpr std::size_t kLine = 64 / sizeof(entries[0]);
        for (std::size_t entry = first; entry < last; entry += kLine) __builtin_prefetch(entries.data() + entry);
    };
    rows.wide_terms.empty() ? ask_for(rows.narrow_terms) : ask_for(rows.wide_terms);
    rows.impacts.visit(ask_for);
}

void score_documents(const Segment& segment, std::span<const std::uint32_t> locals, const Query& query,
                     std::span<std::uint32_t> scores) {
    const std::vector<std::int64_t> starts{0, static_cast<std::int64_t>(query.terms.size())};
    const SearchedSegment searched{&segment, std::nullopt};
    require_queries({starts, query.terms, query.impacts}, {&searched, 1});
    require_documents(segment, locals);
    DocumentScorer scorer(segment.n_terms());
    scorer.begin(query);
    for (std::size_t i = 0; i < locals.size(); ++i) scores[i] = scorer.score(segment, locals[i]);
}

void score_documents_float(const Segment& segment, std::span<const std::uint32_t> locals,
                           std::span<const std::int32_t> terms, std::span<const float> weights,
                           std::span<double> scores) {
    if (!segment.has_weights()) throw std::invalid_argument("this segment keeps no weights");
    if (terms.size() != weights.size()) throw std::invalid_argument("a query needs one weight for each term");
    require_documents(segment, locals);
    const auto table = make_zeros<double>(table_size(segment.n_terms()));
    for (std::size_t i = 0; i < terms.size(); ++i) {
        if (terms[i] < 0 || static_cast<std::uint32_t>(terms[i]) >= segment.n_terms()) {
            throw std::invalid_argument("term " + std::to_string(terms[i]) + " is not in the vocabulary of " +
                                        std::to_string(segment.n_terms()));
        }
        if (!(std::isfinite(weights[i]) && weights[i] >= 0)) {
            throw std::invalid_argument("the weight of term " + std::to_string(terms[i]) +
                                        " is negative or not finite");
        }
        table[static_cast<std::uint32_t>(terms[i])] += double{weights[i]};
    }
    const Rows& rows = segment.rows();
    for (std::size_t i = 0; i < locals.size(); ++i) {
        double sum = 0;
        for (std::size_t entry = rows.starts[locals[i]]; entry < rows.starts[locals[i] + 1]; ++entry) {
            // A file that was not verified may hold any term, and bits of a weight that is none.
            if (rows.term(entry) < segment.n_terms()) sum += table[rows.term(entry)] * from_half(rows.weights[entry]);
        }
        scores[i] = sum;
    }
}

}  // namespace everglade
