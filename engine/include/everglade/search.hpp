#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "everglade/segment.hpp"

namespace everglade {

/// A segment and the documents hidden in it: bit d % 8 of byte d / 8 is set if document d cannot be found.
struct SearchedSegment {
    const Segment* segment;
    std::optional<std::span<const std::uint8_t>> hidden;
};

/// Terms may come in any order; equal terms add up.
struct Query {
    std::span<const std::int32_t> terms;
    std::span<const std::uint32_t> impacts;
};

/// Query i has the entries [starts[i], starts[i + 1]).
struct Queries {
    std::span<const std::int64_t> starts;
    std::span<const std::int32_t> terms;
    std::span<const std::uint32_t> impacts;

    std::size_t count() const noexcept { return starts.size() - 1; }
    Query operator[](std::size_t i) const noexcept {
        const auto first = static_cast<std::size_t>(starts[i]);
        const auto size = static_cast<std::size_t>(starts[i + 1]) - first;
        return {terms.subspan(first, size), impacts.subspan(first, size)};
    }
};

/// Row i holds the k best documents of query i, best first; where there are fewer, segment is -1, local and score are
/// 0.
struct Results {
    std::span<std::int32_t> segments;
    std::span<std::uint32_t> locals;
    std::span<std::uint32_t> scores;
};

/// The greatest sum of a query's impacts: with it no score can pass 32 bits. Document impacts are at most 255, or
/// 65,535 where one of the segments is wide.
inline constexpr std::uint32_t kMaxQueryMass = 0xFFFFFFFFu / 255 - 1;
inline constexpr std::uint32_t kMaxWideQueryMass = 0xFFFFFFFFu / 65'535 - 1;

/// How a search goes through a window: over all postings of the query, or only over those of cells that can hold a
/// document of use, where the segment has cells. The hits are the same. Automatic takes what it expects to be cheaper,
/// window by window.
enum class Path { automatic, scan, cells };

/// Find for each query the k documents with the greatest sum of query impact times document impact over the postings,
/// exactly. Equal scores are ordered by id, in byte order. A document that shares no posting with the query is never
/// found.
///
/// Throws std::invalid_argument if a query names a term outside the vocabulary or its impacts could overflow a score.
void search(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k, std::size_t n_threads,
            const Results& results, Path path = Path::automatic);

/// How much search_approximate does.
struct Approximation {
    /// Share of the greatest score a query could give that its scanned terms must cover, above 0 and at most 1.
    double mass;
    /// Documents kept from the scan, at least k.
    std::size_t candidates;
};

/// Like search, but only the terms that promise most are scanned: those with the greatest products of query impact and
/// greatest impact among the postings of all segments, equal ones by term, until their sum is `mass` of the sum over
/// all terms. The best `candidates` by the scanned terms, by id where equal, are then scored as score_documents does,
/// and the best k of them are given. With mass 1 and segments that are not pruned this is search.
void search_approximate(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k,
                        std::size_t n_threads, const Approximation& approximation, const Results& results);

/// Throws std::invalid_argument unless these can be searched together.
void require_segments(std::span<const SearchedSegment> segments);
void require_queries(const Queries& queries, std::span<const SearchedSegment> segments);

}  // namespace everglade
