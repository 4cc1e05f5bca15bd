/* What a process was handed (CVE-2024-21626): each descriptor, the working directory, and whether a file that exists on
 * the host only can be reached from them.
 *
 *   handles CANARY
 *
 * Needs no /proc. One line each: "fd N TYPE", "cwd PATH", "host WHERE". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens the canary from this directory and from every directory above it. */
static int reaches_host(int dir, const char *canary)
{
    int at = dup(dir), found = -1;
    for (int depth = 0; at >= 0 && found < 0 && depth < 64; depth++) {
        found = openat(at, canary + 1, O_PATH | O_NOFOLLOW);
        int up = openat(at, "..", O_PATH | O_DIRECTORY);
        close(at);
        at = up;
    }
    close(at);
    close(found);
    return found >= 0;
}

int main(int argc, char **argv)
{
    char cwd[PATH_MAX];
    if (argc < 2)
        return 2;
    for (int fd = 0; fd < 65536; fd++) {
        struct stat st;
        if (fcntl(fd, F_GETFD) < 0 || fstat(fd, &st))
            continue;
        printf("fd %d %s\n", fd,
               S_ISDIR(st.st_mode) ? "dir" : S_ISREG(st.st_mode) ? "file" : S_ISCHR(st.st_mode) ? "char" :
               S_ISFIFO(st.st_mode) ? "pipe" : S_ISSOCK(st.st_mode) ? "socket" : "other");
        if (S_ISDIR(st.st_mode) && reaches_host(fd, argv[1]))
            printf("host fd %d\n", fd);
    }
    printf("cwd %s\n", getcwd(cwd, sizeof cwd) ? cwd : strerrorname_np(errno));
    int here = open(".", O_PATH | O_DIRECTORY);
    if (here >= 0 && reaches_host(here, argv[1]))
        printf("host cwd\n");
    return 0;
}
