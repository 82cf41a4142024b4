#pragma once

// Small made-up collections, and the files they are written to.

#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "everglade/writer.hpp"

namespace corpus {

using Row = std::map<std::int32_t, std::uint16_t>;

/// Documents ready to be written; ids must be added in order.
struct Corpus {
    std::uint32_t n_terms = 50;
    std::vector<std::int64_t> starts{0};
    std::vector<std::int32_t> terms;
    std::vector<std::uint8_t> impacts;
    std::vector<std::uint16_t> wide_impacts;
    std::vector<std::uint64_t> id_starts{0};
    std::string id_bytes;

    bool wide = false;
    std::optional<std::vector<std::uint8_t>> postings;
    std::optional<std::vector<std::uint32_t>> order;
    std::optional<std::vector<std::uint16_t>> weights;
    bool rows = true;
    std::optional<std::uint32_t> cells_from;

    void add(const std::string& id, const Row& row) {
        for (const auto& [term, impact] : row) {
            terms.push_back(term);
            impacts.push_back(static_cast<std::uint8_t>(impact));
            wide_impacts.push_back(impact);
        }
        starts.push_back(static_cast<std::int64_t>(terms.size()));
        id_bytes += id;
        id_starts.push_back(id_bytes.size());
    }

    /// Give the documents another order.
    void shuffle(std::mt19937& random) {
        order.emplace(starts.size() - 1);
        std::iota(order->begin(), order->end(), 0u);
        std::shuffle(order->begin(), order->end(), random);
    }
    /// Make postings of two entries of three.
    void prune() {
        postings.emplace(terms.size());
        for (std::size_t i = 0; i < terms.size(); ++i) (*postings)[i] = i % 3 != 1;
    }
    void weigh() {
        weights.emplace(terms.size());
        for (std::size_t i = 0; i < terms.size(); ++i) (*weights)[i] = static_cast<std::uint16_t>(0x3C00 + i % 9);
    }

    everglade::SegmentContent content() const {
        everglade::SegmentContent made{n_terms,   starts,  terms, everglade::Impacts(std::span(impacts)),
                                       id_starts, id_bytes};
        if (wide) made.impacts = everglade::Impacts(std::span(wide_impacts));
        if (postings) made.postings = *postings;
        if (order) made.order = *order;
        if (weights) made.weights = *weights;
        made.rows = rows;
        made.cells_from = cells_from;
        return made;
    }

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
