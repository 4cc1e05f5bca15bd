/* Attempts and observations, one after the other, from the first instruction of a container on: no shell, no library.
 *
 *   look VERB ARGUMENT… -- VERB ARGUMENT… -- …
 *
 * Each prints one line, "VERB ARGUMENT…: RESULT", where RESULT is what was seen, "ok", or the name of the error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *error(void)
{
    const char *name = strerrorname_np(errno);
    return name ? name : "E?";
}

static void status(const char *path, int follow)
{
    struct stat st;
    if (follow ? stat(path, &st) : lstat(path, &st)) {
        puts(error());
        return;
    }
    const char *type = S_ISDIR(st.st_mode) ? "dir" : S_ISREG(st.st_mode) ? "file" : S_ISLNK(st.st_mode) ? "link" :
                       S_ISCHR(st.st_mode) ? "char" : S_ISBLK(st.st_mode) ? "block" : "other";
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
        printf("%s %u:%u\n", type, major(st.st_rdev), minor(st.st_rdev));
    else
        printf("%s\n", type);
}

static void flags(const char *path)
{
    struct statvfs s;
    if (statvfs(path, &s))
        puts(error());
    else
        printf("%s%s%s%s\n", s.f_flag & ST_RDONLY ? "ro" : "rw", s.f_flag & ST_NOSUID ? " nosuid" : "",
               s.f_flag & ST_NODEV ? " nodev" : "", s.f_flag & ST_NOEXEC ? " noexec" : "");
}

static void magic(const char *path)
{
    struct statfs s;
    if (statfs(path, &s))
        puts(error());
    else
        printf("%lx\n", (unsigned long)s.f_type);
}

static void content(const char *path)
{
    char text[257];
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length < 0) {
        puts(error());
    } else {
        for (ssize_t i = 0; i < length; i++)
            putchar(text[i] == '\n' ? ' ' : text[i]);
        putchar('\n');
    }
    close(fd);
}

static void write_text(const char *path, const char *text, int how)
{
    int fd = open(path, how, 0600);
    ssize_t length = fd < 0 ? -1 : text ? write(fd, text, strlen(text)) : 0;
    puts(length < 0 ? error() : "ok");
    close(fd);
}

/* Opens for writing and writes back what is there: an attack that changes nothing when it works. */
static void rewrite(const char *path)
{
    char text[4096];
    int in = open(path, O_RDONLY | O_NONBLOCK);
    ssize_t length = in < 0 ? 0 : read(in, text, sizeof text);
    close(in);
    int out = open(path, O_WRONLY);
    if (out < 0)
        puts(error());
    else if (length > 0)
        puts(write(out, text, (size_t)length) < 0 ? error() : "ok");
    else
        puts("ok (opened)");
    close(out);
}

static void capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}};
    unsigned long long bounding = 0, ambient = 0;
    syscall(SYS_capget, &header, data);
    for (unsigned long cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
            bounding |= 1ULL << cap;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
            ambient |= 1ULL << cap;
    }
#define WIDE(set) ((unsigned long long)data[1].set << 32 | data[0].set)
    printf("effective=%llx permitted=%llx inheritable=%llx bounding=%llx ambient=%llx\n", WIDE(effective),
           WIDE(permitted), WIDE(inheritable), bounding, ambient);
}

static void ids(void)
{
    uid_t u[3];
    gid_t g[3], groups[65536];
    getresuid(&u[0], &u[1], &u[2]);
    getresgid(&g[0], &g[1], &g[2]);
    int count = getgroups(65536, groups);
    printf("uid=%u,%u,%u gid=%u,%u,%u groups=", u[0], u[1], u[2], g[0], g[1], g[2]);
    for (int i = 0; i < count; i++)
        printf("%s%u", i ? "," : "", groups[i]);
    putchar('\n');
}

static void limit(const char *name)
{
    struct rlimit l;
    int what = !strcmp(name, "core") ? RLIMIT_CORE : !strcmp(name, "nofile") ? RLIMIT_NOFILE : -1;
    if (what < 0 || getrlimit((unsigned)what, &l)) {
        puts("EINVAL");
        return;
    }
    printf("%llu %llu ", (unsigned long long)l.rlim_cur, (unsigned long long)l.rlim_max);
    l.rlim_cur = l.rlim_max = RLIM_INFINITY;
    puts(setrlimit((unsigned)what, &l) ? "fixed" : "raised");
}

/* CVE-2022-0492: new user and cgroup namespaces, a cgroup v1 mount of one's own, and its release_agent. */
static void release_agent(const char *controller)
{
    char path[256];
    mkdir("/tmp/cg", 0700);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP)) {
        printf("unshare %s\n", error());
        return;
    }
    if (mount("cgroup", "/tmp/cg", "cgroup", 0, controller)) {
        printf("mount %s\n", error());
        return;
    }
    snprintf(path, sizeof path, "/tmp/cg/release_agent");
    rewrite(path);
}

/* CONTENT: a session keyring with a key in it, for programs that are run next. */
static void give_key(const char *content)
{
    int given = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0
        && syscall(SYS_add_key, "user", "pent-canary", content, strlen(content), KEY_SPEC_SESSION_KEYRING) >= 0;
    puts(given ? "ok" : error());
}

/* CONTENT: a key in the session keyring that there is. */
static void add_key(const char *content)
{
    long key = syscall(SYS_add_key, "user", "pent-canary", content, strlen(content), KEY_SPEC_SESSION_KEYRING);
    puts(key < 0 ? error() : "ok");
}

