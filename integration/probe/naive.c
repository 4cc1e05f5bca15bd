/* The victim the tests are measured with: makes a directory below a root the way CVE-2021-30465 did it, with a check of
 * the resolved path first and the use of the unresolved one after. The racer must beat it.
 *
 *   naive ROOT PATH TIMES    prints how often the directory was made */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int made = 0;
    for (int i = 0; i < atoi(argv[3]); i++) {
        char parent[PATH_MAX], resolved[PATH_MAX];
        snprintf(parent, sizeof parent, "%s/%s", argv[1], argv[2]);
        if (!realpath(parent, resolved) || strncmp(resolved, argv[1], strlen(argv[1])))
            continue;
        snprintf(parent, sizeof parent, "%s/%s/target%d", argv[1], argv[2], i);
        made += mkdir(parent, 0700) == 0;
    }
    printf("%d\n", made);
    return 0;
}
