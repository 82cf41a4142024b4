#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "everglade/file.hpp"
#include "everglade/format.hpp"
#include "everglade/impacts.hpp"

namespace everglade {

/// The inverted side of a segment, as it lies in the file. The i-th present term owns blocks [term_blocks[i],
/// term_blocks[i + 1]); block b owns postings [block_postings[b], block_postings[b + 1]) of window block_windows[b].
struct Postings {
    std::span<const std::uint32_t> terms;
    std::span<const std::uint64_t> term_blocks;
    std::span<const std::uint16_t> block_windows;
    std::span<const std::uint64_t> block_postings;
    Impacts block_bounds;
    std::span<const std::uint16_t> documents;
    Impacts impacts;

    /// Blocks of the term at this place among the present ones.
    std::pair<std::uint64_t, std::uint64_t> blocks(std::size_t place) const noexcept {
        return {term_blocks[place], term_blocks[place + 1]};
    }
};

/// Where dense blocks can be skipped. Cell c of block blocks[i] has place i * kCells + c: the greatest impact in it,
/// and how many postings of the block lie before it. Search does not rely on the starts being in range.
struct Cells {
    std::span<const std::uint64_t> blocks;
    Impacts maxima;
    std::span<const std::uint16_t> starts;
};

/// The forward side: document d owns entries [starts[d], starts[d + 1]). Terms are narrow in small vocabularies; the
/// other of the two spans is empty. Weights are float16, and empty if the segment keeps none; without rows all is.
struct Rows {
    std::span<const std::uint64_t> starts;
    std::span<const std::uint16_t> narrow_terms;
    std::span<const std::uint32_t> wide_terms;
    Impacts impacts;
    std::span<const std::uint16_t> weights;

    std::uint32_t term(std::size_t entry) const noexcept {
        return wide_terms.empty() ? narrow_terms[entry] : wide_terms[entry];
    }
};

/// Vectors gathered from the postings: document d owns entries [starts[d], starts[d + 1]), terms ascending.
struct GatheredRows {
    std::vector<std::uint64_t> starts;
    std::vector<std::uint32_t> terms;
    std::vector<std::uint16_t> impacts;
};

/// The order of ids in a reordered segment; empty in the others, where rank and local are the same.
struct Order {
    std::span<const std::uint32_t> ranks;
    std::span<const std::uint32_t> by_rank;
};

struct Ids {
    std::span<const std::uint64_t> starts;
    std::string_view bytes;

    std::string_view operator[](std::size_t document) const noexcept {
        return bytes.substr(starts[document], starts[document + 1] - starts[document]);
    }
};

/// How much of a file is examined before it is used. Structure: all that keeps every later read inside the file.
/// Everything: also the checksums and each posting, row and id.
enum class Verify { structure, everything };

/// One immutable segment file, mapped. Safe to use from many threads.
class Segment {
  public:
    /// Throws CorruptSegment, FormatTooNew or FileError.
    explicit Segment(std::string path, Verify verify = Verify::everything);

    const std::string& path() const noexcept { return path_; }
    const std::array<std::uint8_t, 16>& uuid() const noexcept { return uuid_; }
    std::uint64_t number() const noexcept { return number_; }
    std::uint32_t n_documents() const noexcept { return n_documents_; }
    std::uint64_t n_postings() const noexcept { return n_postings_; }
    std::uint32_t n_terms() const noexcept { return n_terms_; }
    std::uint64_t size_bytes() const noexcept { return file_.bytes().size(); }
    /// The checksum in the seal, which stands for the whole content.
    std::uint32_t crc32c() const noexcept { return crc32c_; }

    /// Bits of format::Feature.
    std::uint32_t features() const noexcept { return features_; }
    bool is_wide() const noexcept { return postings_.impacts.is_wide(); }
    bool is_reordered() const noexcept { return (features_ & format::kReordered) != 0; }
    bool is_pruned() const noexcept { return (features_ & format::kPruned) != 0; }
    bool has_rows() const noexcept { return (features_ & format::kWithoutRows) == 0; }
    bool has_weights() const noexcept { return has_weights_; }
    /// Entries of rows(); without rows, what they would be: the postings.
    std::uint64_t n_row_entries() const noexcept { return has_rows() ? rows_.starts.back() : n_postings_; }

    const Postings& postings() const noexcept { return postings_; }
    const Cells& cells() const noexcept { return cells_; }
    const Rows& rows() const noexcept { return rows_; }
    const Order& order() const noexcept { return order_; }
    std::uint32_t by_rank(std::uint32_t rank) const noexcept { return is_reordered() ? order_.by_rank[rank] : rank; }

    /// Place of `term` among the present terms.
    std::optional<std::size_t> find_term(std::uint32_t term) const noexcept;

    /// Id of the document with this local number. Throws std::invalid_argument if there is none, and CorruptSegment if
    /// an unverified file holds an id that is not UTF-8.
    std::string_view id(std::uint32_t local) const;

    /// The bytes of an id, for comparing: they may be no text in a file that was not verified.
    std::string_view id_bytes(std::uint32_t local) const noexcept { return ids_[local]; }

    /// Local number of the document with this id.
    std::optional<std::uint32_t> find(std::string_view id) const noexcept;

    /// Bounds of a document's entries in rows(). Throws std::invalid_argument if there is no such document, or no rows.
    std::pair<std::uint64_t, std::uint64_t> row(std::uint32_t local) const;

    /// Impact of a posting, or 0 if the document has none of the term at this place among the present ones.
    std::uint32_t find_impact(std::size_t place, std::uint32_t local) const noexcept;

    /// What the rows would be, read from the postings: the whole vectors unless the segment is pruned.
    GatheredRows gather_rows() const;

    /// Throws std::invalid_argument if there is no document with this local number.
    void require_local(std::uint32_t local) const;

  private:
    friend class SegmentReader;

    std::string path_;
    MappedFile file_;
    std::array<std::uint8_t, 16> uuid_{};
    std::uint64_t number_ = 0;
    std::uint64_t n_postings_ = 0;
    std::uint32_t n_documents_ = 0;
    std::uint32_t n_terms_ = 0;
    std::uint32_t crc32c_ = 0;
    std::uint32_t features_ = 0;
    bool has_weights_ = false;
    Postings postings_;
    Cells cells_;
    Rows rows_;
    Order order_;
    Ids ids_;
    std::uint64_t id_bytes_offset_ = 0;
};

}  // namespace everglade
