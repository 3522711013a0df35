/* derivation.h - what stands between a source and an emitter derived from it. */
#ifndef MTAIO_SRC_DERIVATION_H
#define MTAIO_SRC_DERIVATION_H

#include "core/emitter.h"

enum derivation_kind { FILTER, MAP, BUFFER };

struct derivation {
    enum derivation_kind kind;
    char *pattern; /* NULL: all */
    union {
        mtaio_filter filter;
        mtaio_map map;
        size_t n;
    };
    struct event_list gathered; /* BUFFER; family's lock */
};

/* A link's call, whatever the link, the event and the emission are. */
int mtaio__derived_call(mtaio_event *event, void *link);

#endif
