/* package_events_read.c - the loop over the lines. */
#include "package_events.h"

static int read_source(struct program *p, const char *path) {
    struct entry e = {.source = source_name(path)};
    struct input in;
    char *line;
    size_t length;
    int r, got;

    if (input_open(&in, path) < 0)
        return 1;
    for (r = 0; r >= 0 && (got = input_line(&in, &line, &length)) > 0;) {
        r = emit_line(p, &e, line, length);
        if (p->figures.lines % 16384 == 0)
            show_progress(p, &e);
    }
    if (r >= 0)
        r = got < 0;
    return input_close(&in) < 0 && r == 0 ? 1 : r;
}

int read_sources(struct program *p, const struct sources *s) {
    int trouble = 0, r = 0;

    for (size_t i = 0; r >= 0 && i < s->count; i++) {
        r = read_source(p, s->paths[i]);
        trouble |= r > 0;
    }
    return r < 0 ? r : trouble;
}
