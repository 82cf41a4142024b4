// Writes the file that docs/index-format.md describes: header, section table, seal, then twelve sections, each at the
// next multiple of 64 bytes. The head is written last, when the checksums are known.

#include "everglade/writer.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "everglade/crc32c.hpp"
#include "everglade/file.hpp"
#include "everglade/format.hpp"
#include "everglade/utf8.hpp"

namespace everglade {
namespace {

using format::Kind;
using format::kWindow;

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

std::string at_document(std::size_t document) { return "document " + std::to_string(document) + ": "; }

void require_starts(const SegmentContent& content) {
    const auto starts = content.starts;
    if (content.n_terms > format::kMaxTerms) {
        refuse("n_terms is " + std::to_string(content.n_terms) + ": a vocabulary holds at most 2^24 terms");
    }
    if (starts.empty()) refuse("indptr is empty: it must hold one entry more than there are documents");
    if (starts.size() - 1 > format::kMaxDocuments) {
        refuse("a segment holds at most 2^30 documents, not " + std::to_string(starts.size() - 1));
    }
    if (content.terms.size() != content.impacts.size()) {
        refuse(std::to_string(content.terms.size()) + " terms but " + std::to_string(content.impacts.size()) +
               " impacts");
    }
    const bool framed = starts.front() == 0 && static_cast<std::uint64_t>(starts.back()) == content.terms.size();
    if (!framed || !std::is_sorted(starts.begin(), starts.end())) {
        refuse("indptr must start at 0, never fall, and end at the number of terms (" +
               std::to_string(content.terms.size()) + ")");
    }
}

void require_ids(const SegmentContent& content) {
    const auto starts = content.id_starts;
    if (starts.size() != content.starts.size()) {
        refuse("there must be one id for each document");
    }
    if (starts.front() != 0 || starts.back() != content.id_bytes.size() ||
        !std::is_sorted(starts.begin(), starts.end())) {
        refuse("the starts of the ids must begin at 0, never fall, and end at the number of id bytes");
    }
    std::string_view before;
    for (std::size_t document = 0; document + 1 < starts.size(); ++document) {
        const std::string_view id = content.id_bytes.substr(starts[document], starts[document + 1] - starts[document]);
        if (!is_utf8(id)) refuse(at_document(document) + "its id is not UTF-8");
        if (document > 0 && id <= before) {
            refuse(at_document(document) + "its id '" + std::string(id) + "' follows '" + std::string(before) +
                   "': documents must be sorted by the bytes of their ids, each once");
        }
        before = id;
    }
}

/// The inverted index under construction; its vectors are the sections 1 to 7.
class Inversion {
  public:
    explicit Inversion(const SegmentContent& content) : content_(content) {
        count();
        place_starts();
        scatter();
    }

    std::vector<std::uint32_t> terms;
    std::vector<std::uint64_t> term_blocks;
    std::vector<std::uint16_t> block_windows;
    std::vector<std::uint64_t> block_postings;
    std::vector<std::uint8_t> block_bounds;
    std::vector<std::uint16_t> posting_documents;
    std::vector<std::uint8_t> posting_impacts;

  private:
    /// What is known of a term while documents go by. In the first pass the cursors count; then they are where the
    /// term's next block and posting go.
    struct Cursor {
        std::uint64_t block = 0;
        std::uint64_t posting = 0;
        std::uint64_t end = 0;
        std::uint32_t window = kNoWindow;
    };
    static constexpr std::uint32_t kNoWindow = ~std::uint32_t{0};

    std::size_t n_documents() const { return content_.starts.size() - 1; }

    template <typename Visit>
    void each_posting(Visit visit) const {
        for (std::size_t document = 0; document < n_documents(); ++document) {
            const auto last = static_cast<std::size_t>(content_.starts[document + 1]);
            for (auto entry = static_cast<std::size_t>(content_.starts[document]); entry < last; ++entry) {
                visit(document, entry, content_.terms[entry], content_.impacts[entry]);
            }
        }
    }

    void count() {
        cursors_.resize(content_.n_terms);
        std::int64_t before = -1;
        std::size_t row = 0;
        each_posting([&](std::size_t document, std::size_t, std::int32_t term, std::uint8_t impact) {
            if (document != row) before = -1;
            row = document;
            require_posting(document, before, term, impact);
            before = term;
            Cursor& cursor = cursors_[static_cast<std::uint32_t>(term)];
            const auto window = static_cast<std::uint32_t>(document / kWindow);
            if (cursor.window != window) ++cursor.block;
            cursor.window = window;
            ++cursor.posting;
        });
    }

    void require_posting(std::size_t document, std::int64_t before, std::int32_t term, std::uint8_t impact) const {
        if (term < 0 || static_cast<std::uint32_t>(term) >= content_.n_terms) {
            refuse(at_document(document) + "term " + std::to_string(term) + " is not in the vocabulary of " +
                   std::to_string(content_.n_terms));
        }
        if (term <= before) {
            refuse(at_document(document) + "term " + std::to_string(term) + " follows " + std::to_string(before) +
                   ": terms must ascend, each once");
        }
        if (impact == 0)
            refuse(at_document(document) + "the impact of term " + std::to_string(term) + " is 0: leave it out");
    }

