#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "everglade/errors.hpp"
#include "everglade/format.hpp"
#include "everglade/segment.hpp"

namespace everglade {

/// Takes a mapped file apart. Every number is checked before anything is read through it.
class SegmentReader {
  public:
    explicit SegmentReader(Segment& segment) : segment_(segment), bytes_(segment.file_.bytes()) {}

    void read_head();
    void read_structure();
    void verify_everything() const;
    void verify_checksums() const;

  private:
    [[noreturn]] void refuse(std::uint64_t offset, std::string why) const {
        throw CorruptSegment(segment_.path_, offset, std::move(why));
    }

    void require(bool holds, std::uint64_t offset, const char* why) const {
        if (!holds) refuse(offset, why);
    }

    template <typename T>
    T load(std::uint64_t offset) const {
        T value;
        std::memcpy(&value, bytes_.data() + offset, sizeof value);
        return value;
    }

    void check_versions(const format::Header& header) const;
    void check_seal(const format::Header& header) const;
    void check_features(const format::Header& header) const;
    void read_table(std::uint32_t n_sections);
    void require_expected_sections() const;
    void require_zeros(std::uint64_t from, std::uint64_t to) const;

    bool has(format::Kind kind) const { return places_[static_cast<std::uint32_t>(kind)].has_value(); }
    const format::Section& section(format::Kind kind) const {
        return table_[*places_[static_cast<std::uint32_t>(kind)]];
    }

    /// Where element `i` of a section lies in the file, for messages.
    template <typename T>
    std::uint64_t place(format::Kind kind, std::span<const T>, std::size_t i) const {
        return section(kind).offset + i * sizeof(T);
    }

    template <typename T>
    std::span<const T> view(format::Kind kind) const;
    template <typename T>
    std::span<const T> view(format::Kind kind, std::uint64_t count) const;
    Impacts view_impacts(format::Kind kind, std::uint64_t count) const;
    std::span<const std::uint64_t> view_starts(format::Kind kind, std::uint64_t count, std::uint64_t total,
                                               bool strict) const;
    std::span<const std::uint32_t> view_numbers_of_documents(format::Kind kind) const;
    void read_postings();
    void read_cells();
    void read_rows();
    void read_ids();
    void check_terms() const;
    void check_windows() const;

    void verify_postings() const;
    template <typename Impact>
    void verify_block(std::size_t block, std::span<const Impact> all_impacts) const;
    void verify_cells() const;
    template <typename Impact>
    void verify_cells_of(std::size_t place, std::span<const Impact> all_impacts) const;
    void verify_rows() const;
    void verify_weights() const;
    void verify_order() const;
    void verify_ids() const;

    Segment& segment_;
    std::span<const std::byte> bytes_;
    std::vector<format::Section> table_;
    std::array<std::optional<std::size_t>, format::kKnownKinds + 1> places_;  // in the table, by kind
};

}  // namespace everglade
