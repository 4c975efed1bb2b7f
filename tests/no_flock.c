/* A file system without locks, for LD_PRELOAD: flock fails, and so do the record locks of fcntl. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

static int refuse(void) {
    const char *number = getenv("NO_FLOCK_ERRNO");
    errno = number ? atoi(number) : ENOLCK;
    return -1;
}

int flock(int file, int operation) { return refuse(); }

static int pass_on(const char *name, int file, int command, void *argument) {
    int (*real)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, name);
    switch (command) {
    case F_GETLK: case F_SETLK: case F_SETLKW: case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW:
        return refuse();
    }
    return real(file, command, argument);
}

#define FORWARD(NAME)                                             \
    int NAME(int file, int command, ...) {                        \
        va_list rest;                                             \
        va_start(rest, command);                                  \
        void *argument = va_arg(rest, void *);                    \
        va_end(rest);                                             \
        return pass_on(#NAME, file, command, argument);           \
    }

FORWARD(fcntl)
FORWARD(fcntl64)
