/* mtaio/base.h - the rules every function follows, errors, and the allocator.
 *
 * Rules that hold for every function here, unless its comment says otherwise.
 *
 * Result     0 or more: success. A negative MTAIO_E...: failure, and *ret is not touched.
 * Arguments  Borrowed for the call; strings are copied. NULL where nothing allows it is EINVAL; a function
 *            that cannot answer an error answers NULL, 0 or false then.
 * Structs    Write them by the macro of their name, MTAIO_HANDLER(.call = f): it sets size, and what is not
 *            named is 0. Another size is EINVAL, and nothing in the struct is looked at, destroy neither.
 * Threads    Any thread, any time. No lock of ours is held while your code runs.
 * Lifetime   new and ref give a reference; so does what is given by ret, where the type has an unref. unref takes
 *            NULL too and returns NULL.
 * Callbacks  destroy(ctx) runs exactly once, after the last call, also if registering failed. C++ exceptions and
 *            longjmp must not leave your code through ours.
 * Reentry    Your code may call anything and drop whatever called it. A handler added during an
 *            emission waits for the next one; one cancelled during it is not called.
 * Process    Not for signal handlers; waits go on after a signal. In the child of a fork only the forking thread
 *            lives: it finds every lock free, and pools closed. dlclose unloads nothing.
 * Names      Non-empty UTF-8 without NUL, segments separated by '.', no segment empty, none
 *            containing '*', at most MTAIO_NAME_MAX bytes.
 * Patterns   Names in which a whole segment may be "*" (exactly one segment) or "**" (zero or
 *            more). The pattern "*" alone matches every name. Every name is a pattern too. */
#ifndef MTAIO_BASE_H
#define MTAIO_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(MTAIO_STATIC)
#define MTAIO_API __attribute__((visibility("default")))
#else
#define MTAIO_API
#endif

#define MTAIO_VERSION_MAJOR 0
#define MTAIO_VERSION_MINOR 1
#define MTAIO_VERSION_PATCH 0

#define MTAIO_NAME_MAX 65535 /* bytes in a name or pattern, without the final NUL */
#define MTAIO_DEPTH_MAX 256  /* emissions nested within each other on one thread */

/* Every error: its name, its value, what it says. */
#define MTAIO_ERRORS(X)                                                                            \
    X(EINVAL, -1001, "an argument is not valid")                                                   \
    X(ENAME, -1002, "not a name: empty, too long, not UTF-8, an empty segment, or a pattern")      \
    X(EPATTERN, -1003, "not a pattern: a '*' stands inside a segment, or it is no name either")    \
    X(ENOMEM, -1004, "out of memory")                                                              \
    X(ECLOSED, -1005, "closed")                                                                    \
    X(EDEPTH, -1006, "emissions are nested too deep")                                              \
    X(EHANDLER, -1007, "a handler failed")                                                         \
    X(EUNHANDLED, -1008, "an 'error' event was emitted and nothing handles it")                    \
    X(EALREADY, -1009, "already done")                                                             \
    X(EABANDONED, -1010, "a deferral was dropped without being completed")                         \
    X(ECANCELED, -1011, "cancelled")                                                                \
    X(ETIMEDOUT, -1012, "the time limit passed")                                                   \
    X(EAGAIN, -1013, "would have to wait")                                                         \
    X(EBUSY, -1014, "in use, cannot be changed now")                                               \
    X(EDEADLK, -1015, "would wait for itself")                                                     \
    X(ELIMIT, -1016, "a limit is reached")                                                         \
    X(ESYSTEM, -1017, "the operating system refused a thread, a lock or a descriptor")             \
    X(EINPROGRESS, -1018, "begun, and not over yet")

#define MTAIO_ERROR_ENUM(name, value, text) MTAIO_##name = (value),
enum mtaio_error { MTAIO_OK = 0, MTAIO_ERRORS(MTAIO_ERROR_ENUM) };
#undef MTAIO_ERROR_ENUM

/* "MTAIO_EINVAL" and so on; "MTAIO_OK" for 0 and above; "MTAIO_E?" for a number that is not ours
 * (a handler may fail with any negative number). Static strings, never NULL. */
MTAIO_API const char *mtaio_error_name(int error);
MTAIO_API const char *mtaio_error_text(int error);

/* Does the pattern match the name? 1 or 0; EPATTERN, ENAME, EINVAL. */
MTAIO_API int mtaio_pattern_matches(const char *pattern, const char *name);

/* The version of the library that is running, "0.1.0". */
MTAIO_API const char *mtaio_version(void);

/* Where all memory of this process's mtaio comes from. Sizes are told again on resize and free. All three functions
 * are required; alloc and resize return NULL when there is no memory, and the library then returns MTAIO_ENOMEM.
 * They run on any thread, perhaps with a lock of ours held, and must not call mtaio, nor fork. The struct is copied. */
typedef struct mtaio_allocator {
    size_t size; /* sizeof(mtaio_allocator) */
    void *(*alloc)(size_t bytes, void *ctx);
    void *(*resize)(void *old, size_t old_bytes, size_t bytes, void *ctx);
    void (*free)(void *block, size_t bytes, void *ctx);
    void *ctx;
} mtaio_allocator;

/* Before anything else in the process: MTAIO_EBUSY once the library has allocated. NULL: malloc. EINVAL. */
MTAIO_API int mtaio_set_allocator(const mtaio_allocator *allocator);

/* Frees what was removed and is still kept for an emission that has ended meanwhile; normally that happens by
 * itself, sooner or later. Returns how many removed objects (handlers, emitters, and memory they were found by) still
 * wait for an emission to end. */
MTAIO_API size_t mtaio_reclaim(void);

#ifdef __cplusplus
}
#endif
#endif
