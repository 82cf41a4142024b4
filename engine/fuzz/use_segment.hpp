#pragma once

#include "everglade/segment.hpp"

namespace everglade::fuzz {

/// Read, score and search everything that a segment offers, with queries drawn from `seed`. Of a verified segment the
/// answers must be those of a naive sum over its postings, or the process is ended.
void use_segment(const Segment& segment, std::uint32_t seed, bool verified);

}  // namespace everglade::fuzz
