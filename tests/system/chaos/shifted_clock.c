/* Shifts the wall clock of a process by the seconds in the file named by CHAOS_CLOCK. For LD_PRELOAD.
   The monotonic clock is unchanged, as after a real step of the system clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    const char *path = getenv("CHAOS_CLOCK");
    FILE *file = path ? fopen(path, "r") : NULL;
    long seconds = 0;
    int digit, sign = 1;
    if (!file) return 0;
    /* no scanf: newer headers bind it to symbols that an older libc, such as that of a container, lacks */
    while ((digit = fgetc(file)) != EOF) {
        if (digit == '-') sign = -1;
        else if (digit >= '0' && digit <= '9') seconds = 10 * seconds + (digit - '0');
    }
    fclose(file);
    return sign * seconds;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    (void)zone;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
