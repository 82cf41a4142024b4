#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace everglade {

/// A whole file, mapped read-only. Replacing or removing the file leaves the mapping as it was.
class MappedFile {
  public:
    /// Throws FileError if the file cannot be opened, is not a regular file, or cannot be mapped.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::span<const std::byte> bytes() const noexcept { return {static_cast<const std::byte*>(start_), size_}; }

    /// Take out of this process what has been read. It comes back, from the cache of files, when it is read again.
    void let_go() const noexcept;

  private:
    void* start_ = nullptr;
    std::size_t size_ = 0;
};

/// A file that appears whole and durable under its name, or not at all. It is written as `path` + ".tmp"; without
/// publish() the destructor removes it. Every method throws FileError.
class NewFile {
  public:
    explicit NewFile(std::string path);
    ~NewFile();
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;

    void append(const void* bytes, std::size_t size);
    void overwrite_start(const void* bytes, std::size_t size);

    /// Sync the content, give the file its name, sync the folder. If the last step fails the name is taken back.
    void publish();

  private:
    std::string path_;
    std::string temporary_;
    int descriptor_;
};

}  // namespace everglade
