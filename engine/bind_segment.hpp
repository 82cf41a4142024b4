#pragma once

#include <memory>
#include <string>

#include "arrays.hpp"
#include "everglade/segment.hpp"

namespace everglade::python {

using SegmentPointer = std::shared_ptr<Segment>;

/// Paths may hold bytes that are not UTF-8; Python has its own way to carry those in a str.
nb::object path_to_str(const std::string& path);

void bind_segment(nb::module_& m);

}  // namespace everglade::python
