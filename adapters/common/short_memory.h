/* short_memory.h - one allocation that fails: of the adapter, whose calls the linker diverts
 * (short_memory_link_args), or of the core (hazard 20). */
#ifndef MTAIO_ADAPTERS_SHORT_MEMORY_H
#define MTAIO_ADAPTERS_SHORT_MEMORY_H

#include <stddef.h>

int memory_begin(void); /* before anything else: the core takes its memory here, too */

/* The n-th allocation from now fails, on whichever thread, or on this one; 0: none does. */
void memory_fails_in(long n);
void memory_fails_here_in(long n);
long memory_left(void); /* until then; 0: none fails, or it has */

void *memory_get(size_t bytes); /* which never fails so */

#endif
