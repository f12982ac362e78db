// Makes chosen system calls on chosen files fail. The tests preload it into the host (LD_PRELOAD); see faulty_disk.rs.
//
// The environment says what to do:
//   TIDEGATE_FAULT_CALL   `sync` (fsync, fdatasync), `write` (write, pwrite), `resize` (ftruncate, fallocate) or `open`
//   TIDEGATE_FAULT_PATH   the calls on files whose path contains this text
//   TIDEGATE_FAULT_AT     the n-th of these calls, counted from 1; 0: none, the calls are only counted
//   TIDEGATE_FAULT_TIMES  so many calls, beginning with it
//   TIDEGATE_FAULT_WHAT   `errno:N`: the call fails; `short`: half of a write is done and its length returned;
//                         `torn`: half of a write is done and the process is killed; `lost`: a write says that all is well
//                         and does nothing, and the next sync of the same files fails once with EIO, as Linux does it;
//                         `hang`: the call never returns
//   TIDEGATE_FAULT_LOG    gets a `.` for each call that was counted and an `X` for each that was made to fail
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long seen;
static atomic_int owed_sync_error;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static void note(const char *mark) {
    long file = syscall(SYS_openat, AT_FDCWD, setting("TIDEGATE_FAULT_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (file < 0) return;
    syscall(SYS_write, file, mark, 1L);
    syscall(SYS_close, file);
}

static int is_wanted_path(const char *path) {
    const char *part = setting("TIDEGATE_FAULT_PATH");
    return part[0] != '\0' && strstr(path, part) != NULL;
}

static int is_wanted_file(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return is_wanted_path(path);
}

// Whether this call, which is on a wanted file, is one that goes wrong.
static int goes_wrong(const char *call) {
    if (strcmp(setting("TIDEGATE_FAULT_CALL"), call) != 0) return 0;
    long at = atol(setting("TIDEGATE_FAULT_AT"));
    const char *text = setting("TIDEGATE_FAULT_TIMES");
    long times = text[0] == '\0' ? 1 : atol(text);
    long number = atomic_fetch_add(&seen, 1) + 1;
    int wrong = at > 0 && number >= at && number - at < times;
    note(wrong ? "X" : ".");
    return wrong;
}

static int is_what(const char *what) {
    return strcmp(setting("TIDEGATE_FAULT_WHAT"), what) == 0;
}

static int fail(void) {
    if (is_what("hang")) for (;;) pause();
    const char *what = setting("TIDEGATE_FAULT_WHAT");
    errno = strncmp(what, "errno:", 6) == 0 ? atoi(what + 6) : EIO;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define SYNC(name)                                                      \
    int name(int file) {                                                \
        if (is_wanted_file(file)) {                                     \
            if (atomic_exchange(&owed_sync_error, 0)) {                 \
                errno = EIO;                                            \
                return -1;                                              \
            }                                                           \
            if (goes_wrong("sync")) return fail();                      \
        }                                                               \
        return REAL(name)(file);                                        \
    }
SYNC(fsync)
SYNC(fdatasync)

static ssize_t write_wrongly(int file, const void *bytes, size_t count, off64_t offset, int is_positioned) {
    size_t half = count / 2;
    if (is_what("lost")) {
        atomic_store(&owed_sync_error, 1);
        return (ssize_t)count;
    }
    if (is_what("short") || is_what("torn")) {
        if (half == 0) half = count;
        long done = is_positioned ? syscall(SYS_pwrite64, file, bytes, half, offset)
                                  : syscall(SYS_write, file, bytes, half);
        if (is_what("torn")) raise(SIGKILL);
        return done;
    }
    return fail();
}

#define PWRITE(name, offset_type)                                                           \
    ssize_t name(int file, const void *bytes, size_t count, offset_type offset) {           \
        if (is_wanted_file(file) && goes_wrong("write"))                                    \
            return write_wrongly(file, bytes, count, offset, 1);                            \
        return REAL(name)(file, bytes, count, offset);                                      \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int file, const void *bytes, size_t count) {
    if (is_wanted_file(file) && goes_wrong("write")) return write_wrongly(file, bytes, count, 0, 0);
    return REAL(write)(file, bytes, count);
}

#define RESIZE(name, offset_type)                                                           \
    int name(int file, offset_type length) {                                                \
        if (is_wanted_file(file) && goes_wrong("resize")) return fail();                    \
        return REAL(name)(file, length);                                                    \
    }
RESIZE(ftruncate, off_t)
RESIZE(ftruncate64, off64_t)

int fallocate64(int file, int mode, off64_t offset, off64_t length) {
    if (is_wanted_file(file) && goes_wrong("resize")) return fail();
    return REAL(fallocate64)(file, mode, offset, length);
}

#define OPEN(name)                                                                          \
    int name(const char *path, int flags, ...) {                                            \
        va_list more;                                                                       \
        va_start(more, flags);                                                              \
        mode_t mode = va_arg(more, mode_t);                                                 \
        va_end(more);                                                                       \
        if (is_wanted_path(path) && goes_wrong("open")) return fail();                      \
        return REAL(name)(path, flags, mode);                                               \
    }
OPEN(open)
OPEN(open64)
