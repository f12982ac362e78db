/* Shifts the wall clock of one process: preloaded, it adds the seconds that lie in the file CLOCK_SHIFT names (a 64-bit
 * number, mapped, so that a test can change it at any time). The monotonic clock is left alone, as a system's is when
 * somebody sets the time. A wait until a moment of the wall clock ends when the shifted clock gets there, as it would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NANOSECONDS 20000000L

static volatile int64_t *shift;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY) : -1;

    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (file >= 0) {
        void *mapped = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED)
            shift = mapped;
        close(file);
    }
    if (!shift)
        abort();
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result;

    if (!real_gettime)
        real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    result = real_gettime(clock, time);
    if (result == 0 && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += *shift;
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;

    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}

/* All condition variables of the process that come here wait for the wall clock. librdkafka's are those of <threads.h>. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    for (;;) {
        struct timespec now, slice;
        int result;

        clock_gettime(CLOCK_REALTIME, &now);
        real_gettime(CLOCK_REALTIME, &slice);
        if (until->tv_sec > now.tv_sec + 1) {
            slice.tv_nsec += SLICE_NANOSECONDS;
        } else {
            int64_t left = (until->tv_sec - now.tv_sec) * 1000000000L + until->tv_nsec - now.tv_nsec;
            if (left > SLICE_NANOSECONDS)
                left = SLICE_NANOSECONDS;
            slice.tv_nsec += left > 0 && until->tv_sec + 1 >= now.tv_sec ? left : 0;
        }
        slice.tv_sec += slice.tv_nsec / 1000000000L;
        slice.tv_nsec %= 1000000000L;
        result = real_wait(condition, mutex, &slice);
        if (result != ETIMEDOUT)
            return result;
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
            return ETIMEDOUT;
    }
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until)
{
    /* In glibc they are the POSIX ones under another name. */
    int result = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);

    return result == 0 ? thrd_success : result == ETIMEDOUT ? thrd_timedout : thrd_error;
}
