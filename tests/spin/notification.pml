/* Whether the driver notifies the device (VIRTIO 1.2, 2.7.10, 2.7.13.4.1): split_virtqueue::publish() against a device that
 * takes what is available until there is no more, then says that it wants to be notified, looks once more, and waits.
 *
 * Each side writes one word and reads the other's. Each has a store buffer of one word, which may stay full for as long as
 * it likes and is drained by a fence, or by anything that the other side can notice in another way (a doorbell).
 * With EVENT_IDX the wish is the index after which to notify; without it, a flag. A lost notification is an invalid end
 * state: the device waits for chains that are there. */

#define CHAINS 3

byte index = 0;       /* of the available ring, in memory */
bool index_buffered = false;
byte index_own = 0;   /* as the driver has written it */

byte wish = 0;        /* avail_event; or 1: do not notify */
bool wish_buffered = false;
byte wish_own = 0;

bool doorbell = false;
byte taken = 0;

/* The buffers drain when they like. */
proctype driver_buffer() {
end:
    do
    :: atomic { index_buffered -> index = index_own; index_buffered = false }
    od
}

proctype device_buffer() {
end:
    do
    :: atomic { wish_buffered -> wish = wish_own; wish_buffered = false }
    od
}

inline write_wish(value) {
    atomic {
        !wish_buffered;
        wish_own = value;
        wish_buffered = true
    }
}

proctype driver() {
    byte before, read;
    do
    :: index_own == CHAINS -> break
    :: else ->
        before = index_own;
        atomic {
            !index_buffered;
            if /* one chain, or all that are left */
            :: index_own = index_own + 1
            :: index_own = CHAINS
            fi;
            index_buffered = true
        };
#ifndef DRIVER_WITHOUT_FENCE
        !index_buffered; /* fence_full() */
#endif
        read = wish;
        if
#ifdef EVENT_IDX
        :: read >= before && read < index_own -> !index_buffered; doorbell = true
#else
        :: read == 0 -> !index_buffered; doorbell = true
#endif
        :: else
        fi
    od
}

proctype device() {
    byte seen;
    do
    :: taken == CHAINS -> break
    :: else ->
        seen = index;
        if
        :: seen != taken ->
            taken = seen
#ifndef EVENT_IDX
            ;
            write_wish(1) /* busy: no notifications */
#endif
        :: else ->
#ifdef EVENT_IDX
            write_wish(taken);
#else
            write_wish(0);
#endif
#ifndef DEVICE_WITHOUT_FENCE
            !wish_buffered;
#endif
#ifndef DEVICE_WITHOUT_LOOK
            seen = index;
#endif
            if
            :: seen != taken -> skip
            :: else ->
                atomic { doorbell -> doorbell = false }
            fi
        fi
    od
}

init {
    atomic {
        run driver_buffer();
        run device_buffer();
        run driver();
        run device()
    }
}
