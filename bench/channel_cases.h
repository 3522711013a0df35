/* channel_cases.h - the cases of channels, by file. */
#ifndef BENCH_CHANNEL_CASES_H
#define BENCH_CHANNEL_CASES_H

void cases_of_passing(void);
void cases_of_matching(void);
void cases_of_memory(void); /* with an allocator that counts */
#endif
