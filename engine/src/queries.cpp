// What a search is given, examined before it begins.

#include <algorithm>
#include <stdexcept>
#include <string>

#include "everglade/format.hpp"
#include "everglade/search.hpp"

namespace everglade {

void require_segments(std::span<const SearchedSegment> segments) {
    for (const SearchedSegment& searched : segments) {
        const std::size_t bytes = (std::size_t{searched.segment->n_documents()} + 7) / 8;
        if (searched.hidden && searched.hidden->size() != bytes) {
            throw std::invalid_argument(
                "the hidden documents of a segment of " + std::to_string(searched.segment->n_documents()) +
                " documents take " + std::to_string(bytes) + " bytes, not " + std::to_string(searched.hidden->size()));
        }
        if (searched.segment->n_terms() != segments.front().segment->n_terms()) {
            throw std::invalid_argument("the segments have different vocabularies");
        }
    }
}

void require_queries(const Queries& queries, std::span<const SearchedSegment> segments) {
    const std::uint32_t n_terms = segments.empty() ? format::kMaxTerms : segments.front().segment->n_terms();
    const bool wide = std::any_of(segments.begin(), segments.end(),
                                  [](const SearchedSegment& searched) { return searched.segment->is_wide(); });
    const std::uint32_t most = wide ? kMaxWideQueryMass : kMaxQueryMass;
    const auto starts = queries.starts;
    if (queries.terms.size() != queries.impacts.size())
        throw std::invalid_argument("a query needs one impact for each term");
    const bool framed =
        !starts.empty() && starts.front() == 0 && static_cast<std::uint64_t>(starts.back()) == queries.terms.size();
    if (!framed || !std::is_sorted(starts.begin(), starts.end())) {
        throw std::invalid_argument(
            "the indptr of the queries must start at 0, never fall, and end at the number of terms");
    }
    for (std::size_t number = 0; number < queries.count(); ++number) {
        const Query query = queries[number];
        std::uint64_t mass = 0;
        for (std::size_t i = 0; i < query.terms.size(); ++i) {
            mass += query.impacts[i];
            if (query.terms[i] < 0 || static_cast<std::uint32_t>(query.terms[i]) >= n_terms) {
                throw std::invalid_argument("query " + std::to_string(number) + ": term " +
                                            std::to_string(query.terms[i]) + " is not in the vocabulary of " +
                                            std::to_string(n_terms));
            }
        }
        if (mass > most) {
            throw std::invalid_argument("query " + std::to_string(number) + ": its impacts sum to " +
                                        std::to_string(mass) + ", more than " + std::to_string(most) +
                                        ", so a score could overflow");
        }
    }
}

}  // namespace everglade
