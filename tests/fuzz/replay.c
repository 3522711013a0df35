/* replay.c - a main for a fuzz target built without libFuzzer: runs every file of the directory it is given. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return -1;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    /* Exactly as large as the input, so that a sanitizer sees a read beyond it. */
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    int r = -1;
    if (data != NULL && size >= 0 && fread(data, 1, (size_t)size, file) == (size_t)size)
        r = LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    fclose(file);
    return r;
}

int main(int argc, char **argv) {
    DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    if (directory == NULL) {
        fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    unsigned count = 0, failed = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        printf("# %s\n", entry->d_name); /* so that a crash says which */
        fflush(stdout);
        bool ok = replay(path) == 0;
        printf("%s %u - %s\n", ok ? "ok" : "not ok", ++count, entry->d_name);
        failed += !ok;
    }
    closedir(directory);
    printf("1..%u\n", count);
    return count == 0 || failed > 0;
}
