#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

#include "everglade/search.hpp"
#include "everglade/segment.hpp"

namespace everglade {

struct FreeMemory {
    void operator()(void* memory) const noexcept { std::free(memory); }
};

/// Numbers that begin as 0; pages of them that are never touched cost nothing.
template <typename T>
using Zeros = std::unique_ptr<T[], FreeMemory>;

template <typename T>
Zeros<T> make_zeros(std::size_t count) {
    auto* const memory = static_cast<T*>(std::calloc(count, sizeof(T)));
    if (memory == nullptr) throw std::bad_alloc();
    return Zeros<T>(memory);
}

/// Scores documents one at a time by their whole vectors, for one query after another.
class DocumentScorer {
  public:
    explicit DocumentScorer(std::uint32_t n_terms);

    /// Take up a query, which must outlive its use here. Its terms are in the vocabulary.
    void begin(const Query& query);

    /// The sum of query impact times document impact: over the row, or over the postings where there are no rows.
    std::uint32_t score(const Segment& segment, std::uint32_t local) const noexcept;

    /// Ask the memory for where the row of a document stands, and later for the row, of one that will be scored soon.
    static void prefetch_start(const Segment& segment, std::uint32_t local) noexcept;
    static void prefetch_row(const Segment& segment, std::uint32_t local) noexcept;

  private:
    std::uint32_t score_row(const Rows& rows, std::size_t first, std::size_t last) const noexcept;

    std::uint32_t n_terms_;
    Zeros<std::uint32_t> impacts_;  // of the query, by term; one for each value that a narrow term can take
    Query query_{};
};

/// scores[i] = the sum of query impact times document impact of document locals[i], over its row, or over its postings
/// where there are no rows. Throws std::invalid_argument as search does, and if there is no such document.
void score_documents(const Segment& segment, std::span<const std::uint32_t> locals, const Query& query,
                     std::span<std::uint32_t> scores);

/// scores[i] = the sum of query weight times document weight of document locals[i]: each product and the sum in double,
/// in the ascending order of terms. Weights of a term that the query names twice add up in double, in order.
///
/// Throws std::invalid_argument if the segment keeps no weights, a weight of the query is negative or not finite, or a
/// term or a document is not there.
void score_documents_float(const Segment& segment, std::span<const std::uint32_t> locals,
                           std::span<const std::int32_t> terms, std::span<const float> weights,
                           std::span<double> scores);

}  // namespace everglade
