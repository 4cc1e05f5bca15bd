/* Opens each surface of the kernel once, with arguments that work where nothing stands in the way and change nothing that outlives the
 * container, each in a process of its own.
 *
 *   surface            prints "NAME: RESULT" for each system call
 *   surface devices    the same for device files, those that are there and those it makes itself
 *   surface sockets    prints "FAMILY TYPE PROTOCOL" for each kind of socket that it gets
 *   surface pairs      the same for pairs of sockets
 *
 * RESULT is "ok", the name of an error, or "killed". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SURFACE(name) static long name(void)

static char buffer[4096];

/* A process of the same user that waits. */
static pid_t other(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(10);
        for (;;)
            pause();
    }
    return pid;
}

static long ended(pid_t pid, long result)
{
    int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    errno = error;
    return result;
}

SURFACE(io_uring_setup) { return syscall(425, 1, buffer); }
SURFACE(io_uring_enter) { return syscall(426, -1, 0, 0, 0, 0, 0); }
SURFACE(io_uring_register) { return syscall(427, -1, 8, 0, 0); }
SURFACE(bpf_map)
{
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}
SURFACE(userfaultfd) { return syscall(SYS_userfaultfd, 1); }
SURFACE(perf_event_open)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .disabled = 1, .exclude_kernel = 1};
    return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}
