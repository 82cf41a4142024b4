/* Loaded before the C library (LD_PRELOAD), this stands between a program and the kernel at every call that changes, or
 * opens, a file below one folder. It can write each down, and let one fail, fall short, or be the program's last.
 * recorded.py reads what is written down; test_every_call_is_seen compares it with what strace sees.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, FAIL, FAIL_FROM_HERE, KILL_BEFORE, KILL_AFTER, SHORT };

static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static long count, chosen;
static int action, chosen_error;
/* A call and what is written down of it are one: threads take turns. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* Watch the folder `path`, an absolute one without links in it. */
void calls_watch(const char *path) {
    root_length = strlen(path);
    memcpy(root, path, root_length + 1);
}

/* Write calls down in this open file, or in none (-1). */
void calls_record(int file) { log_file = file; }

/* Count from 0 again; at the call with this number do `what`. */
void calls_choose(long number, int what, int error) {
    count = 0;
    chosen = number;
    action = what;
    chosen_error = error;
}

/* Calls so far. */
long calls_counted(void) { return count; }

static int below_root(const char *path) {
    return root_length > 0 && strncmp(path, root, root_length) == 0 &&
           (path[root_length] == '/' || path[root_length] == '\0');
}

static void path_of_file(int file, char *path) {
    char link[64];
    path[0] = '\0';
    if (root_length == 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = syscall(SYS_readlink, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
}

static void whole_path(int folder, const char *path, char *whole) {
    char start[PATH_MAX] = "";
    whole[0] = '\0';
    if (root_length == 0) return;
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (getcwd(start, sizeof start) == NULL) start[0] = '\0';
        } else {
            path_of_file(folder, start);
        }
        strcat(start, "/");
    }
    snprintf(whole, PATH_MAX, "%s%s", start, path);
}

/* A line of what, inode, place, size, path and second path, then `size` bytes. */
static void note(const char *what, unsigned long long inode, long long at, const void *bytes, size_t size,
                 const char *path, const char *second) {
    if (log_file < 0) return;
    char line[3 * PATH_MAX];
    const int length =
        snprintf(line, sizeof line, "%s\t%llu\t%lld\t%zu\t%s\t%s\n", what, inode, at, size, path, second);
    const struct iovec parts[] = {{line, (size_t)length}, {(void *)bytes, size}};
    syscall(SYS_writev, log_file, parts, 2);
}

/* What the test says in between. */
void calls_note(const char *text) { note("note", 0, 0, NULL, 0, text, ""); }

/* Whether this call is to fail: errno is set then. */
static int meet(const char *path, int *last) {
    *last = 0;
    pthread_mutex_lock(&turn);
    if (!below_root(path)) return 0;
    ++count;
    if (action == FAIL_FROM_HERE ? count < chosen : count != chosen) return 0;
    if (action == FAIL || action == FAIL_FROM_HERE) {
        pthread_mutex_unlock(&turn);
        errno = chosen_error;
        return 1;
    }
    if (action == KILL_BEFORE) raise(SIGKILL);
    *last = action;
    return 0;
}

static long done(int last, long result) {
    if (last == KILL_AFTER) raise(SIGKILL);
    const int error = errno;
    pthread_mutex_unlock(&turn);
    errno = error;
    return result;
}

static unsigned long long inode_of(int file) {
    struct stat status;
    return fstat(file, &status) == 0 ? status.st_ino : 0;
}

static int open_file(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct stat status;
    int last;
    whole_path(folder, name, path);
    if (meet(path, &last)) return -1;
    const int created = (flags & O_CREAT) && below_root(path) && lstat(path, &status) != 0;
    const int file = (int)syscall(SYS_openat, folder, name, flags, mode);
    if (file >= 0 && created) note("create", inode_of(file), 0, NULL, 0, path, "");
    if (file >= 0 && !created && (flags & O_TRUNC) && below_root(path)) {
        note("truncate", inode_of(file), 0, NULL, 0, path, "");
    }
    return (int)done(last, file);
}

