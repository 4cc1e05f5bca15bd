/* What conmon does with a console socket: take the terminal's master, print the message that came with it, then copy
 * standard input to the terminal and the terminal to standard output until the last writer is gone. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char body[4096], control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec part = {body, sizeof body - 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), master = -1;
    if (argc < 2 || strlen(argv[1]) >= sizeof address.sun_path)
        return 2;
    strcpy(address.sun_path, argv[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        return perror("bind"), 1;
    int peer = accept(listener, NULL, NULL);
    ssize_t length = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (length < 0 || !rights || rights->cmsg_type != SCM_RIGHTS)
        return fprintf(stderr, "no descriptor came\n"), 1;
    body[length] = 0;
    memcpy(&master, CMSG_DATA(rights), sizeof master);
    printf("received %zu descriptor, name %s\n", (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int), body);
    fflush(stdout);
    struct pollfd ends[2] = {{.fd = 0, .events = POLLIN}, {.fd = master, .events = POLLIN}};
    for (;;) {
        if (poll(ends, 2, -1) < 0)
            return 1;
        if (ends[0].revents) {
            ssize_t n = read(0, body, sizeof body);
            if (n <= 0)
                ends[0].fd = -1;
            else if (write(master, body, n) != n)
                return 1;
        }
        if (ends[1].revents) {
            ssize_t n = read(master, body, sizeof body); /* EIO once nobody has the other side */
            if (n <= 0)
                return 0;
            if (write(1, body, n) != n)
                return 1;
        }
    }
}
