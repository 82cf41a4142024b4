#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace everglade {

/// Impacts of 8 bits each, or of 16 where they are wide. The other of the two spans is empty.
class Impacts {
  public:
    Impacts() = default;
    Impacts(std::span<const std::uint8_t> narrow) : narrow_(narrow) {}
    Impacts(std::span<const std::uint16_t> wide) : wide_(wide), is_wide_(true) {}

    bool is_wide() const noexcept { return is_wide_; }
    std::size_t size() const noexcept { return is_wide_ ? wide_.size() : narrow_.size(); }
    std::uint32_t operator[](std::size_t i) const noexcept { return is_wide_ ? wide_[i] : narrow_[i]; }

    /// Call `visit` with the span in use.
    template <typename Visit>
    decltype(auto) visit(Visit visit) const {
        return is_wide_ ? visit(wide_) : visit(narrow_);
    }

  private:
    std::span<const std::uint8_t> narrow_;
    std::span<const std::uint16_t> wide_;
    bool is_wide_ = false;
};

}  // namespace everglade
