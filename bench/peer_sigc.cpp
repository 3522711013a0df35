// peer_sigc.cpp - libsigc++: a list of slots, for one thread.
#include "peers.h"

#ifdef BENCH_SIGC
#include <sigc++/sigc++.h>
#include <vector>

namespace {

typedef sigc::signal<void, void *> Signal;

struct Count {
    typedef void result_type;
    uint64_t *counter;
    void operator()(void *) const { ++*counter; }
};

struct CountThread {
    typedef void result_type;
    void operator()(void *) const { bench_thread_calls++; }
};

sigc::connection add(Signal *s, uint64_t *counter) {
    return counter ? s->connect(Count{counter}) : s->connect(CountThread());
}

void *open_signal(size_t n, uint64_t *counters) {
    Signal *s = new Signal;
    for (size_t i = 0; i < n; i++)
        add(s, counters ? &counters[i] : nullptr);
    return s;
}

void emit(void *signal, size_t times) {
    Signal &s = *static_cast<Signal *>(signal);
    for (; times; times--)
        s.emit(nullptr);
}

void add_remove(void *signal, size_t times) {
    for (; times; times--)
        add(static_cast<Signal *>(signal), nullptr).disconnect();
}

void fill(void *signal, size_t n, const uint32_t *order) {
    std::vector<sigc::connection> connections;
    connections.reserve(n);
    for (size_t i = 0; i < n; i++)
        connections.push_back(add(static_cast<Signal *>(signal), nullptr));
    for (size_t i = 0; i < n; i++)
        connections[order[i]].disconnect();
}

void close_signal(void *signal) { delete static_cast<Signal *>(signal); }

} // namespace

const bench_peer peer_sigc = {"libsigc++", false, open_signal, emit, add_remove, fill, close_signal};
#else
const bench_peer peer_sigc = {};
#endif
