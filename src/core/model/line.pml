/* line.pml - how a publisher waits for room (line.c, publish.c, receive.c).
 *
 * Room is made under the subscriber's guard, and looked for under the channel's and, before sleeping, under
 * both: who finds the buffer full leaves WANTED there, and stands in line. A receiver that finds WANTED
 * publishes what can go, from the front; what cannot is passed by, unless it holds up: an asynchronous
 * publication, behind which its publisher's next waits.
 *
 * Two buffers of one place, both full. Publication 0 goes to both, with a time limit; 1 to the first, as long
 * as it takes; 2 to the first, asynchronous, may be cancelled; 3, of the same publisher, to the second: never
 * before 2 is over. A patient receiver begins only when others have got on. The first subscriber may
 * unsubscribe.
 *
 * Proved: all that can go goes, nobody sleeps while there is room for him, each publication goes once or not
 * at all, 3 goes after 2.
 *
 * FAULT 1: WANTED is left without looking once more. 2: a receiver looks for WANTED before it makes room. 3:
 * only the first of the line is looked at. 4: one that cannot go yet leaves no WANTED behind. 5: one whose
 * time has passed stays in line. 6: unsubscribing leaves the line alone. 7: nobody waits behind what holds
 * up. 8: cancelling leaves the line alone. */
#ifndef FAULT
#define FAULT 0
#endif
#define PUBLICATIONS 4
#define ASYNC 2
#define EMPTY 9
#define FULL 8

bool guard; /* the channel's; what is done at once under one is one step here: see guard.pml */
byte place[2] = EMPTY; /* what is in each buffer */
bool wanted[2], ended[2], closed;
byte line[PUBLICATIONS] = EMPTY, waiting; /* who stands in line */
bool woken[PUBLICATIONS], over[PUBLICATIONS], gone[PUBLICATIONS]; /* gone: not published */
byte done;

/* Does publication p go to the buffer? */
#define goes(p, b) (!ended[b] && (p == 0 || (p == 3 && b == 1) || (p != 3 && b == 0)))
#define full(p, b) (goes(p, b) && place[b] != EMPTY)

/* Publishes it, to all or none: ok. full_one is one that has no room. */
inline publish(p) {
    ok = true;
    if
    :: full(p, 0) -> ok = false; full_one = 0
    :: !full(p, 0) && full(p, 1) -> ok = false; full_one = 1
    :: else
    fi;
    if
    :: ok ->
        assert(!over[p] && !gone[p]);
        assert(p != 3 || over[ASYNC]);
        if
        :: goes(p, 0) -> place[0] = FULL
        :: else
        fi;
        if
        :: goes(p, 1) -> place[1] = FULL
        :: else
        fi;
        over[p] = true
    :: else
    fi
}

inline leave_line(p) {
    i = 0;
    do
    :: line[i] == p -> break
    :: else -> i++
    od;
    waiting--;
    do
    :: i < waiting -> line[i] = line[i + 1]; i++
    :: else -> line[i] = EMPTY; break
    od;
    i = 0
}

/* From the front, under the channel's guard. */
inline carry_on() {
    at = 0;
    do
    :: at < waiting ->
        q = line[at];
        publish(q);
        if
        :: ok -> leave_line(q); woken[q] = true
        :: !ok ->
            if
            :: FAULT != 4 -> wanted[full_one] = true
            :: else
            fi;
            if
            :: q == ASYNC || FAULT == 3 -> break
            :: else -> at++
            fi
        fi
    :: else -> break
    od;
    at = 0; q = 0; full_one = 0; ok = false
}

inline holds_up() {
    ok = false; at = 0;
    do
    :: at < waiting -> ok = ok || line[at] == ASYNC; at++
    :: else -> break
    od;
    at = 0;
    if
    :: FAULT == 7 -> ok = false
    :: else
    fi
}

/* Tries; else leaves WANTED and enters the line, unless there is room by now. entered: it has to wait. */
inline enter(p) {
    atomic {
        !guard -> guard = true;
        holds_up();
        behind = ok;
        ok = false;
        if
        :: !behind -> publish(p)
        :: else
        fi
    }
    atomic { /* a receiver may have made room in between */
        do
        :: ok -> entered = false; break
        :: !ok && (behind || FAULT == 1 || place[full_one] != EMPTY) ->
            if
            :: !behind -> wanted[full_one] = true
            :: else
            fi;
            line[waiting] = p; waiting++; entered = true;
            break
        :: else -> publish(p)
        od;
        guard = false; ok = false; behind = false; full_one = 0
    }
}

inline finish(p) {
    atomic {
        done++;
        assert(done < 3 || waiting == 0 || (waiting == 1 && line[0] == ASYNC));
        assert(!(over[p] && gone[p]))
    }
}

/* A thread that waits; timed: it may give up at any moment. */
proctype publisher(byte p; bool timed) {
    byte i, at, q, full_one;
    bool ok, entered, behind;
    enter(p);
    if
    :: !entered || woken[p]
    :: entered && timed ->
        atomic {
            !guard;
            if
            :: !over[p] ->
                gone[p] = true;
                if
                :: FAULT != 5 -> leave_line(p)
                :: else
                fi
            :: else
            fi
        }
    fi;
    finish(p)
}

/* Publishes asynchronously, and goes on to publish the next. */
proctype publisher_of_two() {
    byte i, at, q, full_one;
    bool ok, entered, behind;
    enter(ASYNC);
    enter(3);
    if
    :: !entered || woken[3]
    fi;
    finish(3)
}

proctype canceller() {
    byte i, at, q, full_one;
    bool ok;
    atomic {
        !guard && (over[ASYNC] || (waiting > 0 && (line[0] == ASYNC || line[1] == ASYNC || line[2] == ASYNC)));
        if
        :: over[ASYNC]
        :: else ->
            leave_line(ASYNC);
            gone[ASYNC] = true;
            over[ASYNC] = true;
            if
            :: FAULT != 8 -> carry_on()
            :: else
            fi
        fi
    }
}

proctype receiver(byte b; bool patient; byte others) {
    byte i, at, q, full_one;
    bool ok, want;
end_patient:
    (!patient || over[others]);
end:
    do
    :: place[b] != EMPTY ->
        if
        :: FAULT == 2 -> d_step { want = wanted[b]; wanted[b] = false }
        :: else
        fi;
        d_step { /* under the subscriber's guard */
            place[b] = EMPTY;
            if
            :: FAULT != 2 -> want = wanted[b]; wanted[b] = false
            :: else
            fi
        }
        if
        :: want -> atomic { !guard -> carry_on(); want = false }
        :: else
        fi
    :: b == 0 -> /* it unsubscribes, at any moment */
        atomic {
            !guard -> ended[0] = true; place[0] = EMPTY;
            if
            :: FAULT != 6 -> carry_on()
            :: else
            fi
        }
        break
    od
}

init {
    bool first, second;
    atomic {
        place[0] = FULL; place[1] = FULL;
        if
        :: first = true
        :: second = true
        :: skip
        fi;
        run publisher(0, true); run publisher(1, false); run publisher_of_two(); run canceller();
        run receiver(0, first, 3); run receiver(1, second, 1)
    }
}
