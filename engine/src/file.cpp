#include "everglade/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "everglade/errors.hpp"

namespace everglade {
namespace {

class Descriptor {
  public:
    Descriptor(const std::string& path, int flags) : value_(::open(path.c_str(), flags | O_CLOEXEC)) {
        if (value_ < 0) throw FileError(path, errno, "open");
    }
    ~Descriptor() { ::close(value_); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    int value() const noexcept { return value_; }

  private:
    int value_;
};

/// Write all of it: a call may take less than asked, or be interrupted before it takes anything.
template <typename Write>
void write_fully(const std::string& path, const void* bytes, std::size_t size, Write write) {
    constexpr std::size_t kMostPerCall = std::size_t{1} << 30;
    const auto* at = static_cast<const char*>(bytes);
    while (size > 0) {
        const ssize_t written = write(at, std::min(size, kMostPerCall));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) throw FileError(path, errno, "write");
        if (written == 0) throw FileError(path, EIO, "write");
        at += written;
        size -= static_cast<std::size_t>(written);
    }
}

std::string folder_of(const std::string& path) {
    const auto slash = path.find_last_of('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

void sync_folder(const std::string& path) {
    const Descriptor folder(path, O_RDONLY | O_DIRECTORY);
    if (::fsync(folder.value()) != 0) throw FileError(path, errno, "sync");
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
    // O_NONBLOCK: opening a pipe must fail below, not wait for its writer.
    const Descriptor file(path, O_RDONLY | O_NONBLOCK);
    struct stat status{};
    if (::fstat(file.value(), &status) != 0) throw FileError(path, errno, "examine");
    if (!S_ISREG(status.st_mode)) throw FileError(path, S_ISDIR(status.st_mode) ? EISDIR : EINVAL, "map");
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;
    void* const start = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.value(), 0);
    if (start == MAP_FAILED) throw FileError(path, errno, "map");
    start_ = start;
}

MappedFile::~MappedFile() {
    if (start_ != nullptr) ::munmap(start_, size_);
}

void MappedFile::let_go() const noexcept {
    // It is advice: where it is not taken, more memory stays in use.
    if (start_ != nullptr) ::madvise(start_, size_, MADV_DONTNEED);
}

NewFile::NewFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".tmp") {
    // What a killed writer left behind goes first; O_EXCL then also refuses to follow a link laid in our way.
    if (::unlink(temporary_.c_str()) != 0 && errno != ENOENT) throw FileError(temporary_, errno, "remove");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw FileError(temporary_, errno, "create");
}

NewFile::~NewFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
}

void NewFile::append(const void* bytes, std::size_t size) {
    write_fully(temporary_, bytes, size,
                [this](const char* at, std::size_t left) { return ::write(descriptor_, at, left); });
}

void NewFile::overwrite_start(const void* bytes, std::size_t size) {
    const auto* first = static_cast<const char*>(bytes);
    write_fully(temporary_, bytes, size, [this, first](const char* at, std::size_t left) {
        return ::pwrite(descriptor_, at, left, static_cast<off_t>(at - first));
    });
}

void NewFile::publish() {
    // A failed fsync may have dropped the pages it could not write: it is never tried again, the file is given up.
    if (::fsync(descriptor_) != 0) throw FileError(temporary_, errno, "sync");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw FileError(path_, errno, "rename to");
    ::close(std::exchange(descriptor_, -1));
    try {
        sync_folder(folder_of(path_));
    } catch (...) {
        ::unlink(path_.c_str());
        throw;
    }
}

}  // namespace everglade