    /// Turn counts into starts.
    void place_starts() {
        std::uint64_t blocks = 0;
        std::uint64_t postings = 0;
        for (std::uint32_t term = 0; term < content_.n_terms; ++term) {
            Cursor& cursor = cursors_[term];
            if (cursor.posting > 0) {
                terms.push_back(term);
                term_blocks.push_back(blocks);
            }
            blocks += std::exchange(cursor.block, blocks);
            postings += std::exchange(cursor.posting, postings);
            cursor.end = postings;
            cursor.window = kNoWindow;
        }
        term_blocks.push_back(blocks);
        block_windows.resize(blocks);
        block_postings.resize(blocks + 1, postings);
        block_bounds.resize(blocks);
        posting_documents.resize(postings);
        posting_impacts.resize(postings);
    }

    void scatter() {
        each_posting([&](std::size_t document, std::size_t, std::int32_t term, std::uint8_t impact) {
            // The arrays are the caller's and may have changed since they were counted.
            if (static_cast<std::uint32_t>(term) >= content_.n_terms)
                refuse("the terms changed while they were written");
            Cursor& cursor = cursors_[static_cast<std::uint32_t>(term)];
            if (cursor.posting >= cursor.end) refuse("the terms changed while they were written");
            const auto window = static_cast<std::uint32_t>(document / kWindow);
            if (cursor.window != window) begin_block(cursor, window);
            posting_documents[cursor.posting] = static_cast<std::uint16_t>(document % kWindow);
            posting_impacts[cursor.posting] = impact;
            ++cursor.posting;
            std::uint8_t& bound = block_bounds[cursor.block - 1];
            bound = std::max(bound, impact);
        });
    }

    void begin_block(Cursor& cursor, std::uint32_t window) {
        if (cursor.block >= block_windows.size()) refuse("the terms changed while they were written");
        block_windows[cursor.block] = static_cast<std::uint16_t>(window);
        block_postings[cursor.block] = cursor.posting;
        cursor.window = window;
        ++cursor.block;
    }

    const SegmentContent& content_;
    std::vector<Cursor> cursors_;
};

/// Appends sections to a file and keeps its table.
class SectionWriter {
  public:
    explicit SectionWriter(NewFile& file) : file_(file) {
        pad_to(format::align(format::head_length(format::kKnownSections)));
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

    /// Write `elements` as numbers of another width, piece by piece.
    template <typename Out, typename In>
    void write_as(Kind kind, std::span<const In> elements) {
        constexpr std::size_t kPiece = 1 << 16;
        begin(kind);
        std::vector<Out> piece;
        for (std::size_t from = 0; from < elements.size(); from += kPiece) {
            const auto part = elements.subspan(from, std::min(kPiece, elements.size() - from));
            piece.resize(part.size());
            std::transform(part.begin(), part.end(), piece.begin(),
                           [](In element) { return static_cast<Out>(element); });
            add(std::span<const Out>(piece));
        }
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

void write_sections(SectionWriter& writer, const Inversion& inversion, const SegmentContent& content) {
    writer.write(Kind::terms, inversion.terms);
    writer.write(Kind::term_blocks, inversion.term_blocks);
    writer.write(Kind::block_windows, inversion.block_windows);
    writer.write(Kind::block_postings, inversion.block_postings);
    writer.write(Kind::block_bounds, inversion.block_bounds);
    writer.write(Kind::posting_documents, inversion.posting_documents);
    writer.write(Kind::posting_impacts, inversion.posting_impacts);
    writer.write_as<std::uint64_t>(Kind::document_rows, content.starts);
    if (content.n_terms <= format::kMaxNarrowTerms) {
        writer.write_as<std::uint16_t>(Kind::row_terms, content.terms);
    } else {
        writer.write_as<std::uint32_t>(Kind::row_terms, content.terms);
    }
    writer.write(Kind::row_impacts, content.impacts);
    writer.write(Kind::document_ids, content.id_starts);
    writer.write(Kind::id_bytes, std::span<const char>(content.id_bytes));
}

}  // namespace

WrittenSegment write_segment(const std::string& path, const SegmentName& name, const SegmentContent& content) {
    require_starts(content);
    require_ids(content);
    const Inversion inversion(content);
    const auto n_documents = static_cast<std::uint32_t>(content.starts.size() - 1);
    const format::Header header{
        format::kMagic,        format::kMajor,       format::kMinor, format::kEndianMarker, name.uuid,
        name.number,           content.terms.size(), n_documents,    content.n_terms,       0,
        format::kKnownSections};
    NewFile file(path);
    SectionWriter writer(file);
    write_sections(writer, inversion, content);
    const std::uint32_t sum = writer.seal(header);
    file.publish();
    return {n_documents, content.terms.size(), writer.size(), sum};
}

}  // namespace everglade
