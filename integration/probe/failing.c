/* Runs programs and makes one system call of them, or of what they start, fail, or kills the caller there. Root only.
 *
 *   failing count PROGRAM ARGS [, PROGRAM ARGS]…         runs it, and prints how many calls there were, and each one's number
 *   failing N ERRNO|kill PROGRAM ARGS [, PROGRAM ARGS]…  the Nth call of all processes together returns -ERRNO, and is not made;
 *                                                     or its process is killed by SIGKILL instead
 *   failing NUMBER=NAME …                             the same of the first call with this number, of a process other than the
 *                                                     program's own whose name begins so
 *
 * A program that fails is the last. What the program in the sandbox or container does is not counted: from its exec on (of a file
 * whose name ends in "/fences"), it is let go. Where to look is told on descriptor 9: "CALL number pid name(arguments)" for the call
 * that was hit, "HIT nothing" when it never came. What takes longer than PATIENCE is killed, all of it, and "HUNG" is said; what is
 * left a moment after the last program has ended is let go. */
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
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE = 30 /* seconds */, MOMENT = 300 /* milliseconds */, PIDS = 1 << 22 };
static char entered[1 << 22];   /* by pid: in a call */
static char forced[1 << 22];    /* by pid: the error that its call has to return */
static char traced[1 << 22];    /* by pid: it has been seen, and has not ended */
static volatile sig_atomic_t expired;

static void expire(int signal)
{
    (void)signal;
    expired = 1;
}

static void patience(long milliseconds)
{
    struct itimerval timer = {{0, 100000}, {milliseconds / 1000, milliseconds % 1000 * 1000}};
    expired = 0;
    setitimer(ITIMER_REAL, &timer, 0);
}

static const char *name_of(pid_t pid)
{
    static char name[32];
    char path[64];
    strcpy(name, "?");
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *comm = fopen(path, "r");
    if (comm && fgets(name, sizeof name, comm))
        name[strcspn(name, "\n")] = 0;
    if (comm)
        fclose(comm);
    return name;
}

/* The next program, traced, up to its first call; what follows it is cut off. */
static pid_t begin(char **program, char ***next)
{
    int status;
    *next = 0;
    for (char **word = program; *word; word++)
        if (!strcmp(*word, ",")) {
            *word = 0;
            *next = word + 1;
            break;
        }
    pid_t pid = fork();
    if (!pid) {
        close(9);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(program[0], program);
        _exit(99);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    ptrace(PTRACE_SETOPTIONS, pid, 0,
           PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC);
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
    return pid;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int counting = !strcmp(argv[1], "count");
    long nth = counting ? -1 : atol(argv[1]), hits = 0;
    const char *of = counting ? 0 : strchr(argv[1], '=');
    int killing = !strcmp(argv[2], "kill"), error = atoi(argv[2]);
    char **program = argv + (counting ? 2 : 3);
    struct sigaction action = {.sa_handler = expire};
    sigaction(SIGALRM, &action, 0);
    patience(PATIENCE * 1000L);
    int status, ended = 0, begun = 0, hung = 0;
    long count = 0;
    pid_t first = begin(program, &program);
    while (1) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (expired) {
            if (!first || hung)
                break;
            hung = 1;
            dprintf(9, "HUNG\n");
            for (int each = 1; each < PIDS; each++)
                if (traced[each])
                    kill(each, SIGKILL);
            patience(5000);
        }
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            break;
        traced[pid] = WIFSTOPPED(status);
        if (!WIFSTOPPED(status)) {
            entered[pid] = forced[pid] = 0;
            if (pid == first) {
                ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                begun = 0;
                first = !ended && program && !hung ? begin(program, &program) : 0;
                if (!first)
                    patience(MOMENT);
            }
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
                int meant = of ? !hits && (long)regs.orig_rax == nth && pid != first && !strncmp(name_of(pid), of + 1, strlen(of + 1))
                               : count == nth;
                count++;
                if (meant) {
                    hits++;
                    dprintf(9, "CALL %lld %s %s(%llx, %llx, %llx)\n", regs.orig_rax, pid == first ? "parent" : "other", name_of(pid),
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
                entered[pid] = traced[pid] = 0;
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
    else if (of ? !hits : count <= nth)
        dprintf(9, "HIT nothing\n");
    return ended;
}
