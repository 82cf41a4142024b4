#include "everglade/segment.hpp"

#include <algorithm>
#include <stdexcept>

#include "everglade/errors.hpp"
#include "everglade/utf8.hpp"
#include "reader.hpp"

namespace everglade {

using format::kWindow;

Segment::Segment(std::string path, Verify verify) : path_(std::move(path)), file_(path_) {
    SegmentReader reader(*this);
    reader.read_head();
    if (verify == Verify::everything) reader.verify_checksums();
    reader.read_structure();
    if (verify == Verify::everything) {
        reader.verify_everything();
        file_.let_go();
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
        if (ids_[by_rank(middle)] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == n_documents_ || ids_[by_rank(low)] != id) return std::nullopt;
    return by_rank(low);
}

std::pair<std::uint64_t, std::uint64_t> Segment::row(std::uint32_t local) const {
    require_local(local);
    if (!has_rows()) throw std::invalid_argument("this segment was written without rows");
    return {rows_.starts[local], rows_.starts[local + 1]};
}

std::uint32_t Segment::find_impact(std::size_t place, std::uint32_t local) const noexcept {
    const auto [first_block, last_block] = postings_.blocks(place);
    const auto windows = postings_.block_windows.subspan(first_block, last_block - first_block);
    const auto window = std::lower_bound(windows.begin(), windows.end(), local / kWindow);
    if (window == windows.end() || *window != local / kWindow) return 0;
    const std::uint64_t block = first_block + static_cast<std::uint64_t>(window - windows.begin());
    const auto begin = postings_.documents.begin() + static_cast<std::ptrdiff_t>(postings_.block_postings[block]);
    const auto end = postings_.documents.begin() + static_cast<std::ptrdiff_t>(postings_.block_postings[block + 1]);
    const auto found = std::lower_bound(begin, end, local % kWindow);
    if (found == end || *found != local % kWindow) return 0;
    return postings_.impacts[static_cast<std::size_t>(found - postings_.documents.begin())];
}

GatheredRows Segment::gather_rows() const {
    const auto each_posting = [this](auto visit) {
        for (std::size_t place = 0; place < postings_.terms.size(); ++place) {
            for (auto [block, last_block] = postings_.blocks(place); block < last_block; ++block) {
                for (auto i = postings_.block_postings[block]; i < postings_.block_postings[block + 1]; ++i) {
                    const std::uint32_t local = postings_.block_windows[block] * kWindow + postings_.documents[i];
                    // A file that was not verified may name documents that there are not.
                    if (local < n_documents_) visit(local, postings_.terms[place], i);
                }
            }
        }
    };
    GatheredRows rows;
    rows.starts.resize(std::size_t{n_documents_} + 1);
    each_posting([&](std::uint32_t local, std::uint32_t, std::size_t) { ++rows.starts[local + 1]; });
    for (std::size_t d = 0; d < n_documents_; ++d) rows.starts[d + 1] += rows.starts[d];
    rows.terms.resize(rows.starts.back());
    rows.impacts.resize(rows.starts.back());
    std::vector<std::uint64_t> next(rows.starts.begin(), rows.starts.end() - 1);
    each_posting([&](std::uint32_t local, std::uint32_t term, std::size_t posting) {
        rows.terms[next[local]] = term;
        rows.impacts[next[local]++] = static_cast<std::uint16_t>(postings_.impacts[posting]);
    });
    return rows;
}

}  // namespace everglade
