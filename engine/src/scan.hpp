#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cell_scan.hpp"
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
    void begin(const SearchedSegment& searched, const Query& query, std::size_t k, std::uint32_t floor, Path path);

    /// If cells may be of use, scan the window that promises most now, so that the floor is high in all others. Only
    /// for one who goes through all windows.
    void scan_promising(Sums& sums);

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
    /// Where one query term stands in its blocks, and in the list of those that have cells.
    struct Cursor {
        std::uint64_t block;
        std::uint64_t end;
        std::size_t dense;
        std::uint32_t impact;
    };

    std::uint32_t promising_window() const;
    void find_blocks(std::uint32_t window);
    std::uint64_t bound() const noexcept;
    bool try_cells();
    bool cells_pay(std::size_t n_candidates) const noexcept;
    void scan_all(std::uint32_t window, std::uint32_t* sums);
    void scan_cells(std::uint32_t window, std::uint32_t* sums);
    void scan_dense(std::uint32_t window, std::uint32_t* sums, std::span<const Candidate> done);
    std::span<Candidate> still_of_use(std::uint32_t* sums, std::span<Candidate> candidates) const noexcept;
    void complete(std::uint32_t window, std::uint32_t* sums, std::span<const Candidate> candidates);
    void sweep(std::uint32_t window, std::uint32_t* sums);
    void visit(std::uint32_t window, std::uint32_t* sums);
    std::uint32_t documents_in(std::uint32_t window) const noexcept;
    Key* found_among(Key* begin, Key* end) const noexcept;

    Collect collect_;
    SearchedSegment searched_{};
    const Postings* postings_ = nullptr;
    TopK top_;
    std::size_t k_ = 0;
    Path path_ = Path::automatic;
    std::uint32_t done_ = kNoWindow;  // the window that was scanned out of its turn
    std::uint32_t wait_ = 0;          // windows until cells are tried again
    std::uint32_t failures_ = 0;      // in a row
    std::vector<Cursor> cursors_;
    std::vector<QueryBlock> blocks_;  // of the window
    CellScan cells_;
};

}  // namespace everglade
