/*
 * attempt NAME: makes one system call that a shell cannot make, and says what the kernel answered.
 * Exit code 0: the call succeeded; 1: the kernel refused it; 200: not a call this program knows.
 * Every call is harmless when it is allowed: bad lengths and null pointers instead of payloads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AF_ALG
#define AF_ALG 38
#endif

static long call(const char *name)
{
	if (!strcmp(name, "ptrace"))
		return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
	if (!strcmp(name, "raw-socket"))
		return syscall(SYS_socket, AF_INET, SOCK_RAW, 1);
	if (!strcmp(name, "packet-socket"))
		return syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0);
	if (!strcmp(name, "crypto-socket"))
		return syscall(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0);
	if (!strcmp(name, "user-namespace"))
		return syscall(SYS_unshare, CLONE_NEWUSER);
	if (!strcmp(name, "new-mount-api"))
		return syscall(SYS_fsopen, "tmpfs", 0);
	if (!strcmp(name, "io-uring")) {
		char params[256] = { 0 };
		return syscall(SYS_io_uring_setup, 1, params);
	}
	if (!strcmp(name, "bpf")) {
		char map[128] = { 2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1 }; /* an array of one u32 */
		return syscall(SYS_bpf, 0, map, sizeof map);
	}
	if (!strcmp(name, "keyring"))
		return syscall(SYS_keyctl, 0, -3, 1); /* the session keyring's id, made if there is none */
	if (!strcmp(name, "userfaultfd"))
		return syscall(SYS_userfaultfd, 1);
	if (!strcmp(name, "perf-event")) {
		unsigned int attr[32] = { 1, 128, 1 }; /* software, its own size, task clock */
		return syscall(SYS_perf_event_open, attr, 0, -1, -1, 0);
	}
	/* Without the right magic numbers, reboot(2) checks the capability and then fails with EINVAL. */
	if (!strcmp(name, "reboot"))
		return syscall(SYS_reboot, 0, 0, 0, 0);
	/* An empty module: allowed, it would be ENOEXEC. */
	if (!strcmp(name, "load-module"))
		return syscall(SYS_init_module, "", 0, "");
	errno = 0;
	return -2;
}

int main(int argc, char **argv)
{
	long got = argc == 2 ? call(argv[1]) : -2;
	if (got == -2) {
		fprintf(stderr, "attempt: no such attempt\n");
		return 200;
	}
	/* EINVAL and ENOEXEC mean that the kernel let the call in and only then looked at its arguments. */
	if (got >= 0 || errno == EINVAL || errno == ENOEXEC || errno == EFAULT) {
		printf("the kernel let the call in\n");
		return 0;
	}
	printf("%s\n", strerror(errno));
	return 1;
}
