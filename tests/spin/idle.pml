/* A hart that sleeps, and harts that post to it (async/inbox.hpp, executor::sleep()). The word of the inbox is a count of
 * messages or ASLEEP; software and external interrupts stay pending until they are taken, which is when they are unmasked.
 *
 * A lost wake-up is an invalid end state: everybody waits. */

#define POSTERS 2
#define POSTS 2
#define INTERRUPTS 2
#define ASLEEP 99

byte word = 0;
bool software = false, external = false; /* pending */
bool masked = false;
byte marked = 0;    /* what interrupt handlers have told */
byte taken = 0;     /* messages */
byte completed = 0; /* interrupts of the device that the owner has heard of */

#define ALL_DONE (taken == POSTERS * POSTS && completed == INTERRUPTS)

inline take_interrupts() {
    atomic {
        if
        :: !masked && external -> external = false; marked++
        :: else
        fi;
        if
        :: !masked && software -> software = false
        :: else
        fi
    }
}

proctype poster() {
    byte before, i;
    for (i : 1 .. POSTS) {
        atomic { /* the exchange */
            before = word;
            word = (before == ASLEEP -> 1 : before + 1)
        }
        if
#ifndef WITHOUT_INTERRUPT
        :: before == ASLEEP -> software = true
#endif
        :: else
        fi
    }
}

proctype device() {
    byte i;
    for (i : 1 .. INTERRUPTS) {
        atomic { !external -> external = true }
    }
}

proctype owner() {
    bool may_sleep;
    do
    :: ALL_DONE -> break
    :: else ->
        take_interrupts();
        atomic { completed = completed + marked; marked = 0 };
        take_interrupts();
        atomic {
            assert(word != ASLEEP);
            taken = taken + word;
            word = 0
        }
        if
        :: ALL_DONE -> break
        :: else
        fi;
        take_interrupts();
#if !defined(WITHOUT_MASK) && !defined(MASK_AFTER_LOOK)
        masked = true;
#endif
        may_sleep = true;
#ifndef WITHOUT_LOOK
        may_sleep = (marked == 0);
#endif
        take_interrupts();
#ifdef MASK_AFTER_LOOK
        masked = true;
#endif
#ifndef ASLEEP_AFTER_WAIT
        atomic { /* fall_asleep() */
            if
#ifdef TWO_STEPS
            :: may_sleep && word == 0 -> skip
#else
            :: may_sleep && word == 0 -> word = ASLEEP
#endif
            :: else -> may_sleep = false
            fi
        };
#ifdef TWO_STEPS /* the look and the decision are two accesses */
        if
        :: may_sleep -> word = ASLEEP
        :: else
        fi;
#endif
#endif
        take_interrupts();
#ifdef AWAKE_BEFORE_WAIT
        atomic { if :: word == ASLEEP -> word = 0 :: else fi };
#endif
        if
        :: may_sleep -> (software || external) /* wfi: pending is enough, masked or not */
        :: else
        fi;
#ifdef ASLEEP_AFTER_WAIT
        atomic { if :: word == 0 -> word = ASLEEP :: else fi };
#endif
#ifndef WITHOUT_WAKE_UP
        atomic { /* wake_up() */
            if
            :: word == ASLEEP -> word = 0
            :: else
            fi
        };
#endif
        masked = false;
        take_interrupts()
    od
}

init {
    atomic {
        run owner();
        run poster();
        run poster();
        run device()
    }
}
