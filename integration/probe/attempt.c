/* Attempts what each argument names, one after the other, each in a process of its own, and prints `NAME RESULT`: `ok`, the name of
 * an error (or its number), or `killed`. Nothing here changes anything that outlives the container. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static long call(long nr, long a, long b, long c, long d, long e) { return syscall(nr, a, b, c, d, e, 0L); }

static char buffer[4096];

/* capset(2): nothing, and CAP_SYS_ADMIN. */
static struct { uint32_t version; int pid; } caps = { 0x20080522, 0 };
static uint32_t none[6], admin[6] = { 1 << 21, 1 << 21, 0, 0, 0, 0 };

/* A call with arguments that cannot do anything where it is allowed: results like EFAULT or EINVAL then mean that it was. */
static const struct plain { const char *name; long nr, a, b, c, d, e; } plain[] = {
	{ "mount", SYS_mount, 0, 0, 0, 0, 0 },
	{ "umount", SYS_umount2, 0, 0, 0, 0, 0 },
	{ "pivot_root", SYS_pivot_root, 0, 0, 0, 0, 0 },
	{ "chroot", SYS_chroot, 0, 0, 0, 0, 0 },
	{ "open_tree", 428, -1, 0, 0, 0, 0 },
	{ "move_mount", 429, -1, 0, -1, 0, 0 },
	{ "fsopen", 430, 0, 0, 0, 0, 0 },
	{ "mount_setattr", 442, -1, 0, 0, 0, 0 },
	{ "unshare:user", SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0 },
	{ "setns", SYS_setns, -1, 0, 0, 0, 0 },
	{ "clone3", 435, 0, 0, 0, 0, 0 },
	{ "ptrace", SYS_ptrace, 0, 0, 0, 0, 0 },
	{ "process_vm_readv", SYS_process_vm_readv, 1, 0, 0, 0, 0 },
	{ "pidfd_getfd", 438, -1, 0, 0, 0, 0 },
	{ "kcmp", SYS_kcmp, 1, 1, 99, 0, 0 },
	{ "io_uring_setup", 425, 0, 0, 0, 0, 0 },
	{ "bpf", SYS_bpf, 99, 0, 0, 0, 0 },
	{ "perf_event_open", SYS_perf_event_open, 0, 0, 0, -1, 0 },
	{ "userfaultfd", SYS_userfaultfd, 99, 0, 0, 0, 0 },
	{ "keyctl", SYS_keyctl, 99, 0, 0, 0, 0 },
	{ "add_key", SYS_add_key, 0, 0, 0, 0, 0 },
	{ "kexec_load", SYS_kexec_load, 0, 99, 0, 0, 0 },
	{ "init_module", SYS_init_module, 0, 0, 0, 0, 0 },
	{ "clock_settime", SYS_clock_settime, 99, 0, 0, 0, 0 },
	{ "adjtimex", SYS_adjtimex, 0, 0, 0, 0, 0 },
	{ "swapon", SYS_swapon, 0, 0, 0, 0, 0 },
	{ "reboot", SYS_reboot, 0, 0, 0, 0, 0 },
	{ "syslog", SYS_syslog, 99, 0, 0, 0, 0 },
	{ "acct", SYS_acct, 1, 0, 0, 0, 0 },
	{ "quotactl", SYS_quotactl, 0, 0, 0, 0, 0 },
	{ "open_by_handle_at", SYS_open_by_handle_at, -1, 0, 0, 0, 0 },
	{ "name_to_handle_at", SYS_name_to_handle_at, -1, 0, 0, 0, 0 },
	{ "fanotify_init", SYS_fanotify_init, -1, 0, 0, 0, 0 },
	{ "modify_ldt", 154, 99, 0, 0, 0, 0 },
	{ "personality:aslr", SYS_personality, 0x0040000, 0, 0, 0, 0 },
	{ "personality:ask", SYS_personality, 0xffffffff, 0, 0, 0, 0 },
	{ "msgget", SYS_msgget, 0, 01600, 0, 0, 0 },
	{ "semget", SYS_semget, 0, 1, 01600, 0, 0 },
	{ "shmget", SYS_shmget, 0, 4096, 01600, 0, 0 },
	{ "mq_open", SYS_mq_open, 0, 0, 0, 0, 0 },
	{ "io_setup", SYS_io_setup, 0, 0, 0, 0, 0 },
	{ "vmsplice", SYS_vmsplice, -1, 0, 0, 0, 0 },
	{ "splice", SYS_splice, -1, 0, -1, 0, 1 },
	{ "mknod", SYS_mknodat, -1, (long)"x", 0, 0, 0 },
	{ "mknod:device", SYS_mknodat, -1, (long)"x", S_IFCHR, 0, 0 },
	{ "mknod:fifo", SYS_mknodat, -1, (long)"x", S_IFIFO, 0, 0 },
	{ "setuid", SYS_setuid, 0, 0, 0, 0, 0 },
	{ "setuid:same", SYS_setresuid, -1, -1, -1, 0, 0 },
	{ "setgroups", SYS_setgroups, 99999999, 0, 0, 0, 0 },
	{ "capset", SYS_capset, (long)&caps, (long)admin, 0, 0, 0 },
	{ "capset:none", SYS_capset, (long)&caps, (long)none, 0, 0, 0 },
	{ "chown", SYS_fchownat, -1, (long)"x", 0, 0, 0 },
	{ "setxattr", SYS_setxattr, 0, 0, 0, 0, 0 },
	{ "memfd_secret", 447, -1, 0, 0, 0, 0 },
	{ "inotify", SYS_inotify_init1, 0, 0, 0, 0, 0 },
	{ "future", 9999, 0, 0, 0, 0, 0 },
	{ "socket:unix", SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0 },
	{ "socket:inet", SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0 },
	{ "socket:inet6", SYS_socket, AF_INET6, SOCK_STREAM, 0, 0, 0 },
	{ "socket:raw", SYS_socket, AF_INET, SOCK_RAW, 1, 0, 0 },
	{ "socket:mptcp", SYS_socket, AF_INET, SOCK_STREAM, 262, 0, 0 },
	{ "socket:mptcp6", SYS_socket, AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 262, 0, 0 },
	{ "socket:sctp", SYS_socket, AF_INET, SOCK_STREAM, 132, 0, 0 },
	{ "socket:sctp-default", SYS_socket, AF_INET, SOCK_SEQPACKET, 0, 0, 0 },
	{ "socket:dccp", SYS_socket, AF_INET, 6, 33, 0, 0 },
	{ "socket:udplite", SYS_socket, AF_INET, SOCK_DGRAM, 136, 0, 0 },
	{ "socket:smc-inet", SYS_socket, AF_INET, SOCK_STREAM, 256, 0, 0 },
	{ "socket:smc", SYS_socket, 43, SOCK_STREAM, 0, 0, 0 },
	{ "fastopen", SYS_sendto, -1, 0, 0, 0x20000000, 0 },
	{ "statmount", 457, 0, 0, 0, 0, 0 },
	{ "listmount", 458, 0, 0, 0, 0, 0 },
	{ "lsm_get_self_attr", 459, 0, 0, 0, 0, 0 },
	{ "lsm_list_modules", 461, 0, 0, 0, 0, 0 },
	{ "msgrcv", SYS_msgrcv, -1, 0, 0, 0, 0 },
	{ "socket:netlink-route", SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0, 0 },
	{ "socket:netlink-netfilter", SYS_socket, AF_NETLINK, SOCK_RAW, 12, 0, 0 },
	{ "socket:packet", SYS_socket, AF_PACKET, SOCK_RAW, 0, 0, 0 },
	{ "socket:alg", SYS_socket, 38, SOCK_SEQPACKET, 0, 0, 0 },
	{ "socket:vsock", SYS_socket, 40, SOCK_STREAM, 0, 0, 0 },
	{ "socket:alg-high", SYS_socket, 38 | 1L << 32, SOCK_SEQPACKET, 0, 0, 0 },
	{ "tiocsti", SYS_ioctl, 0, 0x5412, 0, 0, 0 },
	{ "tiocsti-high", SYS_ioctl, 0, 0x5412 | 1L << 32, 0, 0, 0 },
	{ "tioclinux", SYS_ioctl, 0, 0x541c, 0, 0, 0 },
	{ "tiocexcl", SYS_ioctl, -1, 0x540c, 0, 0, 0 },
	{ "tiocsetd", SYS_ioctl, -1, 0x5423, 0, 0, 0 },
	{ "console", SYS_ioctl, -1, 0x4b3a, 0, 0, 0 },
	{ "set-id:chmod", SYS_fchmod, -1, 04755, 0, 0, 0 },
	{ "set-id:high", SYS_fchmod, -1, 02755 | 1L << 32, 0, 0, 0 },
	{ "set-id:open", SYS_openat, -1, (long)"x", O_CREAT | O_WRONLY, 04755, 0 },
	{ "set-id:tmpfile", SYS_openat, -1, (long)"x", O_TMPFILE | O_WRONLY, 02755, 0 },
	{ "mode:open", SYS_openat, -1, (long)"x", O_RDONLY, 06755, 0 },
	{ "mode:chmod", SYS_fchmod, -1, 01755, 0, 0, 0 },
	{ "openat2", 437, -1, 0, 0, 0, 0 },
	{ "lease", SYS_fcntl, -1, 1024, 0, 0, 0 },
	{ "dnotify", SYS_fcntl, -1, 1026, 0, 0, 0 },
};

