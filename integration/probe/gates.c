/* System calls by the gates of other programs, each in a process of its own, all arguments 0: GATE:NUMBER, where the gate is i386
 * (int 0x80) or x32 (bit 30 of the number). Prints "GATE:NUMBER: RESULT", first for getpid by the usual gate. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long pass(const char *word)
{
    long number = atol(strchr(word, ':') + 1);
#ifdef __x86_64__
    if (!strncmp(word, "i386:", 5)) {
        long result;
        __asm__ volatile("int $0x80" : "=a"(result)
                         : "a"(number), "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L)
                         : "memory", "r8", "r9", "r10", "r11");
        errno = result < 0 ? (int)-result : 0;
        return result < 0 ? -1 : 0;
    }
    if (!strncmp(word, "x32:", 4))
        number |= 0x40000000;
#endif
    return syscall(number, 0L, 0L, 0L, 0L, 0L, 0L);
}

static void attempt(const char *word)
{
    printf("%s: ", word);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        errno = 0;
        _exit(pass(word) < 0 ? errno : 0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        printf("killed by %d\n", WTERMSIG(status));
    else
        puts(WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "ok");
}

int main(int argc, char **argv)
{
    attempt("x86_64:39");
    for (int i = 1; i < argc; i++)
        attempt(argv[i]);
    return 0;
}
