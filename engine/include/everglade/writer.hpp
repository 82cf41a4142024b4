#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "everglade/impacts.hpp"

namespace everglade {

/// Which segment of which index a file is.
struct SegmentName {
    std::array<std::uint8_t, 16> uuid;
    std::uint64_t number;
};

/// From so many postings on, a block is dense: its cells pay then, and take few bytes. Measured:
/// docs/decisions/0016-block-maxima.md.
inline constexpr std::uint32_t kDenseFrom = 2560;

/// Documents in the order of their ids: row r has the entries [starts[r], starts[r + 1]), terms ascending, impacts at
/// least 1, and the id in id_bytes[id_starts[r], id_starts[r + 1]).
struct SegmentContent {
    std::uint32_t n_terms;
    std::span<const std::int64_t> starts;
    std::span<const std::int32_t> terms;
    Impacts impacts;
    std::span<const std::uint64_t> id_starts;
    std::string_view id_bytes;
    /// Entries that become postings, not 0 for yes: the pruned feature. Without it all do.
    std::optional<std::span<const std::uint8_t>> postings = std::nullopt;
    /// The row that stands at each local: the reordered feature. Without it they stand by id.
    std::optional<std::span<const std::uint32_t>> order = std::nullopt;
    /// float16 of each entry, finite and at least 0.
    std::optional<std::span<const std::uint16_t>> weights = std::nullopt;
    /// Whether the forward side is written.
    bool rows = true;
    /// Blocks of so many postings get cells, and of none without it.
    std::optional<std::uint32_t> cells_from = kDenseFrom;
};

struct WrittenSegment {
    std::uint32_t n_documents;
    std::uint64_t n_postings;
    std::uint64_t size_bytes;
    std::uint32_t crc32c;
};

/// Write a segment, whole and durable when this returns. Throws std::invalid_argument if the content breaks a rule
/// above, FileError if the file cannot be written; then nothing is left behind.
///
/// Terms, impacts, weights and the choice of postings may be changed by others meanwhile: the file may then hold
/// nonsense, but memory stays safe.
WrittenSegment write_segment(const std::string& path, const SegmentName& name, const SegmentContent& content);

}  // namespace everglade
