#pragma once

// Small made-up collections, and the files they are written to.

#include <stdlib.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "everglade/writer.hpp"

namespace corpus {

using Row = std::map<std::int32_t, std::uint8_t>;

/// Documents ready to be written; ids must be added in order.
struct Corpus {
    std::uint32_t n_terms = 50;
    std::vector<std::int64_t> starts{0};
    std::vector<std::int32_t> terms;
    std::vector<std::uint8_t> impacts;
    std::vector<std::uint64_t> id_starts{0};
    std::string id_bytes;

    void add(const std::string& id, const Row& row) {
        for (const auto& [term, impact] : row) {
            terms.push_back(term);
            impacts.push_back(impact);
        }
        starts.push_back(static_cast<std::int64_t>(terms.size()));
        id_bytes += id;
        id_starts.push_back(id_bytes.size());
    }

    everglade::SegmentContent content() const { return {n_terms, starts, terms, impacts, id_starts, id_bytes}; }

    everglade::WrittenSegment write(const std::string& path) const {
        return everglade::write_segment(path, {{1, 2, 3}, 7}, content());
    }
};

inline std::string padded(std::size_t number) {
    char text[32];
    std::snprintf(text, sizeof text, "%08zu", number);
    return text;
}

/// A folder that is gone when the program ends.
class Folder {
  public:
    Folder() {
        // In memory where that is to be had: some tests write tens of thousands of files.
        const std::filesystem::path memory = "/dev/shm";
        const auto parent = std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path();
        std::string name = (parent / "everglade-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder for the test files");
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

inline std::string at(const std::string& name) {
    static const Folder folder;
    return (folder.path() / name).string();
}

inline std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

inline void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

}  // namespace corpus
