/* explore_types.h - what os.h's types are under the explorer. */
#ifndef MTAIO_EXPLORE_TYPES_H
#define MTAIO_EXPLORE_TYPES_H

typedef struct os_mutex {
    unsigned magic;
    int owner; /* thread + 1; 0: free */
} os_mutex;

typedef struct os_cond {
    unsigned magic;
} os_cond;

typedef int os_thread;

typedef struct os_parking {
    os_mutex lock;
    os_cond cond;
    int go;
} os_parking;

#define EXPLORE_MUTEX_MAGIC 0x6d757478u
#define EXPLORE_COND_MAGIC 0x636f6e64u
#define OS_MUTEX_STATIC {EXPLORE_MUTEX_MAGIC, 0}

#endif
