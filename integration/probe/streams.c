/* Does to descriptor ATTACKED what its giver did not mean, and prints `WAY RESULT` to descriptor REPORT: `ok` or the name of an error.
 * Usage: streams ATTACKED REPORT. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

static int report;

static void say(const char *way, long result)
{
	dprintf(report, "%s %s\n", way, result >= 0 ? "ok" : strerrorname_np(errno));
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int fd = atoi(argv[1]);
	report = atoi(argv[2]);
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	say("fchmod", fchmod(fd, 0666));
	say("chmod", chmod(link, 0666));
	say("fchown", fchown(fd, -1, getgid()));
	say("ftruncate", ftruncate(fd, 1));
	say("truncate", truncate(link, 1));
	say("futimens", futimens(fd, (struct timespec[]){ { 1, 0 }, { 1, 0 } }));
	say("fsetxattr", fsetxattr(fd, "user.planted", "x", 1, 0));
	int flags = 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags ^= FS_NODUMP_FL;
		say("setflags", ioctl(fd, FS_IOC_SETFLAGS, &flags));
	}
	say("fallocate", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 16));
	int again = open(link, O_RDWR | O_NONBLOCK);
	say("open-rdwr", again);
	if (again >= 0)
		say("write-again", pwrite(again, "overwritten", 11, 0));
	again = open(link, O_WRONLY | O_TRUNC | O_NONBLOCK);
	say("open-trunc", again);
	say("pwrite", pwrite(fd, "overwritten", 11, 0));
	say("setfl", fcntl(fd, F_SETFL, O_NONBLOCK));
	if (lseek(fd, 0, SEEK_SET) == 0)
		say("write", write(fd, "overwritten", 11));
	void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say("mmap", mapped == MAP_FAILED ? -1 : 0);
	say("flock", flock(fd, LOCK_EX | LOCK_NB));
	say("lease", fcntl(fd, F_SETLEASE, F_RDLCK));
	say("notify", fcntl(fd, F_NOTIFY, DN_MODIFY));
	say("exclusive", ioctl(fd, 0x540c));
	int discipline = 2;
	say("discipline", ioctl(fd, 0x5423, &discipline));
	say("done", 0);
	return 0;
}
