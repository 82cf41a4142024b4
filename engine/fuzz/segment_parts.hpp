#pragma once

// A segment file taken apart and put together again with right checksums, so that a fuzzer gets past them.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "everglade/format.hpp"

namespace everglade::fuzz {

struct Part {
    std::uint32_t kind;
    std::string bytes;
};

struct SegmentParts {
    format::Header header;
    std::vector<Part> sections;
};

/// None if the table does not tell where the sections lie.
std::optional<SegmentParts> take_apart(const std::uint8_t* bytes, std::size_t size);

/// The file that the writer would have written: offsets, lengths, checksums, zeros and the seal are right. The number of
/// sections in the header is that of `sections`; all else in it stays as it is.
std::string put_together(const SegmentParts& parts);

}  // namespace everglade::fuzz
