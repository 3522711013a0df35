/* sleep.pml - how a receiver sleeps until there is a message (receive.c, watch.c, receive_async.c, buffer.c).
 *
 * A message is put in under the channel's guard, and taken out under the subscriber's. Who finds none leaves
 * a watcher under the channel's guard, where it looks once more; each message is told to one watcher that
 * takes, and to all that only want to know. Three receivers: one waits as long as it takes, one has a time
 * limit, one is a call that may be cancelled.
 *
 * Proved: every message is received once, a receiver that waits gets one as long as there is one (else there
 * is a deadlock at the end), nobody sleeps after the channel was closed, and who only watches is told.
 *
 * FAULT 1: the receiver looks once more before it has the guard. 2: a message is put in once the guard is
 * released. 3: a receiver whose time passes while it is being woken goes without looking again. 4: a call
 * that is cancelled while it is being woken does not hand on. 5: who only watches uses up the telling. 6:
 * closing wakes one receiver only. */
#ifndef FAULT
#define FAULT 0
#endif
#define MESSAGES 2
#define RECEIVERS 3
#define WATCHER 3 /* only wants to know */
#define NONE 9

bool guard; /* the channel's; what is done at once under one is one step here: see guard.pml */
byte head, tail;
bool closed;
chan watchers = [4] of { byte }; /* takers in the order in which they came */
bool watching[4], woken[4], told;
byte received, over;

/* The first who takes, and all who do not: woken once the guard is released. */
inline fire(all) {
    d_step {
        first = NONE; second = NONE; third = NONE;
        know = watching[WATCHER];
        watching[WATCHER] = false;
        if
        :: know && FAULT == 5 -> skip
        :: else ->
            if
            :: len(watchers) > 0 -> watchers ? first; watching[first] = false
            :: else
            fi;
            if
            :: all && FAULT != 6 && len(watchers) > 0 -> watchers ? second; watching[second] = false
            :: else
            fi;
            if
            :: all && FAULT != 6 && len(watchers) > 0 -> watchers ? third; watching[third] = false
            :: else
            fi
        fi
    }
}
inline wake() {
    d_step {
    if
    :: first != NONE -> woken[first] = true
    :: else
    fi;
    if
    :: second != NONE -> woken[second] = true
    :: else
    fi;
    if
    :: third != NONE -> woken[third] = true
    :: else
    fi;
    if
    :: know -> told = true
    :: else
    fi;
    first = NONE; second = NONE; third = NONE; know = false
    }
}

/* got: 1 a message, 0 none, 2 none and closed. Under the subscriber's guard. */
inline take() {
    d_step {
        if
        :: head < tail -> head++; received++; got = 1
        :: else -> got = (closed -> 2 : 0)
        fi
    }
}

/* slept: 1 woken, or there is no need; 0 the time has passed, or it was cancelled. */
inline sleep(timed) {
    if
    :: FAULT == 1 -> d_step { slept = 1; woken[me] = false; ready = (head != tail || closed) }
    :: else
    fi;
    atomic {
        !guard;
        if
        :: FAULT != 1 -> slept = 1; woken[me] = false; ready = (head != tail || closed)
        :: else
        fi;
        if
        :: !ready -> watching[me] = true; watchers ! me
        :: else
        fi
    }
    if
    :: ready || woken[me]
    :: timed && !ready -> /* at any moment */
        atomic {
            !guard;
            if
            :: watching[me] -> watching[me] = false; watchers ?? eval(me); slept = 0
            :: else
            fi
        }
        if
        :: slept == 1 && FAULT == 3 && me == 1 -> gave_up = true
        :: slept == 1 && !(FAULT == 3 && me == 1) -> woken[me] /* it is just being woken */
        :: slept == 0
        fi
    fi
}

/* 0: as long as it takes. 1: with a time limit, which may pass at any moment. 2: a call, cancelled at any moment. */
proctype receiver(byte me) {
    byte got, slept, first = NONE, second = NONE, third = NONE;
    bool ready, know, gave_up;
    do
    :: take();
        if
        :: got == 1 -> skip /* and so on */
        :: got == 2 -> break
        :: got == 0 ->
            sleep(me != 0);
            if
            :: me == 2 -> /* cancelled: it ends, and what it may have been told of another is told */
                if
                :: FAULT != 4 ->
                    atomic {
                        !guard;
                        if
                        :: head != tail -> fire(false)
                        :: else
                        fi
                    }
                    wake()
                :: else
                fi;
                break
            :: me == 1 && gave_up -> break
            :: me == 1 && slept == 0 -> take(); break /* once more: it may have come with the time */
            :: slept == 1 && !gave_up -> skip
            fi
        fi
    od;
    over++
}

proctype publisher() {
    byte sent, first = NONE, second = NONE, third = NONE;
    bool know;
    do
    :: sent == MESSAGES -> break
    :: sent < MESSAGES ->
        sent++;
        atomic {
            !guard -> guard = true;
            if
            :: FAULT != 2 -> tail++
            :: else
            fi
        }
        atomic { fire(false); guard = false }
        if
        :: FAULT == 2 -> tail++
        :: else
        fi;
        wake()
    od;
    /* All that was published is received although nothing more comes: the receiver without a limit sees to it. */
    (received == MESSAGES);
    atomic { !guard -> guard = true; closed = true }
    atomic { fire(true); guard = false }
    wake();
    (over == RECEIVERS + 1);
    assert(received == MESSAGES && head == tail)
}

/* Watches again and again: each time it is told, once. */
proctype watcher() {
    byte times;
    do
    :: times == MESSAGES -> break
    :: times < MESSAGES ->
        atomic {
            !guard;
            if
            :: head != tail || closed -> told = true
            :: else -> watching[WATCHER] = true
            fi
        }
        atomic { told -> told = false; times++ }
    od;
    over++
}

init {
    atomic {
        run receiver(0); run receiver(1); run receiver(2);
        run watcher(); run publisher()
    }
}