SURFACE(keyctl) { return syscall(SYS_keyctl, 0, -1, 1); }
SURFACE(add_key) { return syscall(SYS_add_key, "user", "pent", "x", 1, -1); }
SURFACE(request_key) { return syscall(SYS_request_key, "user", "pent-there-is-none", 0, -1); }
SURFACE(mount_tmpfs) { return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0); }
SURFACE(mount_remount) { return syscall(SYS_mount, 0, "/", 0, 0x1020, 0); }
SURFACE(umount2) { return syscall(SYS_umount2, "/there-is-none", 0); }
SURFACE(pivot_root) { return syscall(SYS_pivot_root, "/there-is-none", "/"); }
SURFACE(chroot_) { return syscall(SYS_chroot, "/"); }
SURFACE(fsopen) { return syscall(430, "tmpfs", 0); }
SURFACE(fspick) { return syscall(433, AT_FDCWD, "/", 0); }
SURFACE(fsconfig) { return syscall(431, -1, 99, 0, 0, 0); }
SURFACE(fsmount) { return syscall(432, -1, 0, 0); }
SURFACE(open_tree) { return syscall(428, AT_FDCWD, "/", 1); }
SURFACE(move_mount) { return syscall(429, -1, "", AT_FDCWD, "/there-is-none", 0); }
SURFACE(mount_setattr)
{
    uint64_t attr[4] = {0, 1, 0, 0};
    return syscall(442, AT_FDCWD, "/", 0, attr, sizeof attr);
}
SURFACE(open_tree_attr) { return syscall(467, AT_FDCWD, "/", 1, 0, 0); }
SURFACE(clone3_user)
{
    uint64_t args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    long pid = syscall(435, args, sizeof args);
    if (pid == 0)
        _exit(0);
    return pid;
}
SURFACE(clone3_plain)
{
    uint64_t args[8] = {0, 0, 0, 0, SIGCHLD};
    long pid = syscall(435, args, sizeof args);
    if (pid == 0)
        _exit(0);
    return pid;
}
SURFACE(setns_file) { return syscall(SYS_setns, open("/proc/self/ns/uts", O_RDONLY), 0); }
SURFACE(setns_pidfd) { return syscall(SYS_setns, syscall(434, getpid(), 0), CLONE_NEWUTS); }
SURFACE(ptrace_me) { return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0); }
SURFACE(ptrace_other)
{
    pid_t pid = other();
    return ended(pid, syscall(SYS_ptrace, PTRACE_SEIZE, pid, 0, 0));
}
SURFACE(process_vm_readv_)
{
    pid_t pid = other();
    struct iovec here = {buffer, 8}, there = {buffer + 8, 8};
    return ended(pid, syscall(SYS_process_vm_readv, pid, &here, 1, &there, 1, 0));
}
SURFACE(process_vm_writev_)
{
    pid_t pid = other();
    struct iovec here = {buffer, 8}, there = {buffer + 8, 8};
    return ended(pid, syscall(SYS_process_vm_writev, pid, &here, 1, &there, 1, 0));
}
SURFACE(pidfd_getfd)
{
    pid_t pid = other();
    return ended(pid, syscall(438, syscall(434, pid, 0), 1, 0));
}
SURFACE(kcmp) { return syscall(SYS_kcmp, getpid(), getpid(), 1, 0, 0); }
SURFACE(process_madvise_) { return syscall(440, -1, 0, 0, 20, 0); }
SURFACE(kexec_load) { return syscall(SYS_kexec_load, 0, 99, 0, 0); }
#ifdef SYS_kexec_file_load
SURFACE(kexec_file_load) { return syscall(SYS_kexec_file_load, -1, -1, 0, 0, 0); }
#endif
SURFACE(init_module) { return syscall(SYS_init_module, 0, 0, 0); }
SURFACE(finit_module) { return syscall(SYS_finit_module, -1, 0, 0); }
SURFACE(delete_module) { return syscall(SYS_delete_module, "pent_there_is_none", O_NONBLOCK); }
static struct { unsigned bytes; int type; char data[128]; } handle = {8, 1, {2}};
SURFACE(name_to_handle_at_)
{
    int mount;
    handle.bytes = 128;
    return syscall(SYS_name_to_handle_at, AT_FDCWD, "/tmp", &handle, &mount, 0);
}
SURFACE(open_by_handle_at_) { return syscall(SYS_open_by_handle_at, open("/", O_RDONLY), &handle, O_RDONLY); }
SURFACE(quotactl) { return syscall(SYS_quotactl, 0x80000100, 0, 0, 0); }
SURFACE(quotactl_fd) { return syscall(443, -1, 0x80000100, 0, 0); }
SURFACE(acct_) { return syscall(SYS_acct, 1); }
SURFACE(swapon) { return syscall(SYS_swapon, "/there-is-none", 0); }
SURFACE(swapoff) { return syscall(SYS_swapoff, "/there-is-none"); }
SURFACE(reboot_) { return syscall(SYS_reboot, 0, 0, 0, 0); }
SURFACE(syslog_size) { return syscall(SYS_syslog, 10, 0, 0); }
SURFACE(clock_settime_) { return syscall(SYS_clock_settime, 0, 1); }
SURFACE(settimeofday_) { return syscall(SYS_settimeofday, 1, 0); }
SURFACE(adjtimex_) { return syscall(SYS_adjtimex, buffer); }
SURFACE(sethostname_) { return syscall(SYS_sethostname, "x", 1); }
SURFACE(setdomainname_) { return syscall(SYS_setdomainname, "x", 1); }
SURFACE(personality_aslr) { return syscall(SYS_personality, 0x0040000); }
SURFACE(personality_read_implies_exec) { return syscall(SYS_personality, 0x0400000); }
SURFACE(fanotify_init) { return syscall(SYS_fanotify_init, 0, O_RDONLY); }
SURFACE(mq_open_) { return syscall(SYS_mq_open, "pent", O_RDWR | O_CREAT, 0600, 0); }
SURFACE(msgget) { return syscall(SYS_msgget, 0, 01600); }
SURFACE(semget) { return syscall(SYS_semget, 0, 1, 01600); }
SURFACE(shmget) { return syscall(SYS_shmget, 0, 4096, 01600); }
SURFACE(io_setup)
{
    unsigned long context = 0;
    return syscall(SYS_io_setup, 1, &context);
}
SURFACE(vmsplice_)
{
    int ends[2];
    struct iovec page = {buffer, 8};
    return pipe(ends) ? -1 : syscall(SYS_vmsplice, ends[1], &page, 1, 0);
}
SURFACE(splice_)
{
    int ends[2];
    return pipe(ends) ? -1 : syscall(SYS_splice, open("/proc/self/exe", O_RDONLY), 0, ends[1], 0, 8, 0);
}
SURFACE(tee_)
{
    int from[2], to[2];
    return pipe(from) || pipe(to) || write(from[1], "x", 1) != 1 ? -1 : syscall(SYS_tee, from[0], to[1], 1, 0);
}
SURFACE(memfd_secret) { return syscall(447, 0); }
SURFACE(get_mempolicy) { return syscall(SYS_get_mempolicy, 0, 0, 0, 0, 0); }
SURFACE(set_mempolicy) { return syscall(SYS_set_mempolicy, 0, 0, 0); }
SURFACE(mbind) { return syscall(SYS_mbind, 0, 0, 0, 0, 0, 0); }
SURFACE(migrate_pages) { return syscall(SYS_migrate_pages, 0, 64, buffer, buffer); }
SURFACE(move_pages) { return syscall(SYS_move_pages, 0, 0, 0, 0, 0, 0); }
SURFACE(remap_file_pages_) { return syscall(SYS_remap_file_pages, 0, 0, 0, 0, 0); }
/* Not what anybody here is already, and CAP_CHOWN. */
SURFACE(setuid_) { return syscall(SYS_setuid, 1); }
SURFACE(setresuid_) { return syscall(SYS_setresuid, 1, 1, 1); }
SURFACE(setgid_) { return syscall(SYS_setgid, 1); }
SURFACE(setgroups_) { return syscall(SYS_setgroups, 0, 0); }
SURFACE(setfsuid_)
{
    syscall(SYS_setfsuid, 0);
    return errno ? -1 : 0;
}
SURFACE(capset)
{
    uint32_t header[2] = {0x20080522, 0}, sets[6] = {1, 1, 0};
    return syscall(SYS_capset, header, sets);
}
SURFACE(chown_) { return syscall(SYS_fchownat, AT_FDCWD, "/tmp", -1, -1, 0); }
SURFACE(setxattr_) { return syscall(SYS_setxattr, "/tmp", "user.pent", "x", 1, 0); }
#ifdef __x86_64__
SURFACE(iopl_) { return syscall(SYS_iopl, 0); }
SURFACE(ioperm_) { return syscall(SYS_ioperm, 0, 1, 0); }
SURFACE(modify_ldt_) { return syscall(SYS_modify_ldt, 0, buffer, 16); }
SURFACE(uselib_) { return syscall(SYS_uselib, "/there-is-none"); }
SURFACE(ustat_) { return syscall(SYS_ustat, 0, buffer); }
SURFACE(sysfs_) { return syscall(SYS_sysfs, 3); }
#endif

