/* From the device to a hart that sleeps (VIRTIO 1.2, 2.7.7.1, 4.2.2): virtqueue::arm() and begin_drain() against a device that
 * uses chains, and disk::handle_line() against its interrupt, which is a level: high while InterruptStatus is not
 * zero, through a PLIC, which makes it pending once until it is claimed, and again at its completion if it is still high.
 *
 * Each side writes one word and reads the other's; each has a store buffer of one word. With EVENT_IDX the wish is
 * used_event; without it, a flag. A lost interrupt is an invalid end state: the hart sleeps and chains have been used. */

#define CHAINS 3

byte used = 0; /* index of the used ring, in memory */
bool used_buffered = false;
byte used_own = 0;

byte wish = 0; /* used_event; or 1: do not interrupt */
bool wish_buffered = false;
byte wish_own = 0;

bool status = false;  /* InterruptStatus, which is the level of the line */
bool gateway = true;  /* of the PLIC: lets a request through; not between that and its completion */
bool pending = false; /* in the PLIC, and so in sip */
bool masked = false;
bool marked = false;  /* of the queue, by the handler */
bool armed = false;
byte taken = 0;

proctype device_buffer() {
end:
    do
    :: atomic { used_buffered -> used = used_own; used_buffered = false }
    od
}

proctype driver_buffer() {
end:
    do
    :: atomic { wish_buffered -> wish = wish_own; wish_buffered = false }
    od
}

/* The line is a level; the gateway turns it into one request at a time. */
proctype plic() {
end:
    do
    :: atomic { status && gateway -> gateway = false; pending = true }
    od
}

proctype device() {
    byte before, read;
    do
    :: used_own == CHAINS -> break
    :: else ->
        before = used_own;
        atomic {
            !used_buffered;
            if
            :: used_own = used_own + 1
            :: used_own = CHAINS
            fi;
            used_buffered = true
        };
#ifndef DEVICE_WITHOUT_FENCE
        !used_buffered;
#endif
        read = wish;
        if
#ifdef EVENT_IDX
        :: read >= before && read < used_own -> !used_buffered; status = true
#else
        :: read == 0 -> !used_buffered; status = true
#endif
        :: else
        fi
    od
}

inline write_wish(value) {
    atomic {
        !wish_buffered;
        wish_own = value;
        wish_buffered = true
    }
}

/* handle_line(), between claim and completion. */
inline handle() {
    pending = false; /* claim */
#ifdef COMPLETE_BEFORE_ACKNOWLEDGE
    gateway = true;
#endif
#ifndef ACKNOWLEDGE_AFTER_LOOK
    status = false; /* read and acknowledged, then fence_acknowledge() */
#endif
    if
    :: used != taken -> marked = true
    :: else
    fi;
#ifdef ACKNOWLEDGE_AFTER_LOOK
    status = false;
#endif
#if !defined(COMPLETE_BEFORE_ACKNOWLEDGE) && !defined(WITHOUT_COMPLETION)
    gateway = true
#endif
}

inline take_interrupts() {
    do
    :: !masked && pending -> handle()
    :: else -> break
    od
}

/* drain(): as it was marked, then the wish taken back, then the look. */
inline drain() {
#ifndef UNMARK_AFTER_LOOK
    marked = false;
    take_interrupts();
#endif
    if
    :: armed ->
        armed = false;
#ifndef EVENT_IDX
        write_wish(1)
#endif
    :: else
    fi;
    taken = used;
#ifdef UNMARK_AFTER_LOOK
    take_interrupts();
    marked = false
#endif
}

proctype driver() {
    byte seen;
    bool work;
    do
    :: taken == CHAINS -> break
    :: else ->
        take_interrupts();
        if
        :: !armed || marked -> drain()
        :: else /* its interrupt will tell */
        fi;
        if
        :: taken == CHAINS -> break
        :: else
        fi;
        take_interrupts();
#ifndef WITHOUT_MASK
        masked = true;
#endif
        work = false;
        if
        :: !armed ->
            armed = true;
#ifdef EVENT_IDX
            write_wish(taken);
#else
            write_wish(0);
#endif
#ifndef DRIVER_WITHOUT_FENCE
            !wish_buffered;
#endif
#ifndef DRIVER_WITHOUT_LOOK
            seen = used;
            if
            :: seen != taken -> work = true; armed = false
#ifndef EVENT_IDX
                ; write_wish(1)
#endif
            :: else
            fi
#endif
        :: else
        fi;
#ifndef WITHOUT_MARK_LOOK
        work = work || marked;
#endif
        take_interrupts();
        if
        :: !work -> pending /* wfi */
        :: else
        fi;
        masked = false;
        take_interrupts()
    od
}

init {
    atomic {
        run device_buffer();
        run driver_buffer();
        run plic();
        run device();
        run driver()
    }
}
