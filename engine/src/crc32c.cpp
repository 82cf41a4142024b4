#include "everglade/crc32c.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace everglade {
namespace {

constexpr std::uint32_t kReflectedPolynomial = 0x82F63B78;

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

/// Entry [j][b] is the remainder of byte b followed by j zero bytes.
constexpr Tables make_tables() {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t remainder = byte;
        for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ (remainder & 1 ? kReflectedPolynomial : 0);
        tables[0][byte] = remainder;
    }
    for (std::size_t zeros = 1; zeros < 8; ++zeros) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][before & 0xFF];
        }
    }
    return tables;
}

constexpr Tables kTables = make_tables();

std::uint64_t load_word(const unsigned char* bytes) noexcept {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(const void* bytes, std::size_t size,
                                                             std::uint32_t sum) noexcept {
    const auto* at = static_cast<const unsigned char*>(bytes);
    std::uint64_t remainder = ~sum;
    for (; size >= 8; at += 8, size -= 8) remainder = _mm_crc32_u64(remainder, load_word(at));
    auto narrow = static_cast<std::uint32_t>(remainder);
    for (; size > 0; ++at, --size) narrow = _mm_crc32_u8(narrow, *at);
    return ~narrow;
}
#endif

}  // namespace

std::uint32_t crc32c_portable(const void* bytes, std::size_t size, std::uint32_t sum) noexcept {
    const auto* at = static_cast<const unsigned char*>(bytes);
    std::uint32_t remainder = ~sum;
    for (; size >= 8; at += 8, size -= 8) {
        const std::uint64_t word = load_word(at) ^ remainder;
        remainder = 0;
        for (std::size_t j = 0; j < 8; ++j) remainder ^= kTables[7 - j][(word >> (8 * j)) & 0xFF];
    }
    for (; size > 0; ++at, --size) remainder = (remainder >> 8) ^ kTables[0][(remainder ^ *at) & 0xFF];
    return ~remainder;
}

std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t sum) noexcept {
#if defined(__x86_64__)
    static const bool has_instruction = __builtin_cpu_supports("sse4.2");
    if (has_instruction) return crc32c_sse42(bytes, size, sum);
#endif
    return crc32c_portable(bytes, size, sum);
}

}  // namespace everglade
