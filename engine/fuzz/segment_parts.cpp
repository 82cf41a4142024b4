#include "segment_parts.hpp"

#include <cstring>

#include "everglade/crc32c.hpp"

namespace everglade::fuzz {

std::optional<SegmentParts> take_apart(const std::uint8_t* bytes, std::size_t size) {
    if (size < format::head_length(0)) return std::nullopt;
    SegmentParts parts;
    std::memcpy(&parts.header, bytes, sizeof parts.header);
    const std::uint64_t count = parts.header.n_sections;
    if (count > format::kMaxSections || size < format::head_length(count)) return std::nullopt;
    for (std::uint64_t i = 0; i < count; ++i) {
        format::Section section;
        std::memcpy(&section, bytes + sizeof(format::Header) + i * sizeof section, sizeof section);
        if (section.offset > size || section.length > size - section.offset) return std::nullopt;
        const char* const first = reinterpret_cast<const char*>(bytes) + section.offset;
        parts.sections.push_back({static_cast<std::uint32_t>(section.kind), std::string(first, section.length)});
    }
    return parts;
}

std::string put_together(const SegmentParts& parts) {
    format::Header header = parts.header;
    header.n_sections = static_cast<std::uint32_t>(parts.sections.size());
    const std::uint64_t length = format::head_length(header.n_sections);
    std::string file(length, '\0');
    std::vector<format::Section> table;
    for (const Part& part : parts.sections) {
        file.resize(format::align(file.size()));
        table.push_back({static_cast<format::Kind>(part.kind), crc32c(part.bytes.data(), part.bytes.size()),
                         file.size(), part.bytes.size()});
        file += part.bytes;
    }
    std::memcpy(file.data(), &header, sizeof header);
    if (!table.empty()) {
        std::memcpy(file.data() + sizeof header, table.data(), table.size() * sizeof(format::Section));
    }
    format::Seal seal{file.size(), 0, 0};
    char* const place = file.data() + length - sizeof seal;
    std::memcpy(place, &seal, sizeof seal);
    seal.crc32c = crc32c(file.data(), length - sizeof seal.crc32c);
    std::memcpy(place, &seal, sizeof seal);
    return file;
}

}  // namespace everglade::fuzz
