#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "everglade/collect.hpp"
#include "everglade/score.hpp"
#include "everglade/search.hpp"
#include "everglade/top_k.hpp"

namespace everglade {

/// One sum for every value a 16-bit document number can take, though a window uses only the first 16,384: so no file,
/// however damaged, makes us write outside.
class Sums {
  public:
    Sums() : sums_(make_zeros<std::uint32_t>(1 << 16)) {}
    std::uint32_t* data() noexcept { return sums_.get(); }

  private:
    Zeros<std::uint32_t> sums_;
};

/// One query on its way through the windows of one segment after another. Keeps its memory.
class SegmentScan {
  public:
    static constexpr std::uint32_t kNoWindow = ~std::uint32_t{0};

    explicit SegmentScan(Collect collect) : collect_(collect) {}

    /// Stand before the first window. Only documents with a score from `floor` on are of use.
    void begin(const SearchedSegment& searched, const Query& query, std::size_t k, std::uint32_t floor);

    /// The first window from `least` on that holds a posting of the query, or kNoWindow. `least` never falls.
    std::uint32_t next_window(std::uint32_t least) noexcept;

    /// Gather the documents of the window that next_window() gave. `sums` are 0 before and after.
    void scan(std::uint32_t window, Sums& sums);

    /// Lift the floor to a score that k documents elsewhere are known to reach.
    void raise_floor(std::uint32_t score) noexcept { top_.raise_floor(score); }

    /// A score that k documents seen here reach, or 0.
    std::uint32_t reached() const noexcept { return top_.reached(); }

    /// The best k, best first; their numbers are ranks. The span lives until begin() is called again.
    std::span<const Key> finish() { return top_.finish(); }

  private:
    /// Where one query term stands in its blocks.
    struct Cursor {
        std::uint64_t block;
        std::uint64_t end;
        std::uint32_t impact;
    };

    std::uint64_t bound(std::uint32_t window) const noexcept;
    template <typename Impact>
    std::uint64_t add(std::uint32_t window, std::span<const Impact> impacts, std::uint32_t* sums) const noexcept;
    void sweep(std::uint32_t window, std::uint32_t* sums);
    void visit(std::uint32_t window, std::uint32_t* sums);
    std::uint32_t documents_in(std::uint32_t window) const noexcept;
    Key* found_among(Key* begin, Key* end) const noexcept;

    Collect collect_;
    SearchedSegment searched_{};
    const Postings* postings_ = nullptr;
    TopK top_;
    std::vector<Cursor> cursors_;
};

}  // namespace everglade