/* All keys that this user may have. */
static void use_up_keys(void)
{
    char name[32];
    for (int i = 0; i < 1000000; i++) {
        snprintf(name, sizeof name, "key %d", i);
        if (syscall(SYS_add_key, "user", name, "x", 1ul, KEY_SPEC_USER_KEYRING) < 0)
            break;
    }
    puts(error());
}

static void steal_key(void)
{
    char content[256] = "";
    long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "pent-canary", 0);
    puts(key < 0 || syscall(SYS_keyctl, KEYCTL_READ, key, content, sizeof content - 1) < 0 ? error() : content);
}

static void call(char **argv)
{
    unsigned long a[6] = {0};
    char result[64];
    for (int i = 0; i < 6 && argv[i + 1]; i++)
        a[i] = strtoul(argv[i + 1], NULL, 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        long value = syscall(strtol(argv[0], NULL, 0), a[0], a[1], a[2], a[3], a[4], a[5]);
        snprintf(result, sizeof result, "%s\n", value < 0 ? error() : "ok");
        _exit(write(1, result, strlen(result)) < 0);
    }
    int ended;
    waitpid(child, &ended, 0);
    if (WIFSIGNALED(ended))
        printf("killed by %d\n", WTERMSIG(ended));
}

static void perform(char **argv)
{
    const char *verb = argv[0], *one = argv[1] ? argv[1] : "", *two = argv[1] && argv[2] ? argv[2] : "";
    for (char **word = argv; *word; word++)
        printf("%s%s", word == argv ? "" : " ", *word);
    printf(": ");
    if (!strcmp(verb, "stat"))
        status(one, 1);
    else if (!strcmp(verb, "lstat"))
        status(one, 0);
    else if (!strcmp(verb, "flags"))
        flags(one);
    else if (!strcmp(verb, "magic"))
        magic(one);
    else if (!strcmp(verb, "read"))
        content(one);
    else if (!strcmp(verb, "write"))
        write_text(one, two, O_WRONLY);
    else if (!strcmp(verb, "create"))
        write_text(one, NULL, O_WRONLY | O_CREAT | O_NOCTTY);
    else if (!strcmp(verb, "mkdir"))
        puts(mkdir(one, 0700) ? error() : "ok");
    else if (!strcmp(verb, "chmod"))
        puts(chmod(one, 0700) ? error() : "ok");
    else if (!strcmp(verb, "rewrite"))
        rewrite(one);
    else if (!strcmp(verb, "setuid")) /* for what comes after it */
        puts(setuid((uid_t)strtoul(one, NULL, 10)) ? error() : "ok");
    else if (!strcmp(verb, "device")) { /* PATH MAJOR MINOR: make it, then open it */
        mknod(one, S_IFCHR | 0666, makedev(atoi(two), atoi(argv[3])));
        int fd = open(one, O_RDONLY);
        puts(fd < 0 ? error() : "ok");
        close(fd);
    } else if (!strcmp(verb, "open")) {
        int fd = open(one, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        puts(fd < 0 ? error() : "ok");
        close(fd);
    } else if (!strcmp(verb, "remount")) /* away with every flag */
        puts(mount(NULL, one, NULL, MS_REMOUNT | MS_BIND, NULL) ? error() : "ok");
    else if (!strcmp(verb, "unmount"))
        puts(umount2(one, MNT_DETACH) ? error() : "ok");
    else if (!strcmp(verb, "link")) {
        char target[256] = "";
        puts(readlink(one, target, sizeof target - 1) < 0 ? error() : target);
    } else if (!strcmp(verb, "capabilities"))
        capabilities();
    else if (!strcmp(verb, "file_capability")) { /* PATH NUMBER: inheritable and effective, as cap_…+ei */
        struct vfs_cap_data data = {VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, {{0, 1u << atoi(two)}}};
        puts(setxattr(one, "security.capability", &data, XATTR_CAPS_SZ_2, 0) ? error() : "ok");
    } else if (!strcmp(verb, "ids"))
        ids();
    else if (!strcmp(verb, "limit"))
        limit(one);
    else if (!strcmp(verb, "dumpable"))
        printf("%d\n", prctl(PR_GET_DUMPABLE));
    else if (!strcmp(verb, "release_agent"))
        release_agent(one);
    else if (!strcmp(verb, "add_key"))
        add_key(one);
    else if (!strcmp(verb, "give_key"))
        give_key(one);
    else if (!strcmp(verb, "use_up_keys"))
        use_up_keys();
    else if (!strcmp(verb, "steal_key"))
        steal_key();
    else if (!strcmp(verb, "domainname")) {
        char name[256] = "";
        puts(getdomainname(name, sizeof name) ? error() : name);
    } else if (!strcmp(verb, "call")) /* NUMBER ARGUMENT…: a raw system call in a child */
        call(argv + 1);
    else if (!strcmp(verb, "crash")) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            abort();
        int ended;
        waitpid(child, &ended, 0);
        printf("signal %d core %d\n", WTERMSIG(ended), WCOREDUMP(ended) != 0);
    } else if (!strcmp(verb, "run")) { /* FILE ARGUMENT…: a program in a child; its output follows */
        putchar('\n');
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            execv(one, argv + 1);
            printf("run: %s\n", error());
            fflush(stdout);
            _exit(1);
        }
        waitpid(child, NULL, 0);
    } else if (!strcmp(verb, "wait")) {
        puts("ok");
        fflush(stdout);
        signal(SIGTERM, _exit);
        pause();
    } else
        puts("unknown verb");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    for (int at = 1; at < argc;) {
        int end = at;
        while (end < argc && strcmp(argv[end], "--"))
            end++;
        argv[end] = NULL;
        if (end > at)
            perform(argv + at);
        at = end + 1;
    }
    return 0;
}
