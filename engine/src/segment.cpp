// Reads what writer.cpp writes; docs/index-format.md describes it and what is checked when.

#include "everglade/segment.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "everglade/crc32c.hpp"
#include "everglade/errors.hpp"
#include "everglade/format.hpp"
#include "everglade/utf8.hpp"

namespace everglade {

using format::Kind;
using format::kWindow;

/// Takes a mapped file apart. Every number is checked before anything is read through it.
class SegmentReader {
  public:
    explicit SegmentReader(Segment& segment) : segment_(segment), bytes_(segment.file_.bytes()) {}

    void read_head();
    void read_structure();
    void verify_checksums() const;
    void verify_postings() const;
    void verify_rows() const;
    void verify_ids() const;

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
    void read_table(std::uint32_t n_sections);
    void require_zeros(std::uint64_t from, std::uint64_t to) const;

    const format::Section& section(Kind kind) const { return table_[static_cast<std::uint32_t>(kind) - 1]; }

    /// Where element `i` of a section lies in the file, for messages.
    template <typename T>
    std::uint64_t place(Kind kind, std::span<const T>, std::size_t i) const {
        return section(kind).offset + i * sizeof(T);
    }

    template <typename T>
    std::span<const T> view(Kind kind) const;
    template <typename T>
    std::span<const T> view(Kind kind, std::uint64_t count) const;
    std::span<const std::uint64_t> view_starts(Kind kind, std::uint64_t count, std::uint64_t total, bool strict) const;
    void check_terms() const;
    void check_windows() const;
    void verify_block(std::size_t block) const;

