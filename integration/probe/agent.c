/* A seccomp agent: agent SOCKET [CONNECTIONS]. For each connection it prints the message, a line, and answers the notifications of
 * the listener that came along: chmod and fchmodat fail with ENOMEDIUM, mkdir and mkdirat succeed without doing anything, everything else
 * goes on. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void answer(int listener, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it ended before */
        _exit(1);
    for (;;) {
        struct seccomp_notif call = {0};
        struct seccomp_notif_resp say = {0};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
            _exit(errno != ENOENT);
        say.id = call.id;
        switch (call.data.nr) {
#ifdef SYS_mkdir
        case SYS_mkdir:
#endif
        case SYS_mkdirat:
            break;
#ifdef SYS_chmod
        case SYS_chmod:
#endif
        case SYS_fchmodat:
            say.error = -ENOMEDIUM;
            break;
        default:
            say.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        }
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &say);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int left = argc > 2 ? atoi(argv[2]) : 1, s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (argc < 2)
        return 2;
    strncpy(at.sun_path, argv[1], sizeof at.sun_path - 1);
    if (bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 8))
        return perror("listen"), 1;
    for (; left > 0; left--) {
        static char text[1 << 20];
        char space[CMSG_SPACE(4 * sizeof(int))];
        struct iovec part = {text, sizeof text - 1};
        struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
        int c = accept(s, NULL, NULL), fd;
        pid_t self = getpid();
        ssize_t n = recvmsg(c, &m, MSG_CMSG_CLOEXEC), more;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        if (n <= 0 || !h || h->cmsg_type != SCM_RIGHTS || h->cmsg_len != CMSG_LEN(sizeof(int)))
            return puts("not one descriptor"), 1;
        memcpy(&fd, CMSG_DATA(h), sizeof fd);
        if (fork() == 0)
            answer(fd, self);
        close(fd);
        while ((more = read(c, text + n, sizeof text - 1 - n)) > 0) /* to its end: runc's comes when it exits */
            n += more;
        text[n] = 0;
        puts(text);
        fflush(stdout);
        close(c);
    }
    return 0;
}
