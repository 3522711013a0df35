/* stream_wire.c - what JetStream writes: acknowledgements, the numbers of deliveries, statuses. It all comes
 * from the wire, where anybody who learns of a subject may write: what is none of it is told from it. */
#include <string.h>

#include "stream_inner.h"

/* --- Acknowledgements: {"stream":"S","seq":1}, or
 * {"error":{"code":503,"err_code":10077,"description":"..."}, ... */

/* The number, or where it is text its beginning, that follows the key. */
static const char *value_of(const char *text, const char *key) {
    const char *at = strstr(text, key);
    return at ? at + strlen(key) : NULL;
}

static long number_of(const char *text, const char *key) {
    const char *at = value_of(text, key);
    long n = 0;
    for (; at && *at >= '0' && *at <= '9' && n < 1000000; at++) n = 10 * n + (*at - '0');
    return n;
}

/* 503 is what a server says that cannot at the moment, except where it tells why the stream refuses: 10077.
 */
static int read_error(const char *text, char *ret_text, size_t size) {
    long code = number_of(text, "\"code\":"), more = number_of(text, "\"err_code\":");
    const char *words = value_of(text, "\"description\":\"");
    int length = words ? (int)strcspn(words, "\"") : 0;
    snprintf(ret_text, size, "%.*s (%ld)", length, words ? words : "", more);
    return code == 503 && more != JSStreamStoreFailedErr ? 1 : MTAIO_ESYSTEM;
}

int mtaio__ack_read(natsMsg *message, char *ret_text, size_t size) {
    char text[512];
    int bytes = natsMsg_GetDataLength(message);
    ret_text[0] = '\0';
    if (natsMsg_IsNoResponders(message)) {
        snprintf(ret_text, size, "no stream takes it at the moment");
        return 1;
    }
    if (bytes <= 0) return MTAIO_EINVAL;
    const char *data = natsMsg_GetData(message), stored[] = "{\"stream\":\"";
    if (bytes > (int)sizeof stored && memcmp(data, stored, sizeof stored - 1) == 0 && data[bytes - 1] == '}')
        return 0;
    snprintf(text, sizeof text, "%.*s", bytes, natsMsg_GetData(message));
    const char *error = value_of(text, "{\"error\":{");
    return error ? read_error(error, ret_text, size) : MTAIO_EINVAL;
}

/* --- Deliveries -------------------------------------------------------------------------------- */

/* Decimal digits, up to a dot or the end; the dot is passed over. */
static bool read_number(const char **at, uint64_t *ret) {
    uint64_t n = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (n > (UINT64_MAX - 9) / 10) return false;
        n = 10 * n + (uint64_t)(*p - '0');
    }
    if (p == *at || (*p && *p != '.')) return false;
    *at = *p ? p + 1 : p;
    *ret = n;
    return true;
}

static int tokens_of(const char *subject) {
    int count = 1;
    for (; *subject; subject++) count += *subject == '.';
    return count;
}

/* $JS.ACK.<stream>.<consumer>.<times>.<sequence>.<its own>.<stored>.<waiting>; newer servers put domain and
 * account before the stream, and something after the end. */
bool mtaio__given_read(const char *reply, struct given *ret) {
    uint64_t own;
    if (!reply || strncmp(reply, "$JS.ACK.", 8) != 0) return false;
    int tokens = tokens_of(reply), before = tokens == 9 ? 4 : tokens >= 11 ? 6 : 0;
    if (before == 0) return false;
    for (int i = 0; i < before; i++) reply = strchr(reply, '.') + 1;
    return read_number(&reply, &ret->count) && read_number(&reply, &ret->sequence) &&
           read_number(&reply, &own) && read_number(&reply, &ret->stored_ns) && ret->sequence > 0;
}

int mtaio__status_read(natsMsg *message, int64_t *ret_left) {
    const char *value = NULL;
    uint64_t n = 0;
    *ret_left = -1;
    if (natsMsg_IsNoResponders(message)) return 503;
    if (natsMsg_GetDataLength(message) > 0 || natsMsgHeader_Get(message, "Status", &value) != NATS_OK)
        return 0;
    int status = value && read_number(&value, &n) && n < 1000 ? (int)n : 0;
    if (natsMsgHeader_Get(message, "Nats-Pending-Messages", &value) == NATS_OK && value &&
        read_number(&value, &n) && n < INT32_MAX)
        *ret_left = (int64_t)n;
    return status;
}
