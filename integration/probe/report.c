// What a report must stand: floods of refusals, and arguments that change while they are looked at.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char path[4096];
static volatile int done;

// Millions of names, long ones, names that are no text, and calls that do not exist.
static int flood(long count) {
    static char name[8192];
    for (long i = 0; i < count; i++) {
        int len = snprintf(name, sizeof name, "/dir%ld/\x1b]0;%ld\x07\xff", i, i);
        if (i % 16 == 0) {
            memset(name + len, 'x', 5000);
            name[len + 5000] = 0;
        }
        if (mkdir(name, 0700) == 0 || open(name, O_RDWR | O_CREAT, 0600) >= 0) return 1;
        if (syscall(2000 + i) != -1) return 2;
        if (syscall(SYS_mkdir, i * 4096, 0) != -1) return 3;
    }
    puts("flooded");
    return 0;
}

static void *swap(void *unused) {
    (void)unused;
    while (!done) {
        memcpy(path, "/etc/x", 7);
        memcpy(path, "/tmp/x", 7);
    }
    return NULL;
}

// A name that another thread changes between a place that can be written to and one that cannot.
static int race(long count) {
    pthread_t thread;
    memcpy(path, "/tmp/x", 7);
    pthread_create(&thread, NULL, swap, NULL);
    long made = 0, refused = 0;
    for (long i = 0; i < count; i++) {
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        if (fd >= 0) {
            made++;
            close(fd);
        } else if (errno == EROFS) {
            refused++;
        } else {
            perror("open");
        }
    }
    done = 1;
    pthread_join(thread, NULL);
    printf("%ld made, %ld refused, /etc/x: %s\n", made, refused, access("/etc/x", F_OK) ? "absent" : "there");
    return 0;
}

// Says every error number that a denied call comes to, until it is killed.
static void errnos(void) {
    int last = -1;
    for (;;) {
        int now = mkdir("/tmp/denied", 0700) == 0 ? 0 : errno;
        if (now != last) {
            printf("%s\n", now ? strerrorname_np(now) : "MADE");
            fflush(stdout);
            last = now;
        }
        usleep(1000);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

// Nanoseconds for each call: one that is allowed, one that is heard of, one that is denied.
static int cost(long count) {
    double start = now();
    for (long i = 0; i < count * 100; i++) syscall(SYS_getppid);
    double allowed = (now() - start) / (count * 100);
    start = now();
    for (long i = 0; i < count; i++) close(open("/tmp/x", O_RDWR | O_CREAT, 0600));
    double opened = (now() - start) / count;
    start = now();
    for (long i = 0; i < count; i++) rmdir("/nowhere/x");
    double heard = (now() - start) / count;
    start = now();
    for (long i = 0; i < count; i++) syscall(SYS_mkdir, "/nowhere/x", 0);
    double denied = (now() - start) / count;
    start = now();
    for (long i = 0; i < count * 100; i++) syscall(SYS_personality, 0xffffffffUL);
    double conditional = (now() - start) / (count * 100);
    printf("allowed %.0f conditional %.0f open+close %.0f heard %.0f denied %.0f\n", allowed, conditional, opened, heard, denied);
    return 0;
}

int main(int argc, char **argv) {
    long count = argc > 2 ? atol(argv[2]) : 1000;
    if (argc > 1 && !strcmp(argv[1], "flood")) return flood(count);
    if (argc > 1 && !strcmp(argv[1], "race")) return race(count);
    if (argc > 1 && !strcmp(argv[1], "errno")) errnos();
    if (argc > 1 && !strcmp(argv[1], "cost")) return cost(count);
    return 64;
}