#define NAMED(function) {#function, function}
static const struct { const char *name; long (*open)(void); } surfaces[] = {
    NAMED(io_uring_setup), NAMED(io_uring_enter), NAMED(io_uring_register), NAMED(bpf_map), NAMED(userfaultfd),
    NAMED(perf_event_open), NAMED(keyctl), NAMED(add_key), NAMED(request_key), NAMED(mount_tmpfs), NAMED(mount_remount),
    NAMED(umount2), NAMED(pivot_root), NAMED(chroot_), NAMED(fsopen), NAMED(fspick), NAMED(fsconfig), NAMED(fsmount),
    NAMED(open_tree), NAMED(move_mount), NAMED(mount_setattr), NAMED(open_tree_attr), NAMED(clone3_user),
    NAMED(clone3_plain), NAMED(setns_file), NAMED(setns_pidfd), NAMED(ptrace_me), NAMED(ptrace_other),
    NAMED(process_vm_readv_), NAMED(process_vm_writev_), NAMED(pidfd_getfd), NAMED(kcmp), NAMED(process_madvise_),
    NAMED(kexec_load), NAMED(init_module), NAMED(finit_module), NAMED(delete_module), NAMED(name_to_handle_at_),
    NAMED(open_by_handle_at_), NAMED(quotactl), NAMED(quotactl_fd), NAMED(acct_), NAMED(swapon), NAMED(swapoff),
    NAMED(reboot_), NAMED(syslog_size), NAMED(clock_settime_), NAMED(settimeofday_), NAMED(adjtimex_),
    NAMED(sethostname_), NAMED(setdomainname_), NAMED(personality_aslr), NAMED(personality_read_implies_exec),
    NAMED(fanotify_init), NAMED(mq_open_), NAMED(msgget), NAMED(semget), NAMED(shmget), NAMED(io_setup),
    NAMED(vmsplice_), NAMED(splice_), NAMED(tee_), NAMED(memfd_secret), NAMED(get_mempolicy), NAMED(set_mempolicy),
    NAMED(mbind), NAMED(migrate_pages), NAMED(move_pages), NAMED(remap_file_pages_), NAMED(setuid_),
    NAMED(setresuid_), NAMED(setgid_), NAMED(setgroups_), NAMED(setfsuid_), NAMED(capset), NAMED(chown_),
    NAMED(setxattr_),
#ifdef SYS_kexec_file_load
    NAMED(kexec_file_load),
#endif
#ifdef __x86_64__
    NAMED(iopl_), NAMED(ioperm_), NAMED(modify_ldt_), NAMED(uselib_), NAMED(ustat_), NAMED(sysfs_),
#endif
};

