#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "everglade/top_k.hpp"

namespace everglade {

/// Writes the keys of all scores that reach `floor` (at least 1) to `out`, ascending by local, and sets every score to
/// 0. `scores[i]` belongs to document first_local + i. `out` must have room for `count` keys. Returns the end of what
/// was written.
using Collect = Key* (*)(std::uint32_t* scores, std::size_t count, std::uint32_t floor, std::uint32_t first_local,
                         Key* out) noexcept;

/// One score at a time: the slow twin of the tests, and the way on other processors.
Key* collect_portable(std::uint32_t* scores, std::size_t count, std::uint32_t floor, std::uint32_t first_local,
                      Key* out) noexcept;

/// Every way this processor can run, the fastest first.
std::span<const Collect> ways_to_collect() noexcept;

}  // namespace everglade
