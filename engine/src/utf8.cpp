#include "everglade/utf8.hpp"

#include <cstddef>

namespace everglade {
namespace {

bool in_range(unsigned char byte, unsigned char low, unsigned char high) noexcept {
    return low <= byte && byte <= high;
}

/// Length of the well-formed sequence at `at`, or 0 (Unicode 15, table 3-7).
std::size_t sequence_length(const unsigned char* at, std::size_t left) noexcept {
    const unsigned char lead = at[0];
    if (lead < 0x80) return 1;
    if (in_range(lead, 0xC2, 0xDF)) return left >= 2 && in_range(at[1], 0x80, 0xBF) ? 2 : 0;
    if (in_range(lead, 0xE0, 0xEF)) {
        const unsigned char low = lead == 0xE0 ? 0xA0 : 0x80;
        const unsigned char high = lead == 0xED ? 0x9F : 0xBF;
        return left >= 3 && in_range(at[1], low, high) && in_range(at[2], 0x80, 0xBF) ? 3 : 0;
    }
    if (in_range(lead, 0xF0, 0xF4)) {
        const unsigned char low = lead == 0xF0 ? 0x90 : 0x80;
        const unsigned char high = lead == 0xF4 ? 0x8F : 0xBF;
        const bool tail = left >= 4 && in_range(at[2], 0x80, 0xBF) && in_range(at[3], 0x80, 0xBF);
        return tail && in_range(at[1], low, high) ? 4 : 0;
    }
    return 0;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
    const auto* at = reinterpret_cast<const unsigned char*>(text.data());
    for (std::size_t left = text.size(); left > 0;) {
        const std::size_t length = sequence_length(at, left);
        if (length == 0) return false;
        at += length;
        left -= length;
    }
    return true;
}

}  // namespace everglade
