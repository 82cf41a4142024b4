#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "everglade/writer.hpp"

namespace everglade {

[[noreturn]] void refuse(const std::string& why);

/// Throws std::invalid_argument if the content breaks a rule of writer.hpp that can be seen without its entries.
void require_content(const SegmentContent& content);

/// Throws std::invalid_argument unless `term` may follow `before` in a row, with this impact.
void require_entry(const SegmentContent& content, std::size_t row, std::int64_t before, std::int32_t term,
                   std::uint32_t impact);

inline std::size_t n_documents(const SegmentContent& content) { return content.starts.size() - 1; }

/// The row that becomes document `local`.
inline std::size_t row_at(const SegmentContent& content, std::size_t local) {
    return content.order ? (*content.order)[local] : local;
}

/// The first entry of document `local`, and the one after its last.
inline std::pair<std::size_t, std::size_t> entries_at(const SegmentContent& content, std::size_t local) {
    const std::size_t row = row_at(content, local);
    return {static_cast<std::size_t>(content.starts[row]), static_cast<std::size_t>(content.starts[row + 1])};
}

}  // namespace everglade
