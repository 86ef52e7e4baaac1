/* One hart resets a device that has requests of all harts (disk::recover(), with the queues of other harts stopped): it
 * asks the other harts to stop, waits until each has said that it has, resets, waits until the device confirms it, gives
 * back what was inside, and lets the others go on.
 *
 * A buffer that the device owns must not be reused; a request must end once; a hart that has been told that the device is
 * stopped must not ring its doorbell. Nobody may wait for ever: that is an invalid end state. */

#define HARTS 2    /* beside the one that resets */
#define REQUESTS 2 /* of each */

#define FREE 0
#define INSIDE 1 /* the device may write to it */
#define USED 2   /* the device has said that it is done */

mtype = { quiesce, go_on };

byte slot[HARTS];          /* one of each hart */
bool device_busy[HARTS];   /* the device has fetched the chain and will write to it */
byte ended[HARTS];
bool running = true;       /* the device */
bool reset_asked = false;
bool resetting = false;    /* from the last acknowledgement to "go on" */
bool reset_done = false;
chan to_hart[HARTS] = [1] of { mtype };
chan to_coordinator = [HARTS] of { byte };

active proctype device() {
    byte i;
end:
    do
    :: atomic { running && !reset_asked && slot[0] == INSIDE && !device_busy[0] -> device_busy[0] = true }
    :: atomic { running && !reset_asked && slot[1] == INSIDE && !device_busy[1] -> device_busy[1] = true }
    :: atomic { device_busy[0] -> assert(slot[0] == INSIDE); /* the write */
                if :: running -> slot[0] = USED :: else fi; device_busy[0] = false }
    :: atomic { device_busy[1] -> assert(slot[1] == INSIDE);
                if :: running -> slot[1] = USED :: else fi; device_busy[1] = false }
    /* A reset is confirmed when nothing is being written any more. */
    :: atomic { reset_asked && !device_busy[0] && !device_busy[1] -> running = false; reset_asked = false }
    od
}

proctype hart(byte me) {
    byte submitted = 0;
    bool stopped = false;
    bool told = false; /* quiesced once */
    do
    :: to_hart[me] ? quiesce ->
        told = true;
#ifdef ACKNOWLEDGES_BEFORE_IT_STOPS
        to_coordinator ! me;
        if /* what it was doing */
        :: submitted < REQUESTS && slot[me] == FREE ->
            atomic { assert(!resetting); slot[me] = INSIDE; submitted++ }
        :: else
        fi;
        stopped = true
#else
        stopped = true;
        to_coordinator ! me
#endif
    :: to_hart[me] ? go_on -> stopped = false
    :: !stopped && submitted < REQUESTS && slot[me] == FREE ->
        atomic {
            assert(!resetting);
            slot[me] = INSIDE;
            submitted++
        }
    :: atomic { !stopped && slot[me] == USED ->
            assert(!resetting);
            slot[me] = FREE;
            ended[me]++
        }
    :: !stopped && told && reset_done && submitted == REQUESTS && slot[me] == FREE -> break
    od;
    assert(ended[me] == REQUESTS)
}

proctype coordinator() {
    byte i, from;
#ifndef WITHOUT_STOPPING
    for (i : 0 .. HARTS - 1) {
        to_hart[i] ! quiesce
    }
#ifdef ONE_ACKNOWLEDGEMENT
    to_coordinator ? from;
#else
    for (i : 0 .. HARTS - 1) {
        to_coordinator ? from
    }
#endif
#endif
    resetting = true;
    reset_asked = true;
#ifndef WITHOUT_CONFIRMATION
    !reset_asked; /* reads the status until it is zero */
#endif
    for (i : 0 .. HARTS - 1) {
#ifdef ABANDONS_WHAT_IS_FREE
        slot[i] = FREE;
        ended[i]++
#else
        if /* abandon(): also what the device has used and nobody has taken */
        :: atomic { slot[i] != FREE -> slot[i] = FREE; ended[i]++ }
        :: else
        fi
#endif
    }
    !reset_asked;
    running = true;
    resetting = false;
    reset_done = true;
#ifndef WITHOUT_GO_ON
    for (i : 0 .. HARTS - 1) {
        to_hart[i] ! go_on
    }
#endif
#ifdef WITHOUT_STOPPING
    for (i : 0 .. HARTS - 1) {
        to_hart[i] ! quiesce;
        to_coordinator ? from;
        to_hart[i] ! go_on
    }
#endif
}

init {
    atomic {
        run hart(0);
        run hart(1);
        run coordinator()
    }
}
