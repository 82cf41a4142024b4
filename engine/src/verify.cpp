// Examines the contents of a segment whose structure is sound: checksums, postings, rows, weights, order and ids.

#include <algorithm>

#include "cells.hpp"
#include "everglade/crc32c.hpp"
#include "everglade/utf8.hpp"
#include "reader.hpp"

namespace everglade {

using format::Kind;
using format::kWindow;

void SegmentReader::verify_checksums() const {
    for (const format::Section& entry : table_) {
        const bool fits = everglade::crc32c(bytes_.data() + entry.offset, entry.length) == entry.crc32c;
        require(fits, entry.offset, "the checksum of a section does not fit");
    }
}

void SegmentReader::verify_everything() const {
    verify_postings();
    verify_cells();
    if (segment_.has_rows()) verify_rows();
    if (segment_.has_weights()) verify_weights();
    if (segment_.is_reordered()) verify_order();
    verify_ids();
}

void SegmentReader::verify_postings() const {
    segment_.postings_.impacts.visit([this](auto impacts) {
        for (std::size_t block = 0; block < segment_.postings_.block_windows.size(); ++block) {
            verify_block(block, impacts);
        }
    });
}

template <typename Impact>
void SegmentReader::verify_block(std::size_t block, std::span<const Impact> all_impacts) const {
    const Postings& postings = segment_.postings_;
    const std::uint64_t first = postings.block_postings[block];
    const std::uint64_t count = postings.block_postings[block + 1] - first;
    const auto documents = postings.documents.subspan(first, count);
    const auto impacts = all_impacts.subspan(first, count);
    // No early exit inside the loops, so that the compiler can take many postings at once.
    bool ascending = true;
    for (std::size_t i = 1; i < count; ++i) ascending &= documents[i] > documents[i - 1];
    Impact least = impacts[0];
    Impact greatest = impacts[0];
    for (const Impact impact : impacts) {
        least = std::min(least, impact);
        greatest = std::max(greatest, impact);
    }
    const std::uint32_t last = postings.block_windows[block] * kWindow + documents.back();
    require(ascending && documents.back() < kWindow && last < segment_.n_documents_,
            place(Kind::posting_documents, postings.documents, first),
            "the documents of a block are out of order or of range");
    require(least > 0, place(Kind::posting_impacts, all_impacts, first), "an impact is 0");
    require(greatest == postings.block_bounds[block], section(Kind::block_bounds).offset + block * sizeof(Impact),
            "the bound of a block is not its greatest impact");
}

void SegmentReader::verify_cells() const {
    segment_.postings_.impacts.visit([this](auto impacts) {
        for (std::size_t i = 0; i < segment_.cells_.blocks.size(); ++i) verify_cells_of(i, impacts);
    });
}

template <typename Impact>
void SegmentReader::verify_cells_of(std::size_t place, std::span<const Impact> all_impacts) const {
    const Postings& postings = segment_.postings_;
    const Cells& cells = segment_.cells_;
    const std::uint64_t first = postings.block_postings[cells.blocks[place]];
    const std::uint64_t count = postings.block_postings[cells.blocks[place] + 1] - first;
    const BlockCells<Impact> found(postings.documents.subspan(first, count), all_impacts.subspan(first, count));
    const std::size_t first_cell = place * format::kCells;
    bool bounded = true;
    for (std::size_t i = 0; i < format::kCells; ++i) bounded &= cells.maxima[first_cell + i] == found.maxima[i];
    require(bounded, section(Kind::cell_maxima).offset + first_cell * sizeof(Impact),
            "a maximum of a cell is not its greatest impact");
    const auto starts = cells.starts.subspan(first_cell, format::kCells);
    require(std::equal(starts.begin(), starts.end(), found.starts.begin()),
            this->place(Kind::cell_starts, cells.starts, first_cell), "a cell does not start where its postings do");
}

void SegmentReader::verify_rows() const {
    const Rows& rows = segment_.rows_;
    const bool positive =
        rows.impacts.visit([](auto impacts) { return std::find(impacts.begin(), impacts.end(), 0) == impacts.end(); });
    require(positive, section(Kind::row_impacts).offset, "an impact is 0");
    for (std::size_t document = 0; document + 1 < rows.starts.size(); ++document) {
        const std::uint64_t first = rows.starts[document];
        const std::uint64_t last = rows.starts[document + 1];
        bool fits = first == last || rows.term(last - 1) < segment_.n_terms_;
        for (std::uint64_t entry = first + 1; entry < last; ++entry) fits &= rows.term(entry) > rows.term(entry - 1);
        require(fits, section(Kind::row_terms).offset,
                "the terms of a document are out of order or beyond the vocabulary");
    }
}

void SegmentReader::verify_weights() const {
    const auto weights = segment_.rows_.weights;
    const auto bad = std::find_if(weights.begin(), weights.end(),
                                  [](std::uint16_t weight) { return weight >= format::kInfiniteWeight; });
    require(bad == weights.end(), place(Kind::row_weights, weights, static_cast<std::size_t>(bad - weights.begin())),
            "a weight is not a finite number of at least 0");
}

void SegmentReader::verify_order() const {
    const auto [ranks, by_rank] = segment_.order_;
    for (std::size_t document = 0; document < ranks.size(); ++document) {
        require(by_rank[ranks[document]] == document, place(Kind::ranks, ranks, document),
                "the ranks and the documents of the ranks do not fit together");
    }
}

void SegmentReader::verify_ids() const {
    const Ids& ids = segment_.ids_;
    const auto offset = [&](std::uint32_t local) { return segment_.id_bytes_offset_ + ids.starts[local]; };
    for (std::uint32_t rank = 0; rank < segment_.n_documents_; ++rank) {
        const std::uint32_t local = segment_.by_rank(rank);
        require(is_utf8(ids[local]), offset(local), "an id is not UTF-8");
        const bool ascends = rank == 0 || ids[segment_.by_rank(rank - 1)] < ids[local];
        require(ascends, offset(local), "the ids are not sorted, each once");
    }
}

}  // namespace everglade
