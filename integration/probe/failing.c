/* Runs a program and makes one system call of it, or of what it starts, fail, or kills the caller there. Root only.
 *
 *   failing count PROGRAM ARGS                 runs it, and prints how many calls there were, and each one's number
 *   failing N ERRNO|kill PROGRAM ARGS          the Nth call of all processes together returns -ERRNO, and is not made;
 *                                           or its process is killed by SIGKILL instead
 *
 * What the sandboxed program does is not counted: from its exec on (of a file whose name ends in "/fences"), it is let go. Where
 * to look is told on descriptor 9: "CALL number pid name(arguments)" for the call that was hit, "HIT nothing" when it never came. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 1 << 16 };
static char entered[1 << 22];   /* by pid: in a call */
static char forced[1 << 22];    /* by pid: the error that its call has to return */

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int counting = !strcmp(argv[1], "count");
    long nth = counting ? -1 : atol(argv[1]);
    int killing = !strcmp(argv[2], "kill"), error = atoi(argv[2]);
    char **program = argv + (counting ? 2 : 3);
    pid_t first = fork();
    if (!first) {
        close(9);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(program[0], program);
        _exit(99);
    }
    int status, ended = 0, begun = 0;
    long count = 0;
    waitpid(first, &status, 0);
    ptrace(PTRACE_SETOPTIONS, first, 0,
           PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
               PTRACE_O_EXITKILL);
    ptrace(PTRACE_SYSCALL, first, 0, 0);
    while (1) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0)
            break;
        if (!WIFSTOPPED(status)) {
            entered[pid] = forced[pid] = 0;
            if (pid == first)
                ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (signal == (SIGTRAP | 0x80)) {
            struct user_regs_struct regs;
            struct iovec vector = {&regs, sizeof regs};
            if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &vector) < 0) {
                ptrace(PTRACE_SYSCALL, pid, 0, 0);
                continue;
            }
            entered[pid] = !entered[pid];
            if (entered[pid] && begun) {
                if (counting)
                    dprintf(9, "%lld\n", regs.orig_rax);
                if (count++ == nth) {
                    char name[32] = "?", path[64];
                    snprintf(path, sizeof path, "/proc/%d/comm", pid);
                    FILE *comm = fopen(path, "r");
                    if (comm && fgets(name, sizeof name, comm))
                        name[strcspn(name, "\n")] = 0;
                    if (comm)
                        fclose(comm);
                    dprintf(9, "CALL %lld %s %s(%llx, %llx, %llx)\n", regs.orig_rax, pid == first ? "parent" : "other", name,
                            regs.rdi, regs.rsi, regs.rdx);
                    if (killing) {
                        kill(pid, SIGKILL);
                    } else {
                        if (regs.orig_rax != SYS_close) /* which closes, whatever it answers */
                            regs.orig_rax = SYS_getpid; /* a call that every filter lets through, and whose answer is replaced */
                        ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &vector);
                        forced[pid] = error;
                    }
                }
            } else if (!entered[pid] && forced[pid]) {
                regs.rax = -(long)(unsigned char)forced[pid];
                forced[pid] = 0;
                ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &vector);
            }
            ptrace(PTRACE_SYSCALL, pid, 0, 0);
        } else if (event == PTRACE_EVENT_EXEC) {
            char path[64], target[4096] = "";
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            ssize_t length = readlink(path, target, sizeof target - 1);
            const char *pent = "pent", *fence = "/fences";
            size_t end = length < 0 ? 0 : (size_t)length;
            if (end >= strlen(fence) && !strcmp(target + end - strlen(fence), fence)) {
                entered[pid] = 0;
                ptrace(PTRACE_DETACH, pid, 0, 0);
                continue;
            }
            /* The tools before it are not what is looked at. */
            if (strstr(target, pent))
                begun = 1;
            ptrace(PTRACE_SYSCALL, pid, 0, 0);
        } else if (event) {
            ptrace(PTRACE_SYSCALL, pid, 0, 0);
        } else {
            /* The stop of a new child is ptrace's own. */
            ptrace(PTRACE_SYSCALL, pid, 0, signal == SIGSTOP ? 0 : signal);
        }
    }
    if (counting)
        dprintf(9, "%ld\n", count);
    else if (count <= nth)
        dprintf(9, "HIT nothing\n");
    return ended;
}
