/* subject.c - topics as subjects, and what comes from the wire as topics: a server validates neither. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "nats_inner.h"

/* Topics of our own, which no message of a channel is sent under. */
#define OWN "$mtaio-"
#define NO_TOPIC OWN "no-topic"
#define REPLY "_MTAIO."

/* Servers divide lines at blanks, and read '>' as a wildcard. */
static bool is_subject(const char *topic) {
    const char *segment = topic;
    for (const char *p = topic;; p++) {
        if ((*p == '.' || !*p) && p - segment == 1 && *segment == '>') return false;
        if (!*p) return true;
        if (*p == '.') segment = p + 1;
        if ((unsigned char)*p <= ' ' || *p == 0x7f) return false;
    }
}

int mtaio__subject_of_topic(const char *prefix, const char *topic, char *ret) {
    if (topic && mtaio__is_own_topic(topic)) return MTAIO_ENAME;
    return mtaio__subject_join(prefix, topic ? topic : NO_TOPIC, ret);
}

int mtaio__subject_join(const char *prefix, const char *topic, char *ret) {
    size_t before = strlen(prefix), length = strlen(topic);
    if (before + 1 + length >= SUBJECT_MAX || !is_subject(topic)) return MTAIO_ENAME;
    memcpy(ret, prefix, before);
    ret[before] = '.';
    memcpy(ret + before + 1, topic, length + 1);
    return (int)(before + 1 + length);
}

/* How much of the pattern a subject can say: "**" only as its last segment, as '>', which wants one segment
 * more. */
static const char *first_deep(const char *pattern) {
    for (const char *p = pattern; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL)
        if (strncmp(p, "**", 2) == 0) return p;
    return NULL;
}

int mtaio__subject_of_patterns(const char *prefix, const char *const *patterns, char *ret, bool *ret_wider) {
    size_t before = strlen(prefix);
    *ret_wider = !mtaio__patterns_take_all(patterns);
    const char *pattern = patterns[0], *deep = first_deep(pattern);
    int length = -1;
    if (*ret_wider && !patterns[1] && !deep) { /* one, which a subject can say */
        *ret_wider = false;
        length = mtaio__subject_join(prefix, pattern, ret);
    } else if (before + 3 < SUBJECT_MAX) {
        memcpy(ret, prefix, before);
        memcpy(ret + before, ".>", 3);
        length = (int)before + 2;
    }
    return length < 0 ? MTAIO_EPATTERN : length;
}

const char *mtaio__topic_of_subject(const char *subject, size_t prefix_length) {
    return strlen(subject) > prefix_length + 1 ? subject + prefix_length + 1 : NULL;
}

bool mtaio__is_own_topic(const char *topic) { return strncmp(topic, OWN, sizeof OWN - 1) == 0; }

bool mtaio__is_no_topic(const char *topic) { return strcmp(topic, NO_TOPIC) == 0; }

bool mtaio__topic_is_of(const char *topic, const char *const *patterns) {
    for (; *patterns; patterns++)
        if (mtaio_pattern_matches(*patterns, topic) == 1) return true;
    return false;
}

bool mtaio__patterns_take_all(const char *const *patterns) {
    for (; *patterns; patterns++)
        if (strcmp(*patterns, "*") == 0 || strcmp(*patterns, "**") == 0) return true;
    return false;
}

/* --- Lines ------------------------------------------------------------------------------------- */

void mtaio__copy_line(char *ret, size_t size, const char *text) {
    size_t length = strlen(text);
    if (length >= size) {
        length = size - 1;
        for (int i = 0; i < 3 && length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80; i++) length--;
    }
    for (size_t i = 0; i < length; i++) ret[i] = (char)((unsigned char)text[i] < ' ' ? ' ' : text[i]);
    ret[length] = '\0';
}

/* --- Replies ----------------------------------------------------------------------------------- */

