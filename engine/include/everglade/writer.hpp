#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace everglade {

/// Which segment of which index a file is.
struct SegmentName {
    std::array<std::uint8_t, 16> uuid;
    std::uint64_t number;
};

/// Documents in the order of their ids: document d has the entries [starts[d], starts[d + 1]), terms ascending, impacts
/// at least 1, and the id in id_bytes[id_starts[d], id_starts[d + 1]).
struct SegmentContent {
    std::uint32_t n_terms;
    std::span<const std::int64_t> starts;
    std::span<const std::int32_t> terms;
    std::span<const std::uint8_t> impacts;
    std::span<const std::uint64_t> id_starts;
    std::string_view id_bytes;
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
/// `terms` and `impacts` may be changed by others meanwhile: the file may then hold nonsense, but memory stays safe.
WrittenSegment write_segment(const std::string& path, const SegmentName& name, const SegmentContent& content);

}  // namespace everglade
