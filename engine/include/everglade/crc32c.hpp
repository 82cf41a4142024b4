#pragma once

#include <cstddef>
#include <cstdint>

namespace everglade {

/// CRC32C (Castagnoli) of `size` bytes. To sum a stream piece by piece, pass the sum so far.
std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t sum = 0) noexcept;

/// The same without the processor's help: the slow twin of the tests, and the way on machines without SSE 4.2.
std::uint32_t crc32c_portable(const void* bytes, std::size_t size, std::uint32_t sum = 0) noexcept;

}  // namespace everglade