char *mtaio__hex_put(char *at, uint64_t n) {
    int digits = 1;
    while (digits < 16 && n >> (4 * digits)) digits++;
    for (int i = digits - 1; i >= 0; i--) *at++ = "0123456789abcdef"[n >> (4 * i) & 15];
    return at;
}

void mtaio__reply_make(uint64_t id, uint64_t first, unsigned count, char *ret) {
    memcpy(ret, REPLY, sizeof REPLY - 1);
    char *at = mtaio__hex_put(ret + sizeof REPLY - 1, id);
    *at++ = '.';
    at = mtaio__hex_put(at, first);
    if (count != 1) {
        *at++ = '.';
        at = mtaio__hex_put(at, count);
    }
    *at = '\0';
}

/* 1 to 16 digits; at ends behind them. */
static bool read_hex(const char **at, uint64_t *ret) {
    uint64_t n = 0;
    int digits = 0;
    for (;; ++*at, digits++) {
        char c = **at;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) break;
        n = n << 4 | (unsigned)digit;
    }
    *ret = n;
    return digits > 0 && digits <= 16;
}

bool mtaio__hex_read(const char *text, uint64_t *ret) { return read_hex(&text, ret) && !*text; }

bool mtaio__is_reply_of_ours(const char *reply) {
    return reply && strncmp(reply, REPLY, sizeof REPLY - 1) == 0;
}

bool mtaio__reply_read(const char *reply, struct numbers *ret) {
    uint64_t count = 1;
    if (!mtaio__is_reply_of_ours(reply)) return false;
    reply += sizeof REPLY - 1;
    if (!read_hex(&reply, &ret->id) || *reply++ != '.' || !read_hex(&reply, &ret->first)) return false;
    if (*reply == '.' && (!mtaio__hex_read(++reply, &count) || count > AT_ONCE)) return false;
    ret->count = (unsigned)count;
    return (count != 1 || !*reply || *reply == '1') && ret->first <= UINT64_MAX - AT_ONCE;
}

/* --- Inboxes ----------------------------------------------------------------------------------- */

int mtaio__inbox_make(char *ret, char *ret_pattern) {
    natsInbox *inbox = NULL;
    natsStatus s = natsInbox_Create(&inbox);
    if (s != NATS_OK) return mtaio__failed(s);
    int length = snprintf(ret, INBOX_MAX, "%s", inbox);
    natsInbox_Destroy(inbox);
    snprintf(ret_pattern, NUMBERED_MAX, "%s.*", ret);
    return length < INBOX_MAX ? 0 : MTAIO_ESYSTEM;
}

void mtaio__numbered_make(const char *inbox, uint64_t number, char *ret) {
    size_t length = strlen(inbox);
    memcpy(ret, inbox, length);
    ret[length] = '.';
    *mtaio__hex_put(ret + length + 1, number) = '\0';
}

bool mtaio__numbered_read(const char *subject, size_t inbox_length, uint64_t *ret) {
    if (strlen(subject) <= inbox_length || subject[inbox_length] != '.') return false;
    return mtaio__hex_read(subject + inbox_length + 1, ret);
}

/* --- Packs ------------------------------------------------------------------------------------- */

size_t mtaio__pack_put(char *at, const void *data, size_t bytes) {
    for (int i = 0; i < PACK_HEAD; i++) at[i] = (char)(unsigned char)(bytes >> (8 * (PACK_HEAD - 1 - i)));
    if (bytes > 0) memcpy(at + PACK_HEAD, data, bytes);
    return PACK_HEAD + bytes;
}

bool mtaio__pack_next(const char **at, const char *end, const char **ret_data, size_t *ret_bytes) {
    size_t bytes = 0;
    if (end - *at < PACK_HEAD) return false;
    for (int i = 0; i < PACK_HEAD; i++) bytes = bytes << 8 | (unsigned char)*(*at)++;
    if (bytes > (size_t)(end - *at)) return false;
    *ret_data = *at;
    *ret_bytes = bytes;
    *at += bytes;
    return true;
}