    Segment& segment_;
    std::span<const std::byte> bytes_;
    std::vector<format::Section> table_;
};

void SegmentReader::read_head() {
    require(bytes_.size() >= format::head_length(0), 0, "the file is too short to be a segment");
    const auto header = load<format::Header>(0);
    check_versions(header);
    require(header.n_sections >= format::kKnownSections && header.n_sections <= format::kMaxSections,
            offsetof(format::Header, n_sections), "an impossible number of sections");
    require(bytes_.size() >= format::head_length(header.n_sections), bytes_.size(),
            "the file ends in its section table");
    check_seal(header);
    if (header.features != 0) {
        throw FormatTooNew(segment_.path_,
                           "it uses features this Everglade does not know. Upgrade Everglade to read it.");
    }
    require(header.n_documents <= format::kMaxDocuments, offsetof(format::Header, n_documents), "too many documents");
    require(header.n_terms <= format::kMaxTerms, offsetof(format::Header, n_terms), "too many terms");
    // The bound also keeps the products of the section lengths from overflowing.
    require(header.n_postings <= bytes_.size(), offsetof(format::Header, n_postings), "more postings than bytes");
    segment_.uuid_ = header.uuid;
    segment_.number_ = header.number;
    segment_.n_postings_ = header.n_postings;
    segment_.n_documents_ = header.n_documents;
    segment_.n_terms_ = header.n_terms;
    read_table(header.n_sections);
}

void SegmentReader::check_versions(const format::Header& header) const {
    require(header.magic == format::kMagic, 0, "not an Everglade segment: the first bytes are not EVGLDSEG");
    require(header.endian_marker == format::kEndianMarker, offsetof(format::Header, endian_marker),
            "the endian marker is wrong");
    if (header.major > format::kMajor) {
        throw FormatTooNew(segment_.path_, "its format is " + std::to_string(header.major) +
                                               ", this Everglade reads up to " + std::to_string(format::kMajor) +
                                               ". Upgrade Everglade to read it.");
    }
    require(header.major == format::kMajor, offsetof(format::Header, major), "no Everglade wrote this format version");
}

void SegmentReader::check_seal(const format::Header& header) const {
    const std::uint64_t length = format::head_length(header.n_sections);
    const auto seal = load<format::Seal>(length - sizeof(format::Seal));
    const std::uint64_t covered = length - sizeof seal.crc32c;
    require(everglade::crc32c(bytes_.data(), covered) == seal.crc32c, covered, "the checksum of the head does not fit");
    require(seal.zero == 0, covered - sizeof seal.zero, "bytes that must be zero are not");
    if (seal.file_length != bytes_.size()) {
        refuse(std::min<std::uint64_t>(seal.file_length, bytes_.size()),
               "the file is " + std::to_string(bytes_.size()) + " bytes long, but was written with " +
                   std::to_string(seal.file_length));
    }
    segment_.crc32c_ = seal.crc32c;
}

void SegmentReader::read_table(std::uint32_t n_sections) {
    std::uint64_t end = format::head_length(n_sections);
    for (std::uint32_t i = 0; i < n_sections; ++i) {
        const std::uint64_t at = sizeof(format::Header) + i * sizeof(format::Section);
        const auto entry = load<format::Section>(at);
        const auto kind = static_cast<std::uint32_t>(entry.kind);
        const bool in_order =
            i < format::kKnownSections ? kind == i + 1 : kind > static_cast<std::uint32_t>(table_.back().kind);
        require(in_order, at, "a section is missing or out of order");
        require(entry.offset == format::align(end), at, "a section does not stand where the one before it ends");
        require(entry.offset <= bytes_.size() && entry.length <= bytes_.size() - entry.offset, at,
                "a section reaches beyond the end of the file");
        require_zeros(end, entry.offset);
        end = entry.offset + entry.length;
        table_.push_back(entry);
    }
    require(end == bytes_.size(), end, "bytes follow the last section");
}

void SegmentReader::require_zeros(std::uint64_t from, std::uint64_t to) const {
    for (std::uint64_t at = from; at < to; ++at)
        require(bytes_[at] == std::byte{0}, at, "bytes between sections are not zero");
}

template <typename T>
std::span<const T> SegmentReader::view(Kind kind) const {
    const format::Section& found = section(kind);
    require(found.length % sizeof(T) == 0, found.offset, "the length of a section is not a whole number of elements");
    return {reinterpret_cast<const T*>(bytes_.data() + found.offset), found.length / sizeof(T)};
}

template <typename T>
std::span<const T> SegmentReader::view(Kind kind, std::uint64_t count) const {
    const auto elements = view<T>(kind);
    require(elements.size() == count, section(kind).offset, "a section has the wrong number of elements");
    return elements;
}

std::span<const std::uint64_t> SegmentReader::view_starts(Kind kind, std::uint64_t count, std::uint64_t total,
                                                          bool strict) const {
    const auto starts = view<std::uint64_t>(kind, count + 1);
    require(starts.front() == 0, section(kind).offset, "a list of starts does not begin with 0");
    for (std::size_t i = 1; i < starts.size(); ++i) {
        const bool ascends = strict ? starts[i] > starts[i - 1] : starts[i] >= starts[i - 1];
        require(ascends, place(kind, starts, i), "a list of starts does not ascend");
    }
    require(starts.back() == total, place(kind, starts, count), "a list of starts does not end where its targets end");
    return starts;
}

void SegmentReader::read_structure() {
    const std::uint64_t n_documents = segment_.n_documents_;
    const std::uint64_t n_postings = segment_.n_postings_;
    Postings& postings = segment_.postings_;
    postings.terms = view<std::uint32_t>(Kind::terms);
    postings.block_windows = view<std::uint16_t>(Kind::block_windows);
    const std::uint64_t n_blocks = postings.block_windows.size();
    postings.term_blocks = view_starts(Kind::term_blocks, postings.terms.size(), n_blocks, true);
    postings.block_postings = view_starts(Kind::block_postings, n_blocks, n_postings, true);
    postings.block_bounds = view<std::uint8_t>(Kind::block_bounds, n_blocks);
    postings.documents = view<std::uint16_t>(Kind::posting_documents, n_postings);
    postings.impacts = view<std::uint8_t>(Kind::posting_impacts, n_postings);
    check_terms();
    check_windows();

    Rows& rows = segment_.rows_;
    rows.starts = view_starts(Kind::document_rows, n_documents, n_postings, false);
    if (segment_.n_terms_ <= format::kMaxNarrowTerms) {
        rows.narrow_terms = view<std::uint16_t>(Kind::row_terms, n_postings);
    } else {
        rows.wide_terms = view<std::uint32_t>(Kind::row_terms, n_postings);
    }
    rows.impacts = view<std::uint8_t>(Kind::row_impacts, n_postings);

    const format::Section& id_bytes = section(Kind::id_bytes);
    segment_.ids_.starts = view_starts(Kind::document_ids, n_documents, id_bytes.length, false);
    segment_.ids_.bytes = {reinterpret_cast<const char*>(bytes_.data() + id_bytes.offset), id_bytes.length};
    segment_.id_bytes_offset_ = id_bytes.offset;
}

void SegmentReader::check_terms() const {
    const auto terms = segment_.postings_.terms;
    for (std::size_t i = 0; i < terms.size(); ++i) {
        const bool fits = terms[i] < segment_.n_terms_ && (i == 0 || terms[i] > terms[i - 1]);
        require(fits, place(Kind::terms, terms, i), "a term is out of order or beyond the vocabulary");
    }
}

void SegmentReader::check_windows() const {
    const Postings& postings = segment_.postings_;
    const auto windows = postings.block_windows;
    const std::uint32_t n_windows = (segment_.n_documents_ + kWindow - 1) / kWindow;
    for (std::size_t term = 0; term < postings.terms.size(); ++term) {
        for (std::uint64_t block = postings.term_blocks[term]; block < postings.term_blocks[term + 1]; ++block) {
            const bool first = block == postings.term_blocks[term];
            const bool fits = windows[block] < n_windows && (first || windows[block] > windows[block - 1]);
            require(fits, place(Kind::block_windows, windows, block),
                    "a window is out of order or beyond the documents");
        }
    }
}

void SegmentReader::verify_checksums() const {
    for (const format::Section& entry : table_) {
        const bool fits = everglade::crc32c(bytes_.data() + entry.offset, entry.length) == entry.crc32c;
        require(fits, entry.offset, "the checksum of a section does not fit");
    }
}

void SegmentReader::verify_postings() const {
    for (std::size_t block = 0; block < segment_.postings_.block_windows.size(); ++block) verify_block(block);
}

void SegmentReader::verify_block(std::size_t block) const {
    const Postings& postings = segment_.postings_;
    const std::uint64_t first = postings.block_postings[block];
    const std::uint64_t count = postings.block_postings[block + 1] - first;
    const auto documents = postings.documents.subspan(first, count);
    const auto impacts = postings.impacts.subspan(first, count);
    // No early exit inside the loops, so that the compiler can take many postings at once.
    bool ascending = true;
    for (std::size_t i = 1; i < count; ++i) ascending &= documents[i] > documents[i - 1];
    std::uint8_t least = impacts[0];
    std::uint8_t greatest = impacts[0];
    for (const std::uint8_t impact : impacts) {
        least = std::min(least, impact);
        greatest = std::max(greatest, impact);
    }
    const std::uint32_t last = postings.block_windows[block] * kWindow + documents.back();
    require(ascending && documents.back() < kWindow && last < segment_.n_documents_,
            place(Kind::posting_documents, postings.documents, first),
            "the documents of a block are out of order or of range");
    require(least > 0, place(Kind::posting_impacts, postings.impacts, first), "an impact is 0");
    require(greatest == postings.block_bounds[block], place(Kind::block_bounds, postings.block_bounds, block),
            "the bound of a block is not its greatest impact");
}

void SegmentReader::verify_rows() const {
    const Rows& rows = segment_.rows_;
    const bool positive = std::find(rows.impacts.begin(), rows.impacts.end(), 0) == rows.impacts.end();
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

void SegmentReader::verify_ids() const {
    const Ids& ids = segment_.ids_;
    for (std::size_t document = 0; document + 1 < ids.starts.size(); ++document) {
        const std::uint64_t at = segment_.id_bytes_offset_ + ids.starts[document];
        require(is_utf8(ids[document]), at, "an id is not UTF-8");
        require(document == 0 || ids[document - 1] < ids[document], at, "the ids are not sorted, each once");
    }
}

Segment::Segment(std::string path, Verify verify) : path_(std::move(path)), file_(path_) {
    SegmentReader reader(*this);
    reader.read_head();
    if (verify == Verify::everything) reader.verify_checksums();
    reader.read_structure();
    if (verify == Verify::everything) {
        reader.verify_postings();
        reader.verify_rows();
        reader.verify_ids();
    }
}

std::optional<std::size_t> Segment::find_term(std::uint32_t term) const noexcept {
    const auto found = std::lower_bound(postings_.terms.begin(), postings_.terms.end(), term);
    if (found == postings_.terms.end() || *found != term) return std::nullopt;
    return static_cast<std::size_t>(found - postings_.terms.begin());
}

void Segment::require_local(std::uint32_t local) const {
    if (local < n_documents_) return;
    throw std::invalid_argument("there is no document " + std::to_string(local) + " in this segment of " +
                                std::to_string(n_documents_));
}

std::string_view Segment::id(std::uint32_t local) const {
    require_local(local);
    const std::string_view id = ids_[local];
    if (!is_utf8(id)) throw CorruptSegment(path_, id_bytes_offset_ + ids_.starts[local], "an id is not UTF-8");
    return id;
}

std::optional<std::uint32_t> Segment::find(std::string_view id) const noexcept {
    std::uint32_t low = 0;
    std::uint32_t high = n_documents_;
    while (low < high) {
        const std::uint32_t middle = low + (high - low) / 2;
        if (ids_[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == n_documents_ || ids_[low] != id) return std::nullopt;
    return low;
}

std::pair<std::uint64_t, std::uint64_t> Segment::row(std::uint32_t local) const {
    require_local(local);
    return {rows_.starts[local], rows_.starts[local + 1]};
}

}  // namespace everglade
