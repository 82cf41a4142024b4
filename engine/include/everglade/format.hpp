#pragma once

// The bytes of a segment; docs/index-format.md describes them. Only constants and layouts: nothing here reads or
// writes.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace everglade::format {

static_assert(std::endian::native == std::endian::little, "segments are little-endian and are mapped as they are");

inline constexpr std::array<char, 8> kMagic = {'E', 'V', 'G', 'L', 'D', 'S', 'E', 'G'};
inline constexpr std::uint16_t kMajor = 1;
inline constexpr std::uint16_t kMinor = 0;
inline constexpr std::uint16_t kMinorWithCells = 1;
inline constexpr std::uint32_t kEndianMarker = 0x01020304;
inline constexpr std::size_t kAlignment = 64;
inline constexpr std::uint32_t kWindow = 16'384;  // documents; local numbers within one fit 16 bits with room to spare
inline constexpr std::uint32_t kCell = 16;        // documents; their sums of 32 bits fill one line of the caches
inline constexpr std::uint32_t kCells = kWindow / kCell;
inline constexpr std::uint32_t kMaxDocuments = 1u << 30;  // so that window numbers fit 16 bits
inline constexpr std::uint32_t kMaxTerms = 1u << 24;  // keeps a hostile or mistaken vocabulary from eating the memory
inline constexpr std::uint32_t kMaxNarrowTerms = 65'536;  // vocabularies up to this size store row terms in 16 bits
inline constexpr std::uint32_t kMaxSections = 64;
inline constexpr std::uint16_t kInfiniteWeight = 0x7C00;  // in float16; below are all that are finite and at least 0

struct Header {
    std::array<char, 8> magic;
    std::uint16_t major;
    std::uint16_t minor;
    std::uint32_t endian_marker;
    std::array<std::uint8_t, 16> uuid;
    std::uint64_t number;
    std::uint64_t n_postings;
    std::uint32_t n_documents;
    std::uint32_t n_terms;
    std::uint32_t features;
    std::uint32_t n_sections;
};
static_assert(sizeof(Header) == 64 && offsetof(Header, uuid) == 16 && offsetof(Header, n_sections) == 60);

enum class Kind : std::uint32_t {
    terms = 1,
    term_blocks,
    block_windows,
    block_postings,
    block_bounds,
    posting_documents,
    posting_impacts,
    document_rows,
    row_terms,
    row_impacts,
    document_ids,
    id_bytes,
    ranks,
    by_rank,
    row_weights,
    cell_blocks,
    cell_maxima,
    cell_starts,
};
inline constexpr std::uint32_t kKnownKinds = 18;

/// Bits of Header::features.
enum Feature : std::uint32_t {
    kWideImpacts = 1 << 0,
    kReordered = 1 << 1,
    kPruned = 1 << 2,
    kWithoutRows = 1 << 3,
};
inline constexpr std::uint32_t kKnownFeatures = kWideImpacts | kReordered | kPruned | kWithoutRows;

/// Whether a file with these features has this section, or may have it if it is optional.
constexpr bool calls_for(std::uint32_t features, Kind kind) {
    switch (kind) {
        case Kind::document_rows:
        case Kind::row_terms:
        case Kind::row_impacts:
        case Kind::row_weights:
            return (features & kWithoutRows) == 0;
        case Kind::ranks:
        case Kind::by_rank:
            return (features & kReordered) != 0;
        default:
            return true;
    }
}

constexpr bool is_optional(Kind kind) { return kind >= Kind::row_weights; }

struct Section {
    Kind kind;
    std::uint32_t crc32c;
    std::uint64_t offset;
    std::uint64_t length;
};
static_assert(sizeof(Section) == 24);

struct Seal {
    std::uint64_t file_length;
    std::uint32_t zero;
    std::uint32_t crc32c;
};
static_assert(sizeof(Seal) == 16);

constexpr std::uint64_t align(std::uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

constexpr std::uint64_t head_length(std::uint64_t n_sections) {
    return sizeof(Header) + n_sections * sizeof(Section) + sizeof(Seal);
}

}  // namespace everglade::format