#define MODE(flags, mode)                                                         \
    mode_t mode = 0;                                                          \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                  \
        va_list more;                                                         \
        va_start(more, flags);                                                \
        mode = va_arg(more, mode_t);                                          \
        va_end(more);                                                         \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_file(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_file(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_file(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_file(folder, path, flags, mode);
}
int creat(const char *path, mode_t mode) { return open_file(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static ssize_t write_at(int file, const void *bytes, size_t size, off_t at, int has_place) {
    char path[PATH_MAX];
    int last;
    path_of_file(file, path);
    if (meet(path, &last)) return -1;
    if (last == SHORT && size > 1) size /= 2;
    if (!has_place) {
        struct stat status;
        at = syscall(SYS_lseek, file, 0, SEEK_CUR);
        if ((fcntl(file, F_GETFL) & O_APPEND) && fstat(file, &status) == 0) at = status.st_size;
    }
    const ssize_t written = has_place ? syscall(SYS_pwrite64, file, bytes, size, at) : syscall(SYS_write, file, bytes, size);
    if (written > 0 && below_root(path)) note("write", inode_of(file), at, bytes, (size_t)written, path, "");
    return done(last, written);
}

ssize_t write(int file, const void *bytes, size_t size) { return write_at(file, bytes, size, 0, 0); }
ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) { return write_at(file, bytes, size, at, 1); }
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) { return write_at(file, bytes, size, at, 1); }

static int truncate_file(int file, off_t size) {
    char path[PATH_MAX];
    int last;
    path_of_file(file, path);
    if (meet(path, &last)) return -1;
    const int result = (int)syscall(SYS_ftruncate, file, size);
    if (result == 0 && below_root(path)) note("truncate", inode_of(file), size, NULL, 0, path, "");
    return (int)done(last, result);
}
int ftruncate(int file, off_t size) { return truncate_file(file, size); }
int ftruncate64(int file, off64_t size) { return truncate_file(file, size); }

static int sync_file(int file, long call, const char *what) {
    char path[PATH_MAX];
    int last;
    path_of_file(file, path);
    if (meet(path, &last)) return -1;
    const int result = (int)syscall(call, file);
    if (result == 0 && below_root(path)) note(what, inode_of(file), 0, NULL, 0, path, "");
    return (int)done(last, result);
}
int fsync(int file) { return sync_file(file, SYS_fsync, "fsync"); }
int fdatasync(int file) { return sync_file(file, SYS_fdatasync, "fdatasync"); }

static int rename_file(int old_folder, const char *old_name, int new_folder, const char *new_name, unsigned flags) {
    char old_path[PATH_MAX], new_path[PATH_MAX];
    int last;
    whole_path(old_folder, old_name, old_path);
    whole_path(new_folder, new_name, new_path);
    if (meet(below_root(old_path) ? old_path : new_path, &last)) return -1;
    const int result = (int)syscall(SYS_renameat2, old_folder, old_name, new_folder, new_name, flags);
    if (result == 0 && (below_root(old_path) || below_root(new_path))) {
        note("rename", 0, 0, NULL, 0, old_path, new_path);
    }
    return (int)done(last, result);
}
int rename(const char *from, const char *to) { return rename_file(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return rename_file(from_folder, from, to_folder, to, 0);
}
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    return rename_file(from_folder, from, to_folder, to, flags);
}

static int remove_name(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    int last;
    whole_path(folder, name, path);
    if (meet(path, &last)) return -1;
    const int result = (int)syscall(SYS_unlinkat, folder, name, flags);
    if (result == 0 && below_root(path)) note("unlink", 0, 0, NULL, 0, path, "");
    return (int)done(last, result);
}
int unlink(const char *path) { return remove_name(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return remove_name(folder, path, flags); }
int rmdir(const char *path) { return remove_name(AT_FDCWD, path, AT_REMOVEDIR); }

static int make_folder(int folder, const char *name, mode_t mode) {
    char path[PATH_MAX];
    struct stat status;
    int last;
    whole_path(folder, name, path);
    if (meet(path, &last)) return -1;
    const int result = (int)syscall(SYS_mkdirat, folder, name, mode);
    if (result == 0 && below_root(path) && lstat(path, &status) == 0) {
        note("mkdir", status.st_ino, 0, NULL, 0, path, "");
    }
    return (int)done(last, result);
}
int mkdir(const char *path, mode_t mode) { return make_folder(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return make_folder(folder, path, mode); }

static void *map_file(void *start, size_t size, int protection, int flags, int file, off_t at) {
    char path[PATH_MAX] = "";
    int last;
    if (file >= 0) path_of_file(file, path);
    if (meet(path, &last)) return MAP_FAILED;
    void *const place = (void *)syscall(SYS_mmap, start, size, protection, flags, file, at);
    if (below_root(path) && (protection & PROT_WRITE) && !(flags & MAP_PRIVATE)) {
        note("mmap", inode_of(file), 0, NULL, 0, path, ""); /* stores through it cannot be seen: the reader refuses */
    }
    done(last, 0);
    return place;
}
void *mmap(void *start, size_t size, int protection, int flags, int file, off_t at) {
    return map_file(start, size, protection, flags, file, at);
}
void *mmap64(void *start, size_t size, int protection, int flags, int file, off64_t at) {
    return map_file(start, size, protection, flags, file, at);
}
