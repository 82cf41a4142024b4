#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace everglade {

// Wrong arguments throw std::invalid_argument; these three are what a file can do to us.

/// Bytes of a segment that are not what was written.
class CorruptSegment : public std::runtime_error {
  public:
    CorruptSegment(std::string path, std::uint64_t offset, std::string why)
        : std::runtime_error(path + ", byte " + std::to_string(offset) + ": " + why),
          path(std::move(path)),
          offset(offset),
          why(std::move(why)) {}

    std::string path;
    std::uint64_t offset;
    std::string why;
};

/// A segment written by a newer Everglade.
class FormatTooNew : public std::runtime_error {
  public:
    FormatTooNew(std::string path, std::string why)
        : std::runtime_error(path + ": " + why), path(std::move(path)), why(std::move(why)) {}

    std::string path;
    std::string why;
};

/// The operating system refused; `code` is its errno and `why` says what we were doing.
class FileError : public std::runtime_error {
  public:
    FileError(std::string path, int code, const std::string& doing)
        : std::runtime_error("cannot " + doing + " " + path + ": " + std::generic_category().message(code)),
          path(std::move(path)),
          code(code),
          why("cannot " + doing + ": " + std::generic_category().message(code)) {}

    std::string path;
    int code;
    std::string why;
};

}  // namespace everglade