static int create(const char *directory)
{
	char path[256];
	snprintf(path, sizeof path, "%s/attempt-%d", directory, getpid());
	int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0700);
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	return fd;
}

/* A copy of this program in a directory, executed: it exits with 7. */
static int execute(const char *directory)
{
	char path[256];
	snprintf(path, sizeof path, "%s/attempt-%d", directory, getpid());
	int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_CREAT | O_WRONLY | O_EXCL, 0700);
	if (from < 0 || to < 0)
		return -1;
	for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;)
		if (write(to, buffer, n) != n)
			return -1;
	close(to);
	pid_t child = fork();
	if (child == 0) {
		execl(path, path, (char *)NULL);
		_exit(errno);
	}
	int status;
	waitpid(child, &status, 0);
	unlink(path);
	errno = WEXITSTATUS(status);
	return errno == 0 ? 0 : -1;
}

static int port(int (*use)(int, const struct sockaddr *, socklen_t), const char *number)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(number)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd < 0 ? -1 : use(fd, (struct sockaddr *)&address, sizeof address);
}

/* Whether a file says anything. */
static int says(const char *path)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, buffer, sizeof buffer);
	if (n == 0)
		errno = ENODATA;
	return n > 0 ? 0 : -1;
}

static int attempt(const char *name)
{
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		if (!strcmp(name, plain[i].name)) {
			const struct plain *p = &plain[i];
			return call(p->nr, p->a, p->b, p->c, p->d, p->e) < 0 ? -1 : 0;
		}
	const char *rest = strchr(name, ':');
	rest = rest ? rest + 1 : "";
	if (!strncmp(name, "create:", 7)) return create(rest);
	if (!strncmp(name, "execute:", 8)) return execute(rest);
	if (!strncmp(name, "read:", 5)) return says(rest);
	if (!strncmp(name, "bind:", 5)) return port(bind, rest);
	if (!strncmp(name, "connect:", 8)) return port(connect, rest);
	if (!strncmp(name, "program:", 8)) {
		execl(rest, rest, (char *)NULL);
		return -1;
	}
	if (!strcmp(name, "fork")) {
		pid_t child = fork();
		if (child == 0)
			_exit(0);
		return child < 0 ? -1 : waitpid(child, NULL, 0) < 0 ? -1 : 0;
	}
	if (!strcmp(name, "clone:user")) {
		long child = call(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
		if (child == 0)
			_exit(0);
		return child < 0 ? -1 : 0;
	}
	if (!strcmp(name, "socketpair:unix")) {
		int pair[2];
		return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	}
	if (!strcmp(name, "jit")) {
		void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return mprotect(page, 4096, PROT_READ | PROT_EXEC);
	}
#ifdef __x86_64__
	/* getpid by the gates of 32-bit programs and of x32. */
	if (!strcmp(name, "abi:i386")) {
		long ret;
		__asm__ volatile("int $0x80" : "=a"(ret) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
		errno = ret < 0 ? -ret : 0;
		return ret < 0 ? -1 : 0;
	}
	if (!strcmp(name, "abi:x32")) return call(0x40000000L | SYS_getpid, 0, 0, 0, 0, 0) < 0 ? -1 : 0;
#endif
	if (!strcmp(name, "is:root")) { errno = EPERM; return geteuid() ? -1 : 0; }
	if (!strcmp(name, "is:dumping")) {
		struct rlimit limit;
		errno = EPERM;
		return getrlimit(RLIMIT_CORE, &limit) || limit.rlim_max != 1 ? 0 : -1;
	}
	if (!strcmp(name, "is:gaining")) { errno = EPERM; return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -1 : 0; }
	if (!strncmp(name, "capability:", 11)) { errno = EPERM; return prctl(PR_CAPBSET_READ, atoi(rest), 0, 0, 0) == 1 ? 0 : -1; }
	fprintf(stderr, "attempt: unknown attempt %s\n", name);
	exit(99);
}

static void print(const char *name, int result)
{
	if (result == 0)
		printf("%s ok\n", name);
	else if (strerrorname_np(result))
		printf("%s %s\n", name, strerrorname_np(result));
	else
		printf("%s %d\n", name, result);
	fflush(stdout);
}

/* `--here` as the first argument makes all attempts in this process, for profiles that allow no other: nothing may kill it then. */
int main(int argc, char **argv)
{
	if (argc == 1)
		return 0;
	if (!strcmp(argv[1], "--here")) {
		for (int i = 2; i < argc; i++) {
			errno = 0;
			print(argv[i], attempt(argv[i]) < 0 ? errno : 0);
		}
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		pid_t child = fork();
		if (child < 0) {
			perror("attempt: fork");
			return 98;
		}
		if (child == 0) {
			errno = 0;
			_exit(attempt(argv[i]) < 0 ? errno : 0);
		}
		int status;
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		if (WIFSIGNALED(status))
			printf("%s killed\n", argv[i]);
		else
			print(argv[i], WEXITSTATUS(status));
		fflush(stdout);
	}
	return 0;
}
