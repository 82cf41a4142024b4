#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "content.hpp"
#include "everglade/format.hpp"

namespace everglade {

/// The inverted index under construction; its vectors are the sections 1 to 7.
template <typename Impact>
class Inversion {
  public:
    Inversion(const SegmentContent& content, std::span<const Impact> impacts) : content_(content), impacts_(impacts) {
        count();
        place_starts();
        scatter();
    }

    std::vector<std::uint32_t> terms;
    std::vector<std::uint64_t> term_blocks;
    std::vector<std::uint16_t> block_windows;
    std::vector<std::uint64_t> block_postings;
    std::vector<Impact> block_bounds;
    std::vector<std::uint16_t> posting_documents;
    std::vector<Impact> posting_impacts;

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

    bool is_posting(std::size_t entry) const { return !content_.postings || (*content_.postings)[entry] != 0; }

    static std::uint32_t window_of(std::size_t local) { return static_cast<std::uint32_t>(local / format::kWindow); }

    void count() {
        cursors_.resize(content_.n_terms);
        for (std::size_t local = 0; local < n_documents(content_); ++local) {
            std::int64_t before = -1;
            for (auto [entry, last] = entries_at(content_, local); entry < last; ++entry) {
                const std::int32_t term = content_.terms[entry];
                require_entry(content_, row_at(content_, local), before, term, impacts_[entry]);
                before = term;
                if (!is_posting(entry)) continue;
                Cursor& cursor = cursors_[static_cast<std::uint32_t>(term)];
                if (cursor.window != window_of(local)) ++cursor.block;
                cursor.window = window_of(local);
                ++cursor.posting;
            }
        }
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
        for (std::size_t local = 0; local < n_documents(content_); ++local) {
            for (auto [entry, last] = entries_at(content_, local); entry < last; ++entry) {
                if (is_posting(entry)) place(local, content_.terms[entry], impacts_[entry]);
            }
        }
    }

    void place(std::size_t local, std::int32_t term, Impact impact) {
        // The arrays are the caller's and may have changed since they were counted.
        if (static_cast<std::uint32_t>(term) >= content_.n_terms) refuse_changed();
        Cursor& cursor = cursors_[static_cast<std::uint32_t>(term)];
        if (cursor.posting >= cursor.end) refuse_changed();
        if (cursor.window != window_of(local)) begin_block(cursor, window_of(local));
        posting_documents[cursor.posting] = static_cast<std::uint16_t>(local % format::kWindow);
        posting_impacts[cursor.posting] = impact;
        ++cursor.posting;
        Impact& bound = block_bounds[cursor.block - 1];
        bound = std::max(bound, impact);
    }

    void begin_block(Cursor& cursor, std::uint32_t window) {
        if (cursor.block >= block_windows.size()) refuse_changed();
        block_windows[cursor.block] = static_cast<std::uint16_t>(window);
        block_postings[cursor.block] = cursor.posting;
        cursor.window = window;
        ++cursor.block;
    }

    [[noreturn]] static void refuse_changed() { refuse("the terms changed while they were written"); }

    const SegmentContent& content_;
    std::span<const Impact> impacts_;
    std::vector<Cursor> cursors_;
};

}  // namespace everglade
