/* nats_stream.h - the benchmarks of durable bindings, for nats_main.c. */
#ifndef MTAIO_BENCH_NATS_STREAM_H
#define MTAIO_BENCH_NATS_STREAM_H

void stream_cases(const char *url);

#endif
