#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "everglade/segment.hpp"

namespace everglade {

/// A segment and the documents hidden in it: bit d % 8 of byte d / 8 is set if document d is deleted.
struct SearchedSegment {
    const Segment* segment;
    std::optional<std::span<const std::uint8_t>> deleted;
};

/// Query i has the entries [starts[i], starts[i + 1]). Terms may come in any order; equal terms add up.
struct Queries {
    std::span<const std::int64_t> starts;
    std::span<const std::int32_t> terms;
    std::span<const std::uint32_t> impacts;

    std::size_t count() const noexcept { return starts.size() - 1; }
};

/// Row i holds the k best documents of query i, best first; where there are fewer, segment is -1, local and score are
/// 0.
struct Results {
    std::span<std::int32_t> segments;
    std::span<std::uint32_t> locals;
    std::span<std::uint32_t> scores;
};

/// Find for each query the k documents with the greatest sum of query impact times document impact, exactly. Equal
/// scores are ordered by id, in byte order. A document that shares no term with the query is never found.
///
/// Throws std::invalid_argument if a query names a term outside the vocabulary or its impacts could overflow a score.
void search(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k, std::size_t n_threads,
            const Results& results);

/// The greatest sum of a query's impacts: with it no score can pass 32 bits, as document impacts are at most 255.
inline constexpr std::uint32_t kMaxQueryMass = 0xFFFFFFFFu / 255 - 1;

}  // namespace everglade