static const struct { const char *name; unsigned flag; } namespaces[] = {
    {"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"network", CLONE_NEWNET}, {"pid", CLONE_NEWPID},
    {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80},
};

static void report(const char *name, long (*open)(void))
{
    int result[2];
    printf("%s: ", name);
    fflush(stdout);
    if (pipe2(result, O_CLOEXEC))
        exit(98);
    pid_t pid = fork();
    if (pid == 0) {
        errno = 0;
        int error = open() < 0 ? errno : 0;
        _exit(write(result[1], &error, sizeof error) < 0);
    }
    int status, error;
    close(result[1]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        puts("killed");
    else if (read(result[0], &error, sizeof error) != sizeof error)
        puts("nothing");
    else
        puts(error == 0 ? "ok" : strerrorname_np(error) ? strerrorname_np(error) : "unknown");
    close(result[0]);
    fflush(stdout);
}

static unsigned flag;
SURFACE(unshared) { return syscall(SYS_unshare, flag); }
SURFACE(cloned)
{
    long pid = syscall(SYS_clone, flag | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid;
}

static const struct { const char *path; unsigned major, minor; } files[] = {
    {"/dev/fuse", 10, 229}, {"/dev/kvm", 10, 232}, {"/dev/net/tun", 10, 200}, {"/dev/mem", 1, 1}, {"/dev/kmsg", 1, 11},
    {"/dev/port", 1, 4}, {"/dev/vsock", 10, 241}, {"/dev/vhost-net", 10, 238}, {"/dev/userfaultfd", 10, 126},
    {"/dev/loop-control", 10, 237}, {"/dev/loop0", 7, 0}, {"/dev/tty0", 4, 0}, {"/dev/mapper/control", 10, 236},
    {"/dev/cuse", 10, 203}, {"/dev/ptp0", 250, 0}, {"/dev/uinput", 10, 223}, {"/dev/snapshot", 10, 231},
};
static unsigned device;
SURFACE(opened) { return open(files[device].path, O_RDONLY | O_NONBLOCK | O_NOCTTY); }
SURFACE(made)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/device-%u", device);
    mknod(path, S_IFCHR | 0666, makedev(files[device].major, files[device].minor));
    return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

/* Those that have had sockets of their own: the kernel runs modprobe for each one that it does not know. */
static const int internet[] = {0, 1, 2, 4, 6, 17, 33, 41, 47, 50, 51, 58, 89, 103, 108, 115, 132, 136, 255, 262};

static int protocols(int family)
{
    int known = sizeof internet / sizeof *internet;
    return family == AF_INET || family == AF_INET6 ? known : family == AF_NETLINK ? 32 : 4;
}

static void sockets(int family, int pairs)
{
    for (int type = 1; type <= 10; type += type == 6 ? 4 : 1)
        for (int i = 0; i < protocols(family); i++) {
            int protocol = family == AF_INET || family == AF_INET6 ? internet[i] : i;
            int pair[2] = {-1, -1};
            int fd = pairs ? socketpair(family, type, protocol, pair) : socket(family, type, protocol);
            if (fd < 0 && errno == EAFNOSUPPORT)
                return;
            if (fd >= 0)
                printf("%d %d %d\n", family, type, protocol);
            if (!pairs)
                close(fd);
            close(pair[0]);
            close(pair[1]);
        }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    char name[64];
    if (!strcmp(what, "sockets") || !strcmp(what, "pairs")) {
        for (int family = 0; family < 64; family++)
            sockets(family, *what == 'p');
        return 0;
    }
    if (!strcmp(what, "devices")) {
        for (device = 0; device < sizeof files / sizeof *files; device++) {
            report(files[device].path, opened);
            snprintf(name, sizeof name, "device %u:%u", files[device].major, files[device].minor);
            report(name, made);
        }
        return 0;
    }
    for (size_t i = 0; i < sizeof surfaces / sizeof *surfaces; i++)
        report(surfaces[i].name, surfaces[i].open);
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
        flag = namespaces[i].flag;
        snprintf(name, sizeof name, "unshare %s", namespaces[i].name);
        report(name, unshared);
        if (flag & 0xff) /* CLONE_NEWTIME is a part of clone's signal */
            continue;
        snprintf(name, sizeof name, "clone %s", namespaces[i].name);
        report(name, cloned);
    }
    return 0;
}
