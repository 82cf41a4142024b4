// Writes the file that docs/index-format.md describes: header, section table, seal, then the sections, each at the
// next multiple of 64 bytes. The head is written last, when the checksums are known.

#include "everglade/writer.hpp"

#include <algorithm>
#include <iterator>
#include <vector>

#include "cells.hpp"
#include "content.hpp"
#include "everglade/crc32c.hpp"
#include "everglade/file.hpp"
#include "everglade/format.hpp"
#include "inversion.hpp"

namespace everglade {
namespace {

using format::Kind;

constexpr std::uint32_t kNoBlock = format::kWindow + 1;  // more postings than a block can have

/// Appends sections to a file and keeps its table.
class SectionWriter {
  public:
    SectionWriter(NewFile& file, std::uint32_t n_sections) : file_(file) {
        pad_to(format::align(format::head_length(n_sections)));
    }

    template <typename T>
    void write(Kind kind, std::span<const T> elements) {
        begin(kind);
        add(elements);
    }

    template <typename T>
    void write(Kind kind, const std::vector<T>& elements) {
        write(kind, std::span<const T>(elements));
    }

    /// Write the entries of every document, in the order of locals, as numbers of another width. Those of row r are
    /// [starts[r], starts[r + 1]).
    template <typename Out, typename Start, typename In>
    void write_rows(Kind kind, const SegmentContent& content, std::span<const Start> starts,
                    std::span<const In> entries) {
        constexpr std::size_t kPiece = 1 << 16;
        begin(kind);
        std::vector<Out> piece;
        for (std::size_t local = 0; local < n_documents(content); ++local) {
            const std::size_t row = row_at(content, local);
            const auto first = static_cast<std::size_t>(starts[row]);
            const auto part = entries.subspan(first, static_cast<std::size_t>(starts[row + 1]) - first);
            std::transform(part.begin(), part.end(), std::back_inserter(piece),
                           [](In entry) { return static_cast<Out>(entry); });
            if (piece.size() < kPiece) continue;
            add(std::span<const Out>(piece));
            piece.clear();
        }
        add(std::span<const Out>(piece));
    }

    /// Write the head over the zeros left for it. Returns the checksum of the seal.
    std::uint32_t seal(const format::Header& header) {
        std::vector<std::byte> head;
        const auto add_to_head = [&head](const void* bytes, std::size_t size) {
            const auto* at = static_cast<const std::byte*>(bytes);
            head.insert(head.end(), at, at + size);
        };
        add_to_head(&header, sizeof header);
        add_to_head(table_.data(), table_.size() * sizeof(format::Section));
        format::Seal seal{size_, 0, 0};
        add_to_head(&seal, offsetof(format::Seal, crc32c));
        seal.crc32c = crc32c(head.data(), head.size());
        add_to_head(&seal.crc32c, sizeof seal.crc32c);
        file_.overwrite_start(head.data(), head.size());
        return seal.crc32c;
    }

    std::uint64_t size() const { return size_; }

  private:
    void begin(Kind kind) {
        pad_to(format::align(size_));
        table_.push_back({kind, 0, size_, 0});
    }

    template <typename T>
    void add(std::span<const T> elements) {
        format::Section& section = table_.back();
        section.crc32c = crc32c(elements.data(), elements.size_bytes(), section.crc32c);
        section.length += elements.size_bytes();
        file_.append(elements.data(), elements.size_bytes());
        size_ += elements.size_bytes();
    }

    void pad_to(std::uint64_t size) {
        const std::vector<std::byte> zeros(size - size_);
        file_.append(zeros.data(), zeros.size());
        size_ = size;
    }

    NewFile& file_;
    std::vector<format::Section> table_;
    std::uint64_t size_ = 0;
};

/// The starts of the documents' entries once these stand in the order of locals.
template <typename Start>
std::vector<std::uint64_t> starts_by_local(const SegmentContent& content, std::span<const Start> starts) {
    std::vector<std::uint64_t> moved{0};
    moved.reserve(starts.size());
    for (std::size_t local = 0; local < n_documents(content); ++local) {
        const std::size_t row = row_at(content, local);
        moved.push_back(moved.back() + static_cast<std::uint64_t>(starts[row + 1] - starts[row]));
    }
    return moved;
}

template <typename Impact>
void write_postings(SectionWriter& writer, const Inversion<Impact>& inversion) {
    writer.write(Kind::terms, inversion.terms);
    writer.write(Kind::term_blocks, inversion.term_blocks);
    writer.write(Kind::block_windows, inversion.block_windows);
    writer.write(Kind::block_postings, inversion.block_postings);
    writer.write(Kind::block_bounds, inversion.block_bounds);
    writer.write(Kind::posting_documents, inversion.posting_documents);
    writer.write(Kind::posting_impacts, inversion.posting_impacts);
}

/// The sections 16 to 18.
template <typename Impact>
struct DenseBlocks {
    std::vector<std::uint64_t> blocks;
    std::vector<Impact> maxima;
    std::vector<std::uint16_t> starts;

