/* What holds a sandboxed program, as it can see itself, in one write: the same in every run unless something is missing.
 *
 *   fences HOST-NAMESPACES… ("mnt:[4026531840]" and so on)       MARK (a file that must not be there) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 16];
static size_t length;
#define SAY(...) (length += snprintf(text + length, sizeof text - length, __VA_ARGS__))

static void lines(const char *path, const char *const *names)
{
    char line[4096];
    FILE *file = fopen(path, "r");
    if (!file)
        SAY("%s: %s\n", path, strerrorname_np(errno));
    while (file && fgets(line, sizeof line, file))
        for (int i = 0; !names || names[i]; i++)
            if (!names || !strncmp(line, names[i], strlen(names[i]))) {
                SAY("%s", line);
                break;
            }
    if (file)
        fclose(file);
}

static const char *attempt(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0)
        return strerrorname_np(errno);
    char byte;
    int empty = (flags & O_ACCMODE) == O_RDONLY && read(fd, &byte, 1) <= 0;
    close(fd);
    return empty ? "empty" : "ok";
}

int main(int argc, char **argv)
{
    static const char *const status[] = {"Uid", "Gid", "Groups", "NSpid", "SigBlk", "SigIgn", "Cap", "NoNewPrivs",
                                         "Seccomp", 0};
    lines("/proc/self/status", status);
    lines("/proc/self/uid_map", 0);
    lines("/proc/self/gid_map", 0);
    lines("/proc/self/setgroups", 0);
    lines("/proc/self/cgroup", 0);
    for (int i = 0; i < RLIMIT_NLIMITS; i++) {
        struct rlimit limit;
        getrlimit(i, &limit);
        SAY("limit %d %llu %llu\n", i, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
    }
    char line[4096], *field[16];
    FILE *mounts = fopen("/proc/self/mountinfo", "r");
    while (mounts && fgets(line, sizeof line, mounts)) {
        int count = 0;
        char *rest = line;
        while (count < 6 && (field[count] = strsep(&rest, " ")))
            count++;
        /* What is covered by other mounts is no matter; the host makes such at any time. */
        struct statx found;
        if (statx(AT_FDCWD, field[4], AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &found) ||
            found.stx_mnt_id != strtoull(field[0], 0, 10))
            continue;
        char *kind = rest ? strstr(rest, "- ") : 0;
        /* What is shared with whom is in the numbers of peers, which differ. */
        SAY("mount %s %s %s %.12s\n", field[4], field[5], rest && !strncmp(rest, "- ", 2) ? "private" : "peers", kind ? kind : "");
    }
    lines("/proc/net/route", 0);
    static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64], name[64] = "";
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        int same = readlink(path, name, sizeof name - 1) < 0;
        for (int j = 1; j < argc; j++)
            same |= !strcmp(name, argv[j]);
        SAY("namespace %s: %s\n", names[i], same ? "the host's" : "own");
    }
    struct utsname uts;
    uname(&uts);
    SAY("host %s, umask %o, dumpable %d\n", uts.nodename, umask(0), prctl(PR_GET_DUMPABLE));
    const char *home = getenv("HOME");
    const char *places[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/etc/shadow", "/proc/sysrq-trigger", "/sys/kernel"};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
        SAY("read %s: %s\n", places[i], attempt(places[i], O_RDONLY));
    snprintf(line, sizeof line, "%s/.ssh/id_ed25519", home ? home : "");
    SAY("read a key: %s\n", attempt(line, O_RDONLY));
    const char *written[] = {"/proc/sys/kernel/domainname", "/new", "/etc/new", "/tmp/new", "/dev/new", "/sys/new", "/proc/self/oom_score_adj"};
    for (unsigned i = 0; i < sizeof written / sizeof *written; i++)
        SAY("write %s: %s\n", written[i], attempt(written[i], O_WRONLY | (strstr(written[i], "new") ? O_CREAT : 0)));
    snprintf(line, sizeof line, "%s/new", home ? home : "");
    SAY("write in the home: %s\n", attempt(line, O_WRONLY | O_CREAT));
    int families[] = {AF_INET, AF_UNIX, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK};
    for (unsigned i = 0; i < sizeof families / sizeof *families; i++) {
        int s = socket(families[i], SOCK_DGRAM, 0);
        SAY("socket %d: %s\n", families[i], s < 0 ? strerrorname_np(errno) : "ok");
        close(s);
    }
    SAY("unshare: %s\n", syscall(SYS_unshare, 0x10000000) ? strerrorname_np(errno) : "ok");
    SAY("mount: %s\n", syscall(SYS_mount, "x", "/tmp", "tmpfs", 0, 0) ? strerrorname_np(errno) : "ok");
    SAY("bpf: %s\n", syscall(SYS_bpf, 0, 0, 0) ? strerrorname_np(errno) : "ok");
    SAY("ptrace: %s\n", syscall(SYS_ptrace, 0x4206, 1, 0, 0) ? strerrorname_np(errno) : "ok");
    for (int fd = 3; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            SAY("descriptor %d is open\n", fd);
    int forks = 0;
    pid_t forked[40];
    for (; forks < 40 && (forked[forks] = fork()) >= 0; forks++)
        if (!forked[forks]) {
            pause();
            _exit(0);
        }
    /* They go with the pid namespace, if that is this program's own. */
    for (int i = 0; i < forks; i++)
        kill(forked[i], SIGKILL);
    while (wait(0) > 0)
        ;
    SAY("forks below 17: %s\n", forks < 17 ? "yes" : "no");
    signal(SIGTERM, SIG_IGN);
    SAY("end\n");
    return write(1, text, length) != (ssize_t)length;
}
