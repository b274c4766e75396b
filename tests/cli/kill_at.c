/* kill_at.c - preloaded into a program, sends it a signal (number WC_KILL_SIGNAL, without it that of kill -9) right
 * before its n-th call that changes the file system: n = WC_KILL_AT. With WC_KILL_COUNT=FILE it only counts, and writes
 * the number there at exit. A run can so be killed between any two of its steps, on machines of any speed: a timer
 * never hits the moment between a rename and an unlink. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static long calls, deadly;
static int deadly_signal = SIGKILL;

__attribute__((constructor)) static void begin(void)
{
    const char *at = getenv("WC_KILL_AT");
    const char *number = getenv("WC_KILL_SIGNAL");
    deadly = at ? atol(at) : 0;
    if (number) deadly_signal = atoi(number);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("WC_KILL_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    fprintf(f, "%ld\n", calls);
    fclose(f);
}

static void step(void)
{
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == deadly) kill(getpid(), deadly_signal);
}

#define STEP(type, name, parameters, ...)                                  \
    type name parameters                                                   \
    {                                                                      \
        step();                                                            \
        return ((type(*) parameters)dlsym(RTLD_NEXT, #name))(__VA_ARGS__); \
    }
STEP(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
STEP(int, ftruncate, (int fd, off_t size), fd, size)
STEP(int, fallocate, (int fd, int mode, off_t at, off_t n), fd, mode, at, n)
STEP(int, posix_fallocate, (int fd, off_t at, off_t n), fd, at, n)
STEP(int, fsync, (int fd), fd)
STEP(int, fdatasync, (int fd), fd)
STEP(int, rename, (const char *from, const char *to), from, to)
STEP(int, unlink, (const char *path), path)
STEP(int, rmdir, (const char *path), path)
STEP(int, mkdir, (const char *path, mode_t mode), path, mode)

int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (flags & O_CREAT) step();
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, flags, mode);
}
