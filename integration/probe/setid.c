/* Tries in every way to leave a file with a set-user-id or set-group-id bit in the working directory, and prints `WAY RESULT`: `ok` or
 * the name of an error; `MADE NAME MODE` for each file that has such a bit at the end. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HIGH 0xdead00000000L

static char name[64];

static const char *fresh(const char *way)
{
	snprintf(name, sizeof name, "made-%s", way);
	return name;
}

static int file(const char *way)
{
	return open(fresh(way), O_CREAT | O_RDWR | O_EXCL, 0755);
}

static void say(const char *way, long result)
{
	printf("%s %s\n", way, result >= 0 ? "ok" : strerrorname_np(errno));
}

struct how { uint64_t flags, mode, resolve; };

int main(void)
{
	umask(0);
	static const struct { const char *name; long mode; } modes[] = {
		{ "uid", 04755 }, { "gid", 02755 }, { "both", 06755 }, { "high", 04755 | HIGH }, { "wide", 04755 | 0x70000 },
	};
	for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
		char way[48];
		long mode = modes[i].mode;
#define WAY(what) (snprintf(way, sizeof way, what "-%s", modes[i].name), way)
		file(WAY("chmod"));
		say(way, syscall(SYS_chmod, name, mode));
		say(way, syscall(SYS_fchmod, file(WAY("fchmod")), mode));
		file(WAY("fchmodat"));
		say(way, syscall(SYS_fchmodat, AT_FDCWD, name, mode));
		say(way, syscall(452, file(WAY("fchmodat2")), "", mode, AT_EMPTY_PATH));
		say(way, syscall(SYS_creat, fresh(WAY("creat")), mode));
		say(way, syscall(SYS_open, fresh(WAY("open")), (long)(O_CREAT | O_WRONLY) | HIGH, mode));
		say(way, syscall(SYS_openat, AT_FDCWD, fresh(WAY("openat")), O_CREAT | O_WRONLY, mode));
		struct how how = { O_CREAT | O_WRONLY, mode & 07777, 0 };
		say(way, syscall(SYS_openat2, AT_FDCWD, fresh(WAY("openat2")), &how, sizeof how));
		int fd = syscall(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, mode);
		say(WAY("tmpfile"), fd);
		if (fd >= 0) {
			char link[64];
			snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
			linkat(AT_FDCWD, link, AT_FDCWD, fresh(way), AT_SYMLINK_FOLLOW);
		}
		say(way, syscall(SYS_mknod, fresh(WAY("mknod")), mode | S_IFREG, 0));
		say(way, syscall(SYS_mknodat, AT_FDCWD, fresh(WAY("mknodat")), mode | S_IFREG, 0));
		say(way, syscall(SYS_mkdir, fresh(WAY("mkdir")), mode));
		say(way, syscall(SYS_mkdirat, AT_FDCWD, fresh(WAY("mkdirat")), mode));
		mkdir(fresh(WAY("directory")), 0755);
		say(way, syscall(SYS_chmod, name, mode));
		/* The inode that a socket is bound as has the mode of the socket's own. */
		int bound = socket(AF_UNIX, SOCK_STREAM, 0);
		struct sockaddr_un address = { AF_UNIX, "" };
		strcpy(address.sun_path, fresh(WAY("bind")));
		say(way, syscall(SYS_fchmod, bound, mode));
		bind(bound, (struct sockaddr *)&address, sizeof address);
		say(WAY("memfd"), syscall(SYS_fchmod, memfd_create("x", 0), mode));
	}
	static const char *const unseen[] = { "io_uring_setup" };
	char ring[256] = { 0 };
	say(unseen[0], syscall(425, 1, ring));
	/* A capability of the file's, of a user namespace whose root is this user (version 3), and of none (version 2). */
	uint32_t caps[6] = { 0x03000001, 0xffffffff, 0, 0xffffffff, 0, getuid() };
	file("caps3");
	say("caps3", setxattr(name, "security.capability", caps, 24, 0));
	caps[0] = 0x02000001;
	file("caps2");
	say("caps2", setxattr(name, "security.capability", caps, 20, 0));
	/* What an access control list says becomes the mode. */
	static const struct { uint32_t version; struct { uint16_t tag, perm; uint32_t id; } entries[3]; } acl =
		{ 2, { { 1, 0xffff, -1 }, { 4, 0xffff, -1 }, { 0x20, 0xffff, -1 } } };
	file("acl");
	say("acl", setxattr(name, "system.posix_acl_access", &acl, sizeof acl, 0));
	say("acl-default", setxattr(".", "system.posix_acl_default", &acl, sizeof acl, 0));
	/* The group of a directory with the bit. */
	file("ordinary");
	say("ordinary", chmod(name, 01777));
	DIR *here = opendir(".");
	for (struct dirent *entry; (entry = readdir(here));) {
		struct stat st;
		if (strncmp(entry->d_name, "made-", 5) || lstat(entry->d_name, &st))
			continue;
		if (st.st_mode & 06000)
			printf("MADE %s %o\n", entry->d_name, st.st_mode);
		if (getxattr(entry->d_name, "security.capability", NULL, 0) > 0)
			printf("MADE %s capability\n", entry->d_name);
	}
	puts("done");
	return 0;
}
