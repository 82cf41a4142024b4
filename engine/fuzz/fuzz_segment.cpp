// libFuzzer's target: bytes become a file, the file is opened as a segment, and what opens is used. Damaged and hostile
// bytes may be refused, with an offset inside the file; anything else than that is a crash. benchmarks/fuzz.py runs it.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "everglade/crc32c.hpp"
#include "everglade/errors.hpp"
#include "everglade/segment.hpp"
#include "segment_parts.hpp"
#include "use_segment.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* bytes, std::size_t size, std::size_t most);

namespace {

using everglade::Segment;
using everglade::Verify;
using everglade::fuzz::Part;
using everglade::fuzz::SegmentParts;

/// A file in memory that takes every input in turn: segments are opened by path.
class MemoryFile {
  public:
    MemoryFile() : descriptor_(::memfd_create("segment", 0)), path_("/proc/self/fd/" + std::to_string(descriptor_)) {
        if (descriptor_ < 0) std::abort();
    }

    const std::string& hold(const std::uint8_t* bytes, std::size_t size) {
        if (::ftruncate(descriptor_, 0) != 0) std::abort();
        if (size > 0 && ::pwrite(descriptor_, bytes, size, 0) != static_cast<ssize_t>(size)) std::abort();
        return path_;
    }

  private:
    int descriptor_;
    std::string path_;
};

/// Returns whether it opened.
bool open_and_use(const std::string& path, std::size_t size, std::uint32_t seed, Verify verify) {
    try {
        everglade::fuzz::use_segment(Segment(path, verify), seed, verify == Verify::everything);
    } catch (const everglade::CorruptSegment& error) {
        if (error.offset > size) std::abort();
        return false;
    } catch (const everglade::FormatTooNew&) {
        return false;
    }
    return true;
}

std::size_t give(const std::string& file, std::uint8_t* bytes, std::size_t size, std::size_t most) {
    if (file.size() > most) return size;
    std::memcpy(bytes, file.data(), file.size());
    return file.size();
}

void mutate_bytes(std::string& bytes, std::mt19937& random) {
    const std::size_t most = random() % 4 == 0 ? bytes.size() + 64 : std::max<std::size_t>(bytes.size(), 1);
    const std::size_t before = bytes.size();
    bytes.resize(most);
    bytes.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(bytes.data()), before, most));
}

/// Put a number that is near another, or near the end of its kind, into a list of numbers.
void mutate_number(std::string& bytes, std::mt19937& random) {
    const std::size_t width = std::size_t{1} << random() % 4;
    if (bytes.size() < width) return;
    const std::size_t count = bytes.size() / width;
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + random() % count * width, width);
    const std::uint64_t edges[] = {value, value + 1, value - 1, 0, 1, ~std::uint64_t{0}, std::uint64_t{1} << 30, count};
    value = edges[random() % std::size(edges)];
    std::memcpy(bytes.data() + random() % count * width, &value, width);
}

void mutate_header(everglade::format::Header& header, std::mt19937& random) {
    std::uint32_t* const counts[] = {&header.n_documents, &header.n_terms, &header.features};
    std::uint32_t& count = *counts[random() % 3];
    switch (random() % 4) {
        case 0:
            count += random() % 3 - 1;
            break;
        case 1:
            count ^= 1u << random() % 32;
            break;
        case 2:
            header.n_postings += random() % 3 - 1;
            break;
        default:
            header.features ^= 1u << random() % 4;
    }
}

void mutate_sections(SegmentParts& parts, std::mt19937& random) {
    if (parts.sections.empty()) return;
    const std::size_t place = random() % parts.sections.size();
    switch (random() % 3) {
        case 0:
            parts.sections.erase(parts.sections.begin() + static_cast<std::ptrdiff_t>(place));
            break;
        case 1:
            parts.sections.insert(parts.sections.begin() + static_cast<std::ptrdiff_t>(place),
                                  Part{static_cast<std::uint32_t>(random() % 20), parts.sections[place].bytes});
            break;
        default:
            parts.sections[place].bytes = parts.sections[random() % parts.sections.size()].bytes;
    }
}

}  // namespace

/// The costliest habits of the sanitizer are left out: a stack of its own, which finds uses of a local after its
/// function returned, and holding freed memory back for longer than an execution.
extern "C" const char* __asan_default_options() {
    return "detect_stack_use_after_return=0:malloc_context_size=4:quarantine_size_mb=16:"
           "allocator_release_to_os_interval_ms=-1";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    static MemoryFile file;
    const std::string& path = file.hold(bytes, size);
    const std::uint32_t seed = everglade::crc32c(bytes, size);
    const bool sound = open_and_use(path, size, seed, Verify::structure);
    const bool verified = open_and_use(path, size, seed, Verify::everything);
    if (verified && !sound) std::abort();
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* bytes, std::size_t size, std::size_t most,
                                               unsigned int seed) {
    std::mt19937 random(seed);
    auto parts = everglade::fuzz::take_apart(bytes, size);
    if (!parts || random() % 32 == 0) return LLVMFuzzerMutate(bytes, size, most);
    for (std::uint32_t i = 0, changes = 1 + random() % 3; i < changes; ++i) {
        const std::uint32_t way = random() % 16;
        if (way == 0 || parts->sections.empty()) {
            mutate_sections(*parts, random);
        } else if (way < 3) {
            mutate_header(parts->header, random);
        } else {
            auto& section = parts->sections[random() % parts->sections.size()].bytes;
            way < 10 ? mutate_bytes(section, random) : mutate_number(section, random);
        }
    }
    return give(everglade::fuzz::put_together(*parts), bytes, size, most);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* one, std::size_t one_size,
                                                 const std::uint8_t* two, std::size_t two_size, std::uint8_t* out,
                                                 std::size_t most, unsigned int seed) {
    std::mt19937 random(seed);
    auto parts = everglade::fuzz::take_apart(one, one_size);
    const auto others = everglade::fuzz::take_apart(two, two_size);
    if (!parts || !others || parts->sections.empty() || others->sections.empty()) return 0;
    const Part& taken = others->sections[random() % others->sections.size()];
    for (Part& part : parts->sections) {
        if (part.kind == taken.kind) part.bytes = taken.bytes;
    }
    const std::string file = everglade::fuzz::put_together(*parts);
    return give(file, out, 0, most);
}
