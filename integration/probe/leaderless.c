/* Ends its first thread and lives on in another, as a zombie in the eyes of ps. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *live(void *unused) {
    (void)unused;
    for (;;)
        pause();
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, live, NULL))
        return 1;
    puts("up");
    fflush(stdout);
    pthread_exit(NULL);
}