    DenseBlocks(const Inversion<Impact>& inversion, std::uint32_t least) {
        for (std::uint64_t block = 0; block < inversion.block_windows.size(); ++block) {
            const std::uint64_t first = inversion.block_postings[block];
            const std::uint64_t count = inversion.block_postings[block + 1] - first;
            if (count < least) continue;
            const BlockCells<Impact> cells(std::span(inversion.posting_documents).subspan(first, count),
                                           std::span(inversion.posting_impacts).subspan(first, count));
            blocks.push_back(block);
            maxima.insert(maxima.end(), cells.maxima.begin(), cells.maxima.end());
            starts.insert(starts.end(), cells.starts.begin(), cells.starts.end());
        }
    }

    void write(SectionWriter& writer) const {
        if (blocks.empty()) return;
        writer.write(Kind::cell_blocks, blocks);
        writer.write(Kind::cell_maxima, maxima);
        writer.write(Kind::cell_starts, starts);
    }
};

template <typename Impact>
void write_rows(SectionWriter& writer, const SegmentContent& content, std::span<const Impact> impacts) {
    writer.write(Kind::document_rows, starts_by_local(content, content.starts));
    if (content.n_terms <= format::kMaxNarrowTerms) {
        writer.write_rows<std::uint16_t>(Kind::row_terms, content, content.starts, content.terms);
    } else {
        writer.write_rows<std::uint32_t>(Kind::row_terms, content, content.starts, content.terms);
    }
    writer.write_rows<Impact>(Kind::row_impacts, content, content.starts, impacts);
}

void write_ids(SectionWriter& writer, const SegmentContent& content) {
    writer.write(Kind::document_ids, starts_by_local(content, content.id_starts));
    writer.write_rows<char>(Kind::id_bytes, content, content.id_starts, std::span<const char>(content.id_bytes));
}

void write_order(SectionWriter& writer, std::span<const std::uint32_t> order) {
    // Rows are given in the order of ids, so the row of a document is its rank.
    std::vector<std::uint32_t> by_rank(order.size());
    for (std::uint32_t local = 0; local < order.size(); ++local) by_rank[order[local]] = local;
    writer.write(Kind::ranks, order);
    writer.write(Kind::by_rank, by_rank);
}

std::uint32_t features_of(const SegmentContent& content) {
    return (content.impacts.is_wide() ? format::kWideImpacts : 0u) | (content.order ? format::kReordered : 0u) |
           (content.postings ? format::kPruned : 0u) | (content.rows ? 0u : format::kWithoutRows);
}

std::uint32_t sections_of(const SegmentContent& content) {
    return 9 + (content.rows ? 3 : 0) + (content.order ? 2 : 0) + (content.weights ? 1 : 0);
}

template <typename Impact>
WrittenSegment write(const std::string& path, const SegmentName& name, const SegmentContent& content,
                     std::span<const Impact> impacts) {
    const Inversion<Impact> inversion(content, impacts);
    const std::uint64_t n_postings = inversion.posting_documents.size();
    const auto documents = static_cast<std::uint32_t>(n_documents(content));
    const DenseBlocks<Impact> dense(inversion, content.cells_from.value_or(kNoBlock));
    const bool has_cells = !dense.blocks.empty();
    const std::uint32_t n_sections = sections_of(content) + (has_cells ? 3 : 0);
    NewFile file(path);
    SectionWriter writer(file, n_sections);
    write_postings(writer, inversion);
    if (content.rows) write_rows(writer, content, impacts);
    write_ids(writer, content);
    if (content.order) write_order(writer, *content.order);
    if (content.weights) {
        writer.write_rows<std::uint16_t>(Kind::row_weights, content, content.starts, *content.weights);
    }
    dense.write(writer);
    const std::uint16_t minor = has_cells ? format::kMinorWithCells : format::kMinor;
    const std::uint32_t sum =
        writer.seal({format::kMagic, format::kMajor, minor, format::kEndianMarker, name.uuid, name.number, n_postings,
                     documents, content.n_terms, features_of(content), n_sections});
    file.publish();
    return {documents, n_postings, writer.size(), sum};
}

}  // namespace

WrittenSegment write_segment(const std::string& path, const SegmentName& name, const SegmentContent& content) {
    require_content(content);
    return content.impacts.visit([&](auto impacts) { return write(path, name, content, impacts); });
}

}  // namespace everglade
