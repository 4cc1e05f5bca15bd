/* What reaches out of a container: one attempt for each word, and what the kernel answered. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int report(const char *what, long result)
{
    printf("%s: %s\n", what, result >= 0 ? "ok" : strerrorname_np(errno));
    return 0;
}

static long tcp(const char *word, const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return word[0] == 'b' ? bind(s, (void *)&at, sizeof at) : connect(s, (void *)&at, sizeof at);
}

static long abstract_socket(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(at.sun_path + 1, name, sizeof at.sun_path - 2);
    return connect(s, (void *)&at, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *word = argv[i], *value = argv[i + 1];
        char path[300];
        if (!strcmp(word, "bind") || !strcmp(word, "connect"))
            report(word, tcp(word, value));
        else if (!strcmp(word, "abstract"))
            report(word, abstract_socket(value));
        else if (!strcmp(word, "signal"))
            report(word, kill(atoi(value), 0));
        else if (!strcmp(word, "read"))
            report(word, openat(3, value, O_RDONLY | O_CLOEXEC));
        else if (!strcmp(word, "make"))
            report(word, openat(3, value, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        else if (!strcmp(word, "open"))
            report(word, open(value, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        else if (!strcmp(word, "command")) {
            struct winsize size;
            int fd = open(value, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
            report(word, fd < 0 ? fd : ioctl(fd, TIOCGWINSZ, &size));
        } else {
            snprintf(path, sizeof path, "unknown word %s", word);
            errno = EINVAL;
            report(path, -1);
        }
    }
    return 0;
}
