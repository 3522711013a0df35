/* guard.pml - core/guard.h: the favourite goes in and out by plain stores, the others take the favour away.
 *
 * Each thread has a store buffer: what it stores reaches memory at any later moment, in order (x86; elsewhere
 * each store that could overtake another is a release). A light fence does nothing; the heavy one empties
 * everybody's buffer, as membarrier does. Proved: never two inside, each sees what the one before did, and
 * nobody waits for ever.
 *
 * FAULT 1: no heavy fence. 2: the favourite does not look again. 3: nobody waits until the favourite is
 * outside. 4: the favourite leaves before what it did is stored. 5: the favour is taken away without having
 * taken the guard. 6: another becomes the favourite while the one before may still be on its way in. */
#ifndef FAULT
#define FAULT 0
#endif
#define THREADS 3
#define ROUNDS 2     /* how often each goes in */
#define NOBODY 7

/* Memory, by address. */
#define FAVOURITE 0
#define INSIDE 1
#define TAKEN 2
#define DATA 3
byte memory[4];

/* The buffers: (address, value), oldest first. */
#define DEPTH 3
chan buffer[THREADS] = [DEPTH] of { byte, byte };

byte owner = NOBODY; /* who writes INSIDE; guarded by TAKEN */
byte inside;  /* threads that are; not part of the protocol */
byte entered; /* how often somebody was */

/* What thread t finds at an address: its own last store, or memory. */
inline load(t, address, ret) {
    d_step {
        ret = memory[address];
        at = 0;
        do
        :: at < len(buffer[t]) ->
            buffer[t] ? was, value;
            buffer[t] ! was, value;
            if
            :: was == address -> ret = value
            :: else
            fi;
            at++
        :: else -> break
        od;
        at = 0; was = 0; value = 0
    }
}
inline store(t, address, v) { buffer[t] ! address, v }
inline drain(t) {
    do
    :: len(buffer[t]) > 0 -> buffer[t] ? was, value; memory[was] = value
    :: else -> break
    od;
    was = 0; value = 0
}
inline fence_heavy() {
    d_step {
        other = 0;
        do
        :: other < THREADS -> drain(other); other++
        :: else -> break
        od;
        other = 0
    }
}
/* A read-modify-write empties its own thread's buffer. */
inline swap(t, address, v, ret) {
    d_step {
        drain(t);
        ret = memory[address];
        memory[address] = v
    }
}

proctype thread(byte me) {
    byte seen, favourite, rounds, at, was, value, other;
    bool by_taking;
    do
    :: rounds == ROUNDS -> break
    :: rounds < ROUNDS ->
        rounds++;
        by_taking = true;
        load(me, FAVOURITE, favourite);
        if
        :: favourite == me ->
            store(me, INSIDE, 1);
            /* the light fence */
            load(me, FAVOURITE, favourite);
            if
            :: favourite == me || FAULT == 2 -> by_taking = false
            :: else -> store(me, INSIDE, 0)
            fi
        :: else
        fi;
        if
        :: by_taking ->
            if
            :: FAULT != 5 ->
take:           swap(me, TAKEN, 1, seen);
                if
                :: seen != 0 -> (memory[TAKEN] == 0); goto take
                :: else
                fi
            :: else
            fi;
            load(me, FAVOURITE, favourite);
            if
            :: favourite != NOBODY ->
                store(me, FAVOURITE, NOBODY);
                if
                :: FAULT != 1 -> fence_heavy()
                :: else
                fi;
                if
                :: FAULT != 3 -> (memory[INSIDE] == 0)
                :: else
                fi
            :: else
            fi;
            /* The streak may begin, be broken, or be long enough. An owner who comes here is not on its way in. */
            if
            :: owner == me -> owner = NOBODY
            :: owner == NOBODY || FAULT == 6 -> owner = me; store(me, FAVOURITE, me)
            :: true
            fi
        :: else
        fi;
        atomic { inside++; assert(inside == 1) }
        load(me, DATA, seen);
        assert(seen == entered); /* what the one before stored */
        entered++;
        if
        :: FAULT != 4 || by_taking -> store(me, DATA, entered)
        :: else
        fi;
        inside--;
        if
        :: by_taking -> store(me, TAKEN, 0)
        :: else -> store(me, INSIDE, 0)
        fi;
        if
        :: FAULT == 4 && !by_taking -> store(me, DATA, entered)
        :: else
        fi
    od
}

/* Hardware: the oldest store of a thread reaches memory. */
proctype hardware(byte t) {
    byte was, value;
end:
    do
    :: d_step { buffer[t] ? was, value -> memory[was] = value; was = 0; value = 0 }
    od
}

init {
    atomic {
        memory[FAVOURITE] = NOBODY;
        run thread(0); run thread(1); run thread(2);
        run hardware(0); run hardware(1); run hardware(2)
    }
}
