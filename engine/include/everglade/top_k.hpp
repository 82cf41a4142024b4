#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace everglade {

/// A score and a document in one number, so that greater means better: score first, then the smaller number. The number
/// is a local, or where documents stand in another order than that of their ids, a rank.
using Key = std::uint64_t;

constexpr Key make_key(std::uint32_t score, std::uint32_t number) noexcept { return Key{score} << 32 | Key{~number}; }
constexpr std::uint32_t score_of(Key key) noexcept { return static_cast<std::uint32_t>(key >> 32); }
constexpr std::uint32_t number_of(Key key) noexcept { return ~static_cast<std::uint32_t>(key); }

/// The k greatest of the keys it is shown. Keys gather unsorted; when there are too many, those that cannot be among
/// the best k go, and the floor rises.
///
/// Where numbers ascend from one gathered() to the next, a later document with the score of the k-th best has lost the
/// tie, so the floor lies one above that score. Elsewhere it is that score.
class TopK {
  public:
    /// Forget everything; from now on only scores from `floor` on are of use.
    void begin(std::size_t k, std::uint32_t floor, bool ascending = true) {
        k_ = k;
        floor_ = floor;
        reached_ = 0;
        ascending_ = ascending;
        size_ = 0;
        limit_ = 3 * k + 64;
    }

    /// The least score that can still enter.
    std::uint32_t floor() const noexcept { return floor_; }

    /// Lift the floor to a score that k documents elsewhere are known to reach.
    void raise_floor(std::uint32_t score) noexcept { floor_ = std::max(floor_, score); }

    /// A score that k of the keys shown reach, or 0.
    std::uint32_t reached() const noexcept { return reached_; }

    /// Room for `count` more keys after those gathered; write them there, then call gathered().
    Key* room(std::size_t count) {
        if (keys_.size() < size_ + count) keys_.resize(std::max(size_ + count, limit_ + count));
        return keys_.data() + size_;
    }

    /// Keep the keys from the last room() up to `end`.
    void gathered(const Key* end) {
        size_ = static_cast<std::size_t>(end - keys_.data());
        if (size_ > limit_) drop_most_losers();
    }

    /// Make the floor as high as the keys gathered allow.
    void settle() { drop_losers(); }

    /// The best k, best first. The span lives until begin() is called again.
    std::span<const Key> finish() {
        drop_losers();
        std::sort(keys_.begin(), at(size_), std::greater<>());
        return {keys_.data(), size_};
    }

  private:
    std::vector<Key>::iterator at(std::size_t i) { return keys_.begin() + static_cast<std::ptrdiff_t>(i); }

    void drop_losers() {
        if (size_ == 0 || size_ < k_) return;
        std::nth_element(keys_.begin(), at(k_ - 1), at(size_), std::greater<>());
        size_ = k_;
        raise_to(keys_[k_ - 1]);
    }

    /// For large k, a guess from a sample that keeps a few too many costs a quarter of finding the k-th best exactly:
    /// its loops have no branch to mispredict.
    void drop_most_losers() {
        constexpr std::size_t kSample = 64;
        constexpr std::size_t kMargin = 6;  // about 1.5 standard deviations of a rank in the sample
        if (k_ < 2 * kSample) return drop_losers();
        std::array<Key, kSample> sample;
        for (std::size_t i = 0; i < kSample; ++i) sample[i] = keys_[i * (size_ / kSample)];
        std::sort(sample.begin(), sample.end(), std::greater<>());
        for (std::size_t rank = kSample * k_ / size_ + kMargin; rank < kSample; rank += kMargin) {
            if (count_from(sample[rank]) >= k_) return keep_from(sample[rank]);
        }
        drop_losers();
    }

    std::size_t count_from(Key least) const noexcept {
        std::size_t count = 0;
        for (std::size_t i = 0; i < size_; ++i) count += keys_[i] >= least;
        return count;
    }

    void keep_from(Key least) noexcept {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const Key key = keys_[i];
            keys_[kept] = key;
            kept += key >= least;
        }
        size_ = kept;
        raise_to(least);
    }

    /// There are k keys from `least` on.
    void raise_to(Key least) noexcept {
        reached_ = std::max(reached_, score_of(least));
        raise_floor(score_of(least) + (ascending_ ? 1 : 0));
    }

    std::vector<Key> keys_;
    std::size_t k_ = 0;
    std::size_t size_ = 0;
    std::size_t limit_ = 0;
    std::uint32_t floor_ = 1;
    std::uint32_t reached_ = 0;
    bool ascending_ = true;
};

}  // namespace everglade
