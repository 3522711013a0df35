/* codec.c - messages as bytes and back, where a binding has a codec; by the run, so that begin and end cost
 * once for many. */
#include "nats_inner.h"

bool mtaio__codec_is_valid(const mtaio_nats_codec *codec) { return !codec || codec->size == sizeof *codec; }

void mtaio__codec_destroy(const mtaio_nats_codec *codec) {
    if (codec && codec->destroy) codec->destroy(codec->ctx);
}

void mtaio__codec_begin(const mtaio_nats_codec *codec) {
    if (codec->begin) codec->begin(codec->ctx);
}

void mtaio__codec_end(const mtaio_nats_codec *codec) {
    if (codec->end) codec->end(codec->ctx);
}

/* --- Out --------------------------------------------------------------------------------------- */

static mtaio_nats_bytes bytes_of(const mtaio_message *m) {
    return (mtaio_nats_bytes){.data = mtaio_message_data(m), .bytes = mtaio_message_bytes(m)};
}

void mtaio__codec_encode(const mtaio_nats_codec *codec, const mtaio_message *messages, int n,
                         struct load *ret) {
    if (codec->encode) mtaio__codec_begin(codec);
    for (int i = 0; i < n; i++) {
        ret[i] = (struct load){.bytes = bytes_of(&messages[i])};
        if (codec->encode) ret[i].result = codec->encode(&messages[i], &ret[i].bytes, codec->ctx);
        if (ret[i].result < 0) ret[i].bytes = (mtaio_nats_bytes){0};
    }
    if (codec->encode) mtaio__codec_end(codec);
}

void mtaio__codec_clear(const mtaio_nats_codec *codec, mtaio_message *messages, int n, struct load *loads) {
    if (n > 0) mtaio__codec_begin(codec); /* messages may hold what was handed over by a pointer */
    for (int i = 0; i < n; i++) {
        mtaio_metadata_unref(loads[i].bytes.metadata);
        if (loads[i].bytes.release) loads[i].bytes.release(loads[i].bytes.owner);
        mtaio_message_clear(&messages[i]);
    }
    if (n > 0) mtaio__codec_end(codec);
}

/* --- In ---------------------------------------------------------------------------------------- */

int mtaio__codec_decode(const mtaio_nats_codec *codec, mtaio_publication *p) {
    const mtaio_publication came = *p;
    if (!codec->decode) return 0;
    int r = codec->decode(p, codec->ctx);
    if (r < 0)
        *p = came;
    else if (p->metadata != came.metadata)
        mtaio_metadata_unref(came.metadata);
    return r < 0 ? r : 0;
}
