/* statistics.c - what channels and subscribers have counted, as named tuples. */
#include "channels.h"

static PyTypeObject *channel_stats_type, *subscriber_stats_type;

static PyStructSequence_Field channel_fields[] = {
    {"published", "messages that were accepted, whether or not anybody was there"},
    {"reached", "subscribers they were given to: each message counts once for each"},
    {"delivered", "received"},
    {"dropped", "by a full buffer, or with a subscriber that ended before it received them"},
    {"waiting", "in buffers"},
    {"refused", "messages that were not accepted"},
    {"lost_wakeups", "publishers that waited in a loop which was then closed"},
    {NULL, NULL},
};

static PyStructSequence_Field subscriber_fields[] = {
    {"reached", "messages that were published to it"},
    {"delivered", "received"},
    {"dropped", "by a full buffer, or when the subscription ended"},
    {"waiting", "in the buffer"},
    {"high_water", "the most that ever waited"},
    {"lost_wakeups", "receivers that waited in a loop which was then closed"},
    {NULL, NULL},
};

int core_statistics_init(PyObject *module) {
    PyStructSequence_Desc channel = {"mtaio.events.ChannelStats", "What a channel has counted.",
                                     channel_fields, 7};
    PyStructSequence_Desc subscriber = {"mtaio.events.SubscriberStats", "What a subscriber has counted.",
                                        subscriber_fields, 6};
    channel_stats_type = PyStructSequence_NewType(&channel);
    subscriber_stats_type = PyStructSequence_NewType(&subscriber);
    if (!channel_stats_type || !subscriber_stats_type) return -1;
    if (PyModule_AddObjectRef(module, "ChannelStats", (PyObject *)channel_stats_type) < 0) return -1;
    return PyModule_AddObjectRef(module, "SubscriberStats", (PyObject *)subscriber_stats_type);
}

static PyObject *stats_new(PyTypeObject *type, const uint64_t *values, Py_ssize_t n) {
    PyObject *stats = PyStructSequence_New(type);
    for (Py_ssize_t i = 0; stats && i < n; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(values[i]);
        if (value)
            PyStructSequence_SetItem(stats, i, value);
        else
            Py_CLEAR(stats);
    }
    return stats;
}

PyObject *core_channel_statistics(const core_channel *ch) {
    mtaio_channel_stats s = {.size = sizeof s};
    int r = mtaio_channel_stats_get(ch->inner, &s);
    if (r < 0) return core_raise(core.ChannelError, r, "no statistics");
    const uint64_t values[] = {s.published, s.reached, s.delivered,     s.dropped,
                               s.waiting,   s.refused, ch->lost_wakeups};
    return stats_new(channel_stats_type, values, 7);
}

PyObject *core_subscriber_statistics(const core_subscriber *sub) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    int r = mtaio_subscriber_stats_get(sub->inner, &s);
    if (r < 0) return core_raise(core.ChannelError, r, "no statistics");
    const uint64_t values[] = {s.reached, s.delivered, s.dropped, s.waiting, s.high_water, sub->lost_wakeups};
    return stats_new(subscriber_stats_type, values, 6);
}
