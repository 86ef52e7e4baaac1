#!/usr/bin/env python3
"""Changes one place of the runtime or the driver at a time and requires that a test fails: the simulation, for some seed, if
the row names no other.

usage: mutants.py [--seeds=N] [--jobs=N] [--only=TEXT] [--check]

Each row of the table names a file, what stands there (exactly once, else that is an error: the row is to be brought up
to date), what is put in its place, and why that must be found. A mutant that survives is a gap in the simulation or
something in the code that nobody needs. The simulated machine has no order of memory weaker than that of its steps; the orders
of atomics and the fences of the ring are the business of tests/interleavings, which makes each of them weaker by itself.

Takes about twenty minutes on two cores. Exit status: 0 if all were found, 1 if one survived, 2 if the table does not fit the sources.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXECUTOR = "async/executor.cpp"
EXECUTOR_HEADER = "async/executor.hpp"
INBOX = "async/inbox.hpp"
SCHEDULE_ON = "async/schedule_on.hpp"
RING = "drivers/virtio/split_virtqueue.hpp"
VIRTQUEUE = "drivers/virtio/virtqueue.hpp"
VIRTQUEUE_SOURCE = "drivers/virtio/virtqueue.cpp"
SLOTS = "drivers/virtio/slot_table.hpp"
PACKED_RING = "drivers/virtio/packed_virtqueue.hpp"
PACKED_RING_SOURCE = "drivers/virtio/packed_virtqueue.cpp"
PACKED_SLOTS = "drivers/virtio/packed_slot_table.hpp"
QUEUE = "drivers/block/queue.cpp"
QUEUE_HEADER = "drivers/block/queue.hpp"
OPERATION = "drivers/block/operation.cpp"
PIECES = "drivers/block/pieces.cpp"
VIRTIO_BLK = "drivers/block/virtio_blk.cpp"
ZONES = "drivers/block/zones.cpp"
ZONE_REQUEST = "drivers/block/zone_request.hpp"
WAIT_LINE = "drivers/block/wait_line.cpp"
WAIT_LINE_HEADER = "drivers/block/wait_line.hpp"
FORWARDING = "drivers/block/forwarding.cpp"
WATCHDOG = "drivers/block/watchdog.cpp"
RECOVERY = "drivers/block/recovery.cpp"
CHANNEL = "drivers/block/channel.cpp"
CHANNEL_HEADER = "drivers/block/channel.hpp"
RESUBMISSION = "drivers/block/resubmission.cpp"
DISK = "drivers/block/disk.cpp"
LIMITS = "drivers/block/limits.cpp"
ADMISSION = "drivers/block/admission.cpp"
MMIO = "drivers/virtio/mmio.cpp"
PCI = "drivers/virtio/pci.cpp"
TRANSPORT = "drivers/virtio/transport.hpp"
HART_QUEUE = "drivers/virtio/hart_queue.hpp"
ENTROPY = "drivers/entropy/entropy.cpp"
CONSOLE = "drivers/console/console_log.cpp"
CONSOLE_HEADER = "drivers/console/console_log.hpp"

# file, what stands there, what is put there instead, why it must be found; and which test finds it, if not the simulation
MUTANTS = [
    # ---- the idle sequence
    (EXECUTOR, "    static_cast<void>(arch::mask_interrupts());\n    bool work = false;\n    for", "    bool work = false;\n    for",
     "an interrupt between the last look and the wait is taken there, and wakes nobody"),
    (EXECUTOR, "if (fell_asleep >= wake_up || !inbox_.fall_asleep()) [[unlikely]] {", "if (fell_asleep >= wake_up) {",
     "whoever posts does not know that the hart sleeps"),
    (EXECUTOR, "    if (!work) {\n        return sleep();\n    }\n", "    return sleep();\n",
     "completions that came before interrupts were asked for are slept through"),
    (EXECUTOR, "if (fell_asleep >= wake_up || !inbox_.fall_asleep()) [[unlikely]] {", "if (!inbox_.fall_asleep()) {",
     "a deadline whose interrupt has been taken already is slept through"),
    (EXECUTOR, "        if (work == 0 && ready_.empty()) [[likely]] {", "        if (ready_.empty()) {",
     "completions that came before interrupts were asked for at the end of a round are slept through"),
    (EXECUTOR, "        static_cast<void>(arch::mask_interrupts());\n        std::size_t work = 0;", "        std::size_t work = 0;",
     "an interrupt between the end of a round and the sleep is slept through"),
    (EXECUTOR, "return more || !ready_.empty() ? round_end::more : round_end::nothing;",
     "return more || !ready_.empty() ? round_end::more : round_end::masked;",
     "a hart sleeps that has asked nobody for an interrupt"),
    (EXECUTOR, "    inbox_.wake_up();\n", "", "the hart takes its own address for a message"),
    (EXECUTOR, "        set_alarm(wake_up);\n", "", "nobody wakes a hart whose timers are all it has"),
    (EXECUTOR, "    take_messages();\n    static", "    static",
     "what is posted never becomes ready"),
    (EXECUTOR, "if (inbox_.has_messages() || poll_sources()) {", "if (poll_sources()) {",
     "a hart that polls for ever never looks into its inbox"),
    (EXECUTOR, "        source->publish();\n", "", "the device is never told"),
    (EXECUTOR_HEADER, "            arch::interrupt_hart(hart_);\n", "", "a message does not wake a hart that sleeps"),

    # ---- the inbox
    (INBOX, "message.next = before == asleep() ? nullptr : before;", "message.next = before;",
     "the mark of a sleeping hart gets into the list"),
    (INBOX, "return before == asleep();", "return before == nullptr;", "the wrong poster interrupts"),
    (INBOX, "} while (!word_.compare_exchange_weak(before, &message, std::memory_order_release, "
     "std::memory_order_relaxed));",
     "} while ((word_.store(&message, std::memory_order_release), false));",
     "a message that another hart posts in between is lost"),
    (INBOX, "last = word_.exchange(nullptr, std::memory_order_acquire);",
     "last = word_.load(std::memory_order_acquire); word_.store(nullptr, std::memory_order_relaxed);",
     "a message that is posted between look and removal is lost"),
    (INBOX, "        for (Node* each = last; each != nullptr;) {",
     "        first = last;\n        while (last->next != nullptr) {\n            last = last->next;\n        }\n"
     "        for (Node* each = nullptr; each != nullptr;) {",
     "messages arrive in the wrong order"),
    (INBOX,
     "return word_.compare_exchange_strong(expected, asleep(), std::memory_order_relaxed, std::memory_order_relaxed);",
     "static_cast<void>(expected); word_.store(asleep(), std::memory_order_relaxed); return true;",
     "a message that came before the hart fell asleep is lost"),
    (INBOX,
     "        static_cast<void>(\n            word_.compare_exchange_strong(expected, nullptr, "
     "std::memory_order_relaxed, std::memory_order_relaxed));",
     "        static_cast<void>(expected); word_.store(nullptr, std::memory_order_relaxed);",
     "the message that woke the hart is lost"),

    # ---- interrupts of a queue: requested, looked again, marked
    (VIRTQUEUE_SOURCE, "        if (is_packed_ ? packed_.enable_interrupts() : split_.enable_interrupts()) {\n", "        if (split_.enable_interrupts() && false) {\n",
     "what completed before interrupts were requested is not seen"),
    (VIRTQUEUE_SOURCE, "    return awaited == marked;\n", "    return false;\n",
     "an interrupt that came just before the sleep is forgotten"),
    (VIRTQUEUE, "        if (awaited != not_armed) {\n            awaited_.store(not_armed, std::memory_order_relaxed); // as in begin_drain()\n            split_.disable", "        if (false) {\n            awaited_.store(not_armed, std::memory_order_relaxed); // as in begin_drain()\n            split_.disable",
     "the queue never requests interrupts again"),
    (VIRTQUEUE, "            return false;\n        }\n        awaited_.store(marked, std::memory_order_relaxed);\n        return true;\n    }\n    // The descriptor is looked at after",
     "            return false;\n        }\n        return true;\n    }\n    // The descriptor is looked at after",
     "the handler marks nothing"),
    (VIRTQUEUE, "            awaited_.store(not_armed, std::memory_order_relaxed); // as in begin_drain()\n            split_.disable", "            split_.disable",
     "a queue that was marked once is never left alone"),
    (VIRTQUEUE,
     "        awaited_.store(armed_from(split_.used_position()), std::memory_order_relaxed); // as in arm()\n"
     "        const bool found = split_.enable_interrupts_and_publish(available, notify);\n",
     "        const bool found = split_.enable_interrupts_and_publish(available, notify);\n"
     "        awaited_.store(armed_from(split_.used_position()), std::memory_order_relaxed);\n",
     "a handler on another hart takes the interrupt for one that nobody requested"),
    (RING, "        return used_count() != 0;\n", "        return false;\n", "no second look after interrupts are on"),
    (RING, "used_event->store(low16(taken));", "used_event->store(low16(taken + 1));", "the interrupt comes one completion late"),
    (RING, "in_high_bits(now - event - 1) < in_high_bits(now - before)", "in_high_bits(event) == in_high_bits(before)",
     "the device is not notified of what it requests a notification for in the middle of a batch"),
    (RING, "return in_high_bits(now - event - 1) < in_high_bits(now - before);", "return (now - event - before) == ~std::size_t{0};",
     "the device is not notified although it requests that"),
    (RING, "arch::fence_full();\n        if (used_event_ != nullptr) {", "arch::fence_consume();\n        if (used_event_ != nullptr) {",
     "the device's request for a notification may be read before the index is written"),
    (RING, "        arch::fence_publish();\n        own_field(ring_index).store(low16(available_now));",
     "        own_field(ring_index).store(low16(available_now));",
     "the index may come before what it hands over"),

    (RING, "        const bool found = in_high_bits(used_index() - taken) != 0;\n", "        const bool found = false;\n",
     "no second look after interrupts are on, where a round publishes at the same time"),
    (VIRTQUEUE, "(available, notify);\n        if (found) [[unlikely]] {\n            disarm();\n", "(available, notify);\n        if (false) {\n            disarm();\n",
     "what was found while the queue was armed is not polled for, because no interrupt has told of it"),
    (CHANNEL, "    only_ = nullptr;\n    only_packed_ = nullptr;\n    current_ = &no_queue;\n", "    only_packed_ = nullptr;\n    current_ = &no_queue;\n",
     "the rings of a device that is just being reset are used"),

    # ---- several harts at one disk
    (CHANNEL_HEADER, "        if (found && executor_ != &async::executor::current()) {\n", "        if (false) {\n",
     "an interrupt taken on another hart wakes nobody"),
    (CHANNEL, "    if (wake_posted_.exchange(1, std::memory_order_acq_rel) == 0) {\n",
     "    {\n", "a message is posted while it is in the inbox already"),
    (CHANNEL, "    static_cast<void>(wake_posted_.exchange(0, std::memory_order_acq_rel));\n", "",
     "a hart is woken once and never again"),
    (CHANNEL, "void channel::interrupted() noexcept {\n    bool found = configuration_changed_.load(std::memory_order_relaxed);\n", "void channel::interrupted() noexcept {\n    bool found = false;\n",
     "a device that needs a reset wakes nobody"),
    (CHANNEL, "    bool work = configuration_changed_.load(std::memory_order_relaxed);\n    bool published = false;\n",
     "    bool work = false;\n    bool published = false;\n",
     "a device that needs a reset is slept through"),
    (CHANNEL, "        recovery_->request(recovery_->causes() & recovery::cause::when_drained);\n", "",
     "nothing is in flight any more, and nobody switches the write cache"),
    (CHANNEL, "return false;\n    }\n    bool work = configuration_changed_",
     "return false;\n    }\n    if (stopped_) {\n        return false;\n    }\n    bool work = configuration_changed_",
     "a hart sleeps while it holds, and no interrupt wakes it for the write cache"),
    (CHANNEL, "    } else if (found && !waiting_.empty()) {\n", "    } else if (false) {\n", "requests wait in line for ever"),
    (CHANNEL, "    stopped_ = true;\n", "", "a channel goes on while the device is reset"),
    (CHANNEL, "        begin_quantum(*first_);\n        push_waiting();\n", "        begin_quantum(*first_);\n",
     "what waited during a reset waits for ever"),
    (FORWARDING, "    ended.forwarding.by->origin_->post(ended);\n",
     "    async::executor::current().make_ready(ended);\n",
     "a request resumes on the hart that it was forwarded to"),
    (DISK,
     "configuration_change)) [[unlikely]] {\n        home_->configuration_has_changed();\n",
     "configuration_change)) [[unlikely]] {\n",
     "nobody looks why the device has changed"),
    (DISK, "    channels_[index % told].interrupted(queues_[index]);\n", "", "the interrupt of a queue alone wakes nobody"),
    (DISK, "    home_->configuration_has_changed();\n    home_->interrupted();\n", "",
     "the interrupt for configuration changes alone tells nobody"),
    (RECOVERY, "    if (--reports_missing_ != 0) {\n", "    if (--reports_missing_ > 1) {\n",
     "the device is reset before all channels are quiesced"),
    (RECOVERY, "        command_all(held_ != 0 ? command::hold : command::resume);\n", "", "no channel resumes after a reset"),
    (RECOVERY, "    if (pending_ != 0) {\n", "    if (false) {\n",
     "a reset that is requested meanwhile is forgotten"),
    (RECOVERY, "    causes_ = pending_ | held_;", "    causes_ = (pending_ & ~cause::protocol_violation) | held_;",
     "what a device broke the rules with is submitted again"),
    (CHANNEL, "    recovery_->request(recovery::cause::protocol_violation);\n", "",
     "a device that breaks the rules is stopped, and nobody resets it"),
    (CHANNEL, "        quiesce();\n        break;\n", "        break;\n",
     "a channel goes on while another hart resets the device"),

    # ---- stops
    (WAIT_LINE, "    if (line == nullptr || !line->line_.remove(stopped)) {\n", "    if (line == nullptr) {\n",
     "a request that is stopped stays in line"),
    (WAIT_LINE, "    line->end(stopped, status::cancelled);\n", "",
     "a request that is stopped leaves the line and never ends"),
    (WAIT_LINE_HEADER, "{ leave(static_cast<operation&>(*line_.pop_front())); }", "{ static_cast<void>(line_.pop_front()); }",
     "a stop reaches a request that has left the line"),
    (WAIT_LINE, "    if (stopped.state == operation_state::whole_in_line) {\n        stopped.begin_pieces();\n    }\n", "",
     "a whole request that is stopped in line has no pieces to end with"),
    (RESUBMISSION, "        if (waiting.state == operation_state::whole_in_line) {\n            waiting.begin_pieces();\n            waiting.pieces.in_line = true;\n        }\n", "",
     "a whole request in line is not judged again after a reset"),
    (WAIT_LINE, "    if (left.pieces.in_flight == 0) {\n", "    {\n",
     "a request that is stopped ends while the device has pieces of it"),
    (FORWARDING, "    started.may_stop = false; // its token belongs to this hart\n", "",
     "a request in line on another hart is stopped from here"),
    (FORWARDING, "    if (ended.forwarding.stop_is_away) {\n", "    if (false) {\n",
     "a request ends while the message of its stop is under way"),
    (FORWARDING, "    std::destroy_at(std::launder(reinterpret_cast<async::stop_callback*>(ended.stopping.registration)));\n", "",
     "a request that is back can still be stopped"),
    (FORWARDING, "    if (stopped.forwarding.waits_for_stop) {\n", "    if (false) {\n",
     "a request that waits for the message of its stop never ends"),

    # ---- packed rings
    (PACKED_RING, "        first.word.store(word ^ packed_word::available); // as", "        first.word.store(word); // as",
     "the device takes a batch before it is published", "parts"),
    (PACKED_RING, "        available_flags_ ^= packed_word::available | packed_word::used;\n", "",
     "the second lap of the ring looks like the first one", "parts"),
    (PACKED_RING, "        used_flags_ ^= packed_word::available | packed_word::used;\n", "",
     "in the second lap nothing is ever used", "parts"),
    (PACKED_SLOTS, "                if (!is_published(ring, found)) [[unlikely]] {\n", "                if (false) {\n",
     "a chain that the device was not shown is taken for used", "parts"),
    (PACKED_SLOTS, "            if (each == &of) {\n", "            if (false) {\n",
     "the same of one that is not as expected", "parts"),
    (PACKED_RING, "return of_this_lap ? slot < end : begin <= slot;", "return of_this_lap && slot < end;",
     "no notification for an event before the end of the ring", "parts"),
    (PACKED_RING, "            return of_this_lap && begin <= slot && slot < end;\n", "            return begin <= slot && slot < end;\n",
     "an event of the next lap is taken for one of this lap", "parts"),
    (PACKED_RING, "        return end < ring_end_ ? end : ring_end_;\n", "        return ring_end_;\n",
     "more is taken than was published", "parts"),
    (PACKED_RING_SOURCE, "    return some_used();\n", "    return false;\n",
     "what was used before interrupts were requested is slept through"),
    (PACKED_RING, "        const bool found = packed_word::is_used(next_used->word.load(), used_flags);\n", "        const bool found = false;\n",
     "the same where a round publishes at the same time"),
    (PACKED_SLOTS, "        if (front_ != &full_ || tail_->in_flight()) {\n", "        {\n",
     "a slot that is given back first, and was free last, follows itself", "parts"),
    (PACKED_SLOTS, "        if (front_ == &full_) {\n            set_front(ring, &first);\n        }\n", "",
     "a table that was full stays full", "parts"),
    (PACKED_SLOTS, "            tail_ = append_lap_end(ring, &last);\n        }\n        full_", "            static_cast<void>(ring);\n        }\n        full_",
     "the ring is left at its end", "parts"),
    (PACKED_SLOTS, "        if (!ring.has_unpublished()) {\n            begin_batch();\n        }\n", "        static_cast<void>(ring);\n",
     "the first descriptor of a batch is not held back", "parts"),
    (PACKED_SLOTS, "            found.expected = not_in_flight;\n", "",
     "a chain is used twice", "parts"),
    (PACKED_SLOTS, "            each->expected = not_in_flight;\n", "", "the same where it came in order", "parts"),
    (PACKED_SLOTS, "            found.place = place;\n            last", "            last", "two slots have one place", "parts"),
    (PACKED_SLOTS, "said.id < chains_ && slots_[said.id].in_flight() &&", "slots_[said.id % chains_].in_flight() &&",
     "an id beyond the ring", "parts"),
    (PACKED_SLOTS, "first->place != place || ring", "ring",
     "a slot keeps a place that another one has", "parts"),
    (PACKED_SLOTS, " || ring.taken_bytes() < in_order_from_) {\n", ") {\n",
     "the same where a chain of an earlier lap was overtaken", "parts"),
    (PACKED_SLOTS, "        ring.begin_lap();\n        lap_word_ = usual_ + ring.available_flags();\n", "        ring.begin_lap();\n",
     "descriptors of the second lap look like those of the first one", "parts"),
    (PACKED_SLOTS, "                run_cut_->next_free = run_end_.next_free; // that end is not reached\n", "",
     "a run that is cut short loses its slots", "parts"),
    (PACKED_SLOTS, "        if (front_ == &lap_end_) {\n            begin_lap(ring); // there", "        if (false) {\n            begin_lap(ring); // there",
     "the end of the ring is in the queue twice", "parts"),
    (PACKED_RING, "        used_event_ = event_at(ring_, used_flags_ != 0);\n", "", "interrupts are requested for the lap before", "parts"),
    (QUEUE_HEADER, "(chains_ != nullptr ? no_table : 0)", "0", "a chain without a table goes the quick way of those with one"),
    (PACKED_RING, "        used_lap_ ^= 1;\n", "", "the handler looks for what was used in the lap before", "parts"),
    (QUEUE_HEADER, "        packed_slots_.publish(ring_.packed());\n        return ring_.arm_and_publish_packed(notify);\n",
     "        return ring_.arm_and_publish_packed(notify);\n", "chains are published that the ring does not know of"),

    # ---- time limits
    (SLOTS, "        expected += age() != oldest ? one_period_old : 0;\n", "", "no request is ever late"),
    (CHANNEL, "        });\n    if (!watchdog_.watches()) [[unlikely]] {\n        return begin_to_watch(work);\n", "        });\n    if (!watchdog_.watches()) [[unlikely]] {\n        return work;\n", "nobody watches the requests"),
    (WATCHDOG, "return ++without_progress_ >= periods_until_late;", "return ++without_progress_ >= 1;",
     "every request is late at once"),
    (CHANNEL, "    if (!own.ring().mark_if_interrupt_lost()) {\n        return false;\n    }\n", "    return false;\n",
     "what an interrupt should have told of is not looked for"),
    (CHANNEL, "            if (!each.ring().has_unpublished() && each.seems_unnoticed()) {\n", "            if (false) {\n",
     "a notification that the device has not seen is not sent again"),
    ("drivers/virtio/packed_virtqueue.cpp", "    const std::size_t of_lap = (event & event_suppression::wrap) != 0 ? 0 : size_;\n",
     "    const std::size_t of_lap = 0;\n", "what the device asks for in the other lap is taken for this one"),
    (CHANNEL, "        static_cast<void>(poll());\n        publish();\n", "        publish();\n",
     "a device that has done its work is late"),
    (RESUBMISSION, "age >= watchdog::periods_until_late;", "age >= 1000 * watchdog::periods_until_late;",
     "what is late is submitted again"),
    (RESUBMISSION, "device_late) != 0 && age >= watchdog::periods_until_late;", "device_late) != 0;",
     "what is not late times out with what is"),
    (RESUBMISSION, "    if (!in_flight.pieces.in_line) {\n        line_.push_back(in_flight);\n    }\n", "",
     "what was in flight is not submitted again"),
    (QUEUE_HEADER, "        memory.status.preset(virtio_blk::status_byte::poison);\n", "",
     "what is submitted again looks as if it had been done"),
    (OPERATION, "    sector = where.sector;\n", "", "what is submitted again has other data"),
    (OPERATION, "    data = where.data;\n", "", "the data of what is submitted again is forgotten"),
    (CHANNEL, "        if (is_busy()) {\n            watchdog_.begin();\n        }\n", "",
     "what was submitted again is never watched"),

    # ---- a clock that steps
    (EXECUTOR_HEADER, "        if (is_before_round(time)) [[unlikely]] {\n", "        if (false) {\n",
     "a clock that steps back makes a sleep longer, or all deadlines due", "timers"),
    (EXECUTOR, "    armed_deadline_ = arch::no_deadline; // what the hart's timer was set to", "    // what the hart's timer was set to",
     "the hart's timer stays at what it was set to before the clock stepped back", "timers"),
    (EXECUTOR, "    if (is_before_round(fell_asleep)) [[unlikely]] {\n", "    if (false) {\n",
     "the hart's timer is set by the clock as it was when the round began", "timers"),
    (EXECUTOR, "        if (alarm == arch::no_deadline || alarm < round_time_ - ahead_) {\n", "        if (false) {\n",
     "a deadline beyond the wrap of the clock interrupts for ever", "timers"),

    # ---- what a device says, and what it is told
    (VIRTQUEUE, "        arch::fence_consume();\n        return used;", "        return used;",
     "an element may be read before the index that hands it over"),
    (MMIO, "    arch::fence_doorbell();\n    arch::mmio_write32(registers_ + queue_ready, 1);\n", "    arch::mmio_write32(registers_ + queue_ready, 1);\n",
     "the device may read the rings as they were before they were zeroed"),
    (MMIO, "    arch::fence_doorbell();\n    arch::mmio_write32(registers_ + queue_pfn", "    arch::mmio_write32(registers_ + queue_pfn",
     "a legacy device may read the rings as they were before they were zeroed", "edges"),
    (VIRTQUEUE, "        if (used > split_.in_flight_published()) [[unlikely]] {\n",
     "        if (used > split_.in_flight_published() + 1) [[unlikely]] {\n",
     "an index that tells of one more than there is hands over what is in flight", "edges"),
    (QUEUE, "        each.preset('\\0'); // QEMU writes no padding\n", "        static_cast<void>(each);\n",
     "an identifier ends in what was there before", "edges"),
    (SLOTS, "slots_[id].available_at != queue.published() &&\n", "true &&\n",
     "an element for a chain that was not published is believed, on the slow path", "edges"),
    (SLOTS, "                    if (done.available_at == published) [[unlikely]] {\n", "                    if (false) {\n",
     "an element for a chain that was not published is believed", "edges"),
    (PIECES, "        if (room < limits.logical_block_size >> sector_shift || piece.count == limits.seg_max) {\n",
     "        if (piece.count == limits.seg_max) {\n", "a request is longer than its used length can tell", "edges"),
    (PIECES, "of.length, limits.size_max, room});", "of.length, limits.size_max});",
     "a request is longer than its used length can tell, by one segment", "edges"),
    (LIMITS, "std::min(said_or(raw.size_max, max_bytes), max_bytes);", "said_or(raw.size_max, max_bytes);",
     "one segment is larger than a request may be", "edges"),
    (LIMITS, "raw.physical_block_exp < 16 ? std::uint64_t{block} << raw.physical_block_exp : block", "block",
     "the physical block is taken for a logical one", "edges"),
    (LIMITS, "raw.physical_block_exp < 16 ? std::uint64_t{block} << raw.physical_block_exp : block",
     "std::uint64_t{block} << (raw.physical_block_exp & 31)", "an exponent without sense is believed", "edges"),
    (VIRTQUEUE, "armed_from(split_.used_position()), std::memory_order_relaxed); // as in arm()\n",
     "armed_from(split_.used_position() + 1), std::memory_order_relaxed);\n",
     "the handler takes a completion for the one that was there before", "interleavings"),
    (VIRTQUEUE, "            return false;\n        }\n        awaited_.store(marked, std::memory_order_relaxed);\n        return true;\n    }\n    // The descriptor is looked at after",
     "            return false;\n        }\n        return true;\n    }\n    // The descriptor is looked at after",
     "the handler marks nothing, wherever it runs", "interleavings"),
    (VIRTQUEUE, "        arch::fence_consume();\n        const std::uint64_t awaited", "        const std::uint64_t awaited",
     "a look without an interrupt may miss that the hart sleeps", "interleavings"),
    (RING, "fence_full();\n        return used_count()", "fence_publish();\n        return used_count()",
     "the used index may be read before the device knows the request for an interrupt", "interleavings"),

    # ---- the second device type
    (ENTROPY, "length <= given.expected_length()", "length <= given.expected_length() + 1",
     "more bytes are taken than the device was asked for", "entropy"),
    (ENTROPY, "length != 0 && ", "", "a device that gives nothing is asked for ever", "entropy"),
    (ENTROPY, "            std::memset(buffer_, 0, received_);", "", "old bytes are taken for new ones", "entropy"),
    (ENTROPY, "resets++ == virtio::device::set_up_attempts", "resets++ == -1", "a device is reset for ever", "entropy"),
    (ENTROPY, "        close(); // the buffer", "        // the buffer",
     "a buffer that the device has is given to it once more", "entropy"),
    (HART_QUEUE, "        is_open_ = false;\n        stopped(why);", "        stopped(why);",
     "a device that broke the rules keeps its hart awake", "entropy"),
    (HART_QUEUE, "            arch::interrupt_hart(home_);", "", "an interrupt that another hart takes wakes nobody", "entropy"),
    (HART_QUEUE, " || configuration_changed_.load(std::memory_order_relaxed));", ");",
     "a reset that is asked for before the hart sleeps is slept through", "entropy"),

    # ---- the third device type
    (CONSOLE, "text.size() <= buffer_size - unused()", "text.size() <= buffer_size - unused() + 1",
     "text that the device has is overwritten", "console"),
    (CONSOLE, "std::memcpy(buffer_, text.data() + first, text.size() - first);", "",
     "text across the end of the buffer is lost", "console"),
    (CONSOLE, "std::min(unused(), buffer_size - begin)", "unused()", "the device reads beyond the buffer", "console"),
    (CONSOLE, "length == 0 || reserved || device_.is_legacy()", "true", "a device that claims to write is believed", "console"),
    (CONSOLE, "length == 0 || reserved || device_.is_legacy()", "length == 0", "a legacy device ends the log", "console"),
    (CONSOLE, "        send();\n    }\n    return honest;", "    }\n    return honest;",
     "what was written meanwhile waits for the next write", "console"),
    (CONSOLE, "    if (alone) {\n        writing_.store(0, std::memory_order_release);\n    }\n", "",
     "the first write is the last", "console"),
    (CONSOLE, "writing_.exchange(1, std::memory_order_acquire) == 0", "writing_.load(std::memory_order_acquire) == 0",
     "two harts write to one place", "console"),
    (CONSOLE, "failure() == error::none && !limit.is_over()", "!limit.is_over()",
     "a log that has ended is waited for", "console"),
    (CONSOLE_HEADER, "        wake_posted_.exchange(0, std::memory_order_acq_rel);\n", "",
     "only the first write wakes the home hart", "console"),
    (HART_QUEUE, "        disarm();\n        publish();\n        static_cast", "        publish();\n        static_cast",
     "a look at a queue that is armed finds nothing", "console"),

    # ---- other harts
    (SCHEDULE_ON, "        there->post(*this); // and",
     "        there->make_ready(*this); // and",
     "another hart's line is touched from here"),
    (SCHEDULE_ON, "        there->post(*this); // and",
     "        executor::current().make_ready(*this); // and",
     "a coroutine goes on where it was"),
    (SCHEDULE_ON, "        stop.message_.post(executor::of(stop.hart_));\n", "        stop.source_.request_stop();\n",
     "a stop runs on the wrong hart"),
    (SCHEDULE_ON, "        co_await schedule_on{hart};\n        co_await schedule_on{home};\n    }\n    co_return",
     "    }\n    co_return",
     "the message of a stop outlives what it belongs to"),
    (SCHEDULE_ON, "        co_await work.ended();\n        co_await schedule_on{home};\n",
     "        co_await work.ended();\n",
     "the work of another hart goes on there"),

    # ---- the parts of drivers/block, and memory that devices do not reach
    (PIECES, "            of.go_to(before); // whole blocks only\n            piece.count = count;\n", "",
     "a piece ends within a block", "parts"),
    (PIECES, "return over < allowed.max_sectors ? allowed.max_sectors - over : allowed.max_sectors;",
     "return allowed.max_sectors + 0 * over;",
     "a discard does not end where the device says", "parts"),
    (PIECES, "piece.count != allowed.max_segments && of", "of", "a request has more ranges than the device permits", "parts"),
    (ADMISSION, "    for (std::size_t i = 0; i < listed; ++i) {\n", "    for (std::size_t i = 0; i + 1 < listed; ++i) {\n",
     "the last range of a list is not checked", "parts"),
    (RECOVERY, "!was_reset_ && !device_->is_drained(causes_)", "false",
     "the write cache is switched with requests in flight", "parts"),
    (PIECES, "{memory.contiguous(of.data, wanted), wanted, limits.size_max}", "{memory.contiguous(of.data, wanted), wanted}",
     "a segment of a large block is longer than size_max", "parts"),
    (ADMISSION, "odd_sector_ = (block >> sector_shift) - 1;", "odd_sector_ = 0;",
     "an operation within a block is plain", "parts"),
    (ADMISSION, "sector > limits.capacity - sectors", "sector + sectors > limits.capacity",
     "a sector near 2^64 is on the disk", "parts"),
    (SLOTS, "        return age() >= old && now", "        return now",
     "what is not old starves", "parts"),
    (RECOVERY, "    pending_ = 0;\n", "", "a recovery that is done is done again", "parts"),
    (CHANNEL, "        if (outcome == status::out_of_memory && is_busy()) {\n", "        if (false) {\n",
     "a request that finds no room ends though others are about to make some", "bouncing"),
    (CHANNEL, "            started.go_to(before);\n", "", "what waits for room is skipped", "bouncing"),
    (QUEUE, "            unshare(taken);\n            return false;\n", "            return false;\n",
     "what was shared before there was no more room stays shared", "bouncing"),
    (QUEUE_HEADER, "            if (confirmed) {\n", "            {\n",
     "what a lost device may still write is given to somebody else", "bouncing"),
    # The PCI bus.
    ("drivers/pci/capabilities.cpp", "steps_ == max_steps", "steps_ == 250",
     "a loop of capabilities is followed for more steps than there is room for", "pci"),
    ("drivers/pci/capabilities.cpp", "    pointer &= 0xfc; // the low bits are reserved\n", "",
     "a pointer is taken with its reserved bits", "pci"),
    ("drivers/pci/enumeration.cpp", "(pin - 1 + device) % 4 + 1", "(pin + device) % 4 + 1",
     "a bridge turns pins by one too far", "pci"),
    ("drivers/pci/enumeration.cpp", "        set_bus_numbers(space, found, 0);\n", "",
     "bridges keep the bus numbers of the firmware while others are numbered", "pci"),
    ("drivers/pci/enumeration.cpp", "    disable(space, found.address);\n", "",
     "a function decodes while its BARs are sized", "pci"),
    ("drivers/pci/bars.cpp", "    space.write32(where, offset, before);\n", "", "a BAR is not restored", "pci"),
    ("drivers/pci/address_pool.cpp", "    const std::uint64_t address = (next_ + (size - 1)) & ~(size - 1);",
     "    const std::uint64_t address = next_;", "a BAR is placed without alignment", "pci"),
    ("drivers/pci/address_pool.cpp", "!(is_root || bar.prefetchable) || ", "",
     "what is not prefetchable is placed beyond what a bridge forwards", "pci"),
    ("drivers/pci/bridge_windows.cpp", "    before.skip_to(end);\n", "", "addresses behind a bridge are given again", "pci"),
    ("drivers/pci/placement.cpp", "of.decodes_memory() ?", "true ?", "decoding is on without addresses", "pci"),
    ("drivers/pci/msix.cpp", "    mask(index); // an entry must not change while it is unmasked\n", "",
     "an entry of MSI-X changes while it is unmasked", "pci"),
    ("drivers/virtio/pci_capabilities.cpp", "place.length > bar.size - offset", "offset + place.length > bar.size",
     "a structure beyond 4 GiB wraps into its BAR", "pci"),
    (PCI, "    arch::fence_doorbell();\n    arch::mmio_write16(where_.common + queue_enable, 1);\n",
     "    arch::mmio_write16(where_.common + queue_enable, 1);\n",
     "a device on PCI may read the rings as they were before they were zeroed", "virtio-pci"),
    (PCI, "    arch::fence_doorbell();\n    arch::mmio_write32(window_ + legacy::queue_address,",
     "    arch::mmio_write32(window_ + legacy::queue_address,",
     "a legacy device on PCI may read the rings as they were before they were zeroed", "virtio-pci"),
    (PCI, "    return arch::mmio_read16(field) == vector;\n", "    return true;\n", "a vector that was refused is counted on", "virtio-pci"),
    (PCI, "    configuration_vector_set_ = false;\n", "", "after a reset nobody tells of changes of the configuration", "virtio-pci"),
    (PCI, "vectors_.count > 2 ? 1 + index : last", "last", "a queue interrupts for another", "virtio-pci"),
    (PCI, "notify_at + width > where_.notify_length", "notify_at + 1 > where_.notify_length",
     "a notification goes beyond its structure", "virtio-pci"),
    (PCI, "width <= where_.device_length - offset", "true", "a field is read beyond the configuration", "virtio-pci"),
    (PCI, "return changed || needs_reset;", "return changed;", "a device with one vector asks for a reset in vain", "virtio-pci"),
    (PCI, "return changed || needs_reset;", "return needs_reset;", "a change of a device with one vector is not seen", "virtio-pci"),
    (PCI, "at = vectors().count != 0 ? ", "at = vectors().count == 0 ? ", "a legacy configuration is looked for elsewhere", "virtio-pci"),

    # ---- features of ring and transport
    (TRANSPORT, "registers.queue | position << 16", "registers.queue", "a notification says nothing of the ring", "features"),
    (RING, "next_available() const noexcept { return low16(published_); }", "next_available() const noexcept { return low16(taken_); }",
     "a notification names an index that is not the published one", "features"),
    ("drivers/virtio/packed_virtqueue.hpp", "        if (next_ == ring_end_) { // and the next lap", "        if (false) { // and the next lap",
     "at the end of a packed ring a notification names a slot that does not exist", "features"),
    ("drivers/virtio/packed_virtqueue.hpp", "            return wrap ? std::uint16_t{0} : std::uint16_t{event_suppression::wrap};",
     "            return wrap ? std::uint16_t{event_suppression::wrap} : std::uint16_t{0};",
     "at the end of a packed ring a notification has the wrap counter of the lap that ends", "features"),
    (MMIO, "    notifies_with_data_ = (accepted & feature::notification_data) != 0;\n", "", "NOTIFICATION_DATA is accepted and nothing else", "features"),
    (PCI, "const bool with_data = has(feature::notification_data);", "const bool with_data = false;",
     "NOTIFICATION_DATA is accepted on PCI and nothing else", "features"),
    (PCI, "has(feature::notification_data) ? sizeof(std::uint32_t) : sizeof(std::uint16_t);", "sizeof(std::uint16_t);",
     "notification data goes beyond its structure", "features"),
    (PCI, " && where_.notify_off_multiplier % sizeof(std::uint32_t) == 0", "", "notification data at an odd address", "features"),
    (PCI, "? arch::mmio_read16(where_.common + queue_notif_config_data)", "? index", "a notification names the index where the device wants something else", "features"),
    (PCI, "where_.common_length >= queue_notif_config_data + sizeof(std::uint16_t)", "true", "a field is read that the device does not have", "features"),
    (MMIO, "    return arch::mmio_read32(registers_ + queue_ready) == 0;\n", "    return true;\n", "a queue that was not reset is taken for one that was", "features"),
    (PCI, "    return arch::mmio_read16(where_.common + queue_enable) == 0;\n", "    return true;\n",
     "a queue on PCI that was not reset is taken for one that was", "features"),
    (MMIO, "    while (arch::mmio_read32(registers_ + queue_reset) != 0) {\n", "    while (arch::mmio_read32(registers_ + queue_reset) > 1) {\n",
     "a reset of a queue is not waited for", "features"),
    (PCI, "    while (arch::mmio_read16(where_.common + queue_reset) != 0) {\n", "    while (arch::mmio_read16(where_.common + queue_reset) > 1) {\n",
     "a reset of a queue on PCI is not waited for", "features"),
    (PCI, "where_.common_length >= queue_reset + sizeof(std::uint16_t)", "true", "a field for the reset of a queue that the device does not have", "features"),
    (QUEUE_HEADER, "return in_flight() == 0 || !(all || reset_requested_);", "return in_flight() == 0 || !all;",
     "a queue is reset that has requests", "features"),
    (QUEUE_HEADER, "return in_flight() == 0 || !(all || reset_requested_);", "return in_flight() == 0;",
     "a queue is reset only when the others are empty, too", "features"),
    (DISK, "            queue_resets_fail_ = true;\n", "", "a device that does not reset its queues is asked again and again", "features"),
    (QUEUE, "have_come == interrupts_then_ ? lost_in_a_row_ + 1 : 1", "lost_in_a_row_ + 1", "a queue is reset for interrupts that were lost long ago", "features"),
    (CHANNEL, "if (!own.interrupt_was_lost() || !properties_.can_reset_queues) {", "if (!own.interrupt_was_lost()) {",
     "a queue is reset without RING_RESET", "features"),
    (CHANNEL, "                if (!each.is_built()) {\n", "                if (recovery_->was_reset()) {\n", "a queue that was reset by itself has no slots", "features"),
    (RING, "id < size_ && chains <= count ? chains : 0", "id < size_ ? chains : 0", "a batch ends behind what was used", "features"),
    (RING, "id < size_ && chains <= count ? chains : 0", "chains <= count ? chains : 0", "a batch ends with a request that there cannot be", "features"),
    (RING, "const std::size_t chains = ((id - next) & (size_ - 1u)) + 1;", "const std::size_t chains = id < size_ ? 1 : 0;",
     "of a batch only one request is taken", "features"),
    (SLOTS, "batch.chains > 1 ? next.expected_length() : batch.length;", "batch.length;",
     "a request within a batch has the length of the last one", "features"),
    (SLOTS, "static_cast<std::uint32_t>(batch.length), batch.chains > 1)", "static_cast<std::uint32_t>(batch.length), false)",
     "a request within a batch is checked by the length of the last one", "features"),
    (SLOTS, "        last_free_ = &done;\n    }\n", "    }\n", "slots do not become free in the order of the ring", "features"),
    (SLOTS, "        done.next_free = &none;\n        (full()", "        (full()", "a slot is taken that is not free", "features"),
    (QUEUE, "(packed || in_order || size < roomy_size)", "(packed || size < roomy_size)", "descriptors of a large ring are not used one after another", "features"),
    ("drivers/block/virtio_blk.cpp", "        wanted &= ~virtio::feature::in_order;\n", "", "IN_ORDER is accepted on split rings without tables", "features"),
    (PACKED_SLOTS, "        while (taken != &last) {\n", "        for (bool once = true; once; once = false) {\n", "of a batch in a packed ring only the first request ends", "features"),
    (PACKED_SLOTS, "said.is_reserved || !is_last", "said.is_reserved", "each request of a batch in a packed ring has the length of the last one", "features"),
    (CHANNEL, " && !first_->ring().is_in_order() ? first_", " ? first_", "the quick way takes no batches", "features"),
    (PCI, "feature::ring_packed | feature::order_platform;", "feature::ring_packed;", "ORDER_PLATFORM is not accepted", "features"),

    # ---- zoned disks
    (VIRTIO_BLK, "        wanted &= ~feature::zoned;\n", "", "ZONED is accepted from an ordinary disk", "zoned"),
    (VIRTIO_BLK, "~(feature::discard | feature::write_zeroes)", "~feature::write_zeroes",
     "DISCARD is accepted from a host-managed disk", "zoned"),
    (DISK, "    if (is_zoned_without_feature()) { // and", "    if (false) { // and",
     "a host-managed disk without ZONED is written to like an ordinary one", "zoned"),
    (DISK, "device_.is_legacy() ? options_.features_off | feature::zoned", "false ? options_.features_off",
     "ZONED is accepted over the legacy interface", "zoned"),
    (DISK, "queue.has_zones = properties_.zone_sectors != 0;", "", "a status of zones is not known", "zoned"),
    (LIMITS, "raw.zone_sectors % unit_sectors != 0", "false", "a zone begins within a unit of writing", "zoned"),
    (LIMITS, "        known.max_secure_erase_sectors = round_down(known.max_secure_erase_sectors, known.zone_sectors);\n", "",
     "a part of a zone is erased", "zoned"),
    (ADMISSION, "limits.max_zone_write_sectors, limits.zone_sectors - from_start);",
     "limits.max_zone_write_sectors, limits.zone_sectors);", "a write goes from zone to zone", "parts"),
    (ADMISSION, "return is_aligned && sectors % granularity == 0 && sectors <= room", "return is_aligned && sectors <= room",
     "a write ends within a unit", "zoned"),
    (ADMISSION, "        limit = std::min(limit, 2 * block);\n", "", "a plain read goes from zone to zone", "zoned"),
    (ADMISSION, "if (!limits.read_only && !has_zones) {", "if (!limits.read_only) {", "a plain write breaks the rules of zones",
     "zoned"),
    (PIECES, "        max_sectors = std::min(max_sectors, limits.zone_sectors - of.sector % limits.zone_sectors);\n", "",
     "a long read goes from zone to zone", "zoned"),
    (PIECES, "    if (max_bytes - room < virtio_blk::smallest_zone_report) {", "    if (false) {", "a report has room for no zone", "zoned"),
    (CHANNEL, " || (started.has_more() && is_indivisible(started, properties_))", "", "a write to a zone is cut", "zoned"),
    (QUEUE, "            each.preset('\\xff'); // no sector\n", "", "an append returns where an earlier one went", "zoned"),
    (QUEUE, "type == request_type::zone_append ? virtio_blk::append_sector_length : 0;", "0;",
     "an append has no room for its answer", "zoned"),
    (RESUBMISSION, "return may_be_repeated(in_flight, limits) ? status::ok : status::device_reset;", "return status::ok;",
     "an append is written twice", "zoned"),
    (ZONES, "header.nr_zones == 0 || header.nr_zones > room.size()", "header.nr_zones == 0",
     "a report has more zones than its buffer", "zoned"),
    (ZONES, "zone.z_start != start || ", "", "a report leaves zones out", "zoned"),
    (ZONES, "sector >= zone && ", "", "an append goes to another zone", "zoned"),
    (ZONE_REQUEST, "            into_.front() = {}; // a device that writes nothing reports no zones\n", "",
     "an earlier report is taken for another", "zoned"),
]

SOURCES = ["arch", "async", "drivers", "include", "tests/model", "tests/simulation", "tests/host", "tests/interleavings"]
COMMON = ["-std=gnu++20", "-foptimize-sibling-calls", "-w", "-I.", "-Iinclude"]
HOST = [*COMMON, "-O1", '-DINFLIGHT_ARCH_HEADER="inflight/arch/host/machine.hpp"']
COMPILER = os.environ.get("CXX", "g++")
BOOST = "-DBOOST_TEST_DYN_LINK"


# The units of such a folder are compiled as one, which reads their headers once; some use names of others.
TOGETHER = {"async", "drivers/block", "drivers/pci", "drivers/virtio", "tests/simulation"}
ALONE = {"mmio.cpp", "pci_capabilities.cpp"}


def parts_of(units):
    """What is compiled at a time: the name of its object, and its units."""
    parts = {}
    for unit in units:
        name = str(unit.parent if str(unit.parent) in TOGETHER and unit.name not in ALONE else unit)
        parts.setdefault(name, []).append(unit)
    return parts


class Killer:
    """A test: the flags and the units that it is made of, beside the runtime and the driver, and how it is run."""

    def __init__(self, flags, folders, files, command, without=()):
        self.flags = flags
        self.folders = ["async", "drivers/block", "drivers/pci", "drivers/virtio", *folders]
        self.files = [pathlib.Path(file) for file in files]
        self.command = command
        self.without = without

    def units(self, tree):
        found = sorted(path for folder in self.folders for path in (tree / folder).glob("*.cpp"))
        return [path.relative_to(tree) for path in found if path.name not in self.without] + self.files

    def touched_by(self, tree, name):
        if name.endswith(".cpp"):
            return [unit for unit in self.units(tree) if str(unit) == name]
        return [unit for unit in self.units(tree) if not str(unit).startswith(("arch", "tests/model"))]

    def prepare(self, tree, which):
        """Builds the test without a change; see build()."""
        return self.build(tree, which, self.units(tree))

    def build(self, tree, which, units):
        """Compiles these units and links; the message of the compiler if that fails, else None."""
        objects = []
        for part, all_units in parts_of(self.units(tree)).items():
            name = f"{which}.{part.replace('/', '.')}"
            objects.append(f"{name}.o")
            if any(unit in units for unit in all_units):
                (tree / f"{name}.cpp").write_text("".join(f'#include "{unit}"\n' for unit in all_units))
                done = subprocess.run([COMPILER, *self.flags, "-c", f"{name}.cpp", "-o", f"{name}.o"], cwd=tree, text=True,
                                      capture_output=True, check=False)
                if done.returncode != 0:
                    return done.stderr
        libraries = ["-lboost_unit_test_framework"] if BOOST in self.flags else []
        done = subprocess.run([COMPILER, *objects, *libraries, "-o", f"run-{which}"], cwd=tree, text=True,
                              capture_output=True, check=False)
        return done.stderr if done.returncode != 0 else None

    def run(self, tree, which, seeds):
        """Whether it passes, and what was said. A test that hangs has not passed."""
        command = [part.format(seeds=seeds) for part in self.command]
        try:
            done = subprocess.run([f"./run-{which}", *command], cwd=tree, errors="replace", capture_output=True, check=False,
                                  timeout=1800)
        except subprocess.TimeoutExpired:
            return False, "it did not end"
        return done.returncode == 0, done.stdout + done.stderr


KILLERS = {
    "simulation": Killer(HOST, ["tests/model", "tests/simulation"], ["arch/host/machine.cpp"], ["--seeds={seeds}"],
                         without=("machine_test.cpp",)),
    "edges": Killer([*HOST, BOOST], ["tests/model"],
                    ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/hostile_edges_test.cpp"],
                    ["--color_output=no"]),
    "entropy": Killer([*HOST, BOOST], ["drivers/entropy", "tests/model"],
                      ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/entropy_test.cpp"],
                      ["--color_output=no"]),
    "console": Killer([*HOST, BOOST], ["drivers/console", "tests/model"],
                      ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/console_log_test.cpp"],
                      ["--color_output=no"]),
    "parts": Killer([*HOST, BOOST], [],
                    ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/admission_test.cpp",
                     "tests/host/packed_slot_table_test.cpp", "tests/host/packed_virtqueue_test.cpp",
                     "tests/host/pieces_test.cpp", "tests/host/recovery_test.cpp", "tests/host/slot_table_test.cpp"],
                    ["--color_output=no"]),
    "bouncing": Killer([*HOST, BOOST], ["tests/model"],
                       ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/dma_memory_test.cpp"],
                       ["--color_output=no"]),
    "virtio-pci": Killer([*HOST, BOOST], ["tests/model"],
                         ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/virtio_pci_test.cpp"],
                         ["--color_output=no"]),
    "features": Killer([*HOST, BOOST], ["tests/model"],
                       ["arch/host/machine.cpp", "tests/host/in_order_test.cpp", "tests/host/main.cpp", "tests/host/queue_reset_test.cpp",
                        "tests/host/ring_features_test.cpp"],
                       ["--color_output=no"]),
    "zoned": Killer([*HOST, BOOST], ["tests/model"],
                    ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/zoned_test.cpp"],
                    ["--color_output=no"]),
    "timers": Killer([*HOST, BOOST], [],
                     ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/async/scheduler_test.cpp"],
                     ["--color_output=no", "--run_test=scheduler_tests"]),
    "interleavings": Killer([*COMMON, BOOST, "-O2", '-DINFLIGHT_ARCH_HEADER="tests/interleavings/machine.hpp"'],
                            ["tests/interleavings"], ["tests/host/main.cpp"],
                            ["--color_output=no", "--run_test=protocol_tests/right_as_they_are"],
                            without=("mmio.cpp", "trace.cpp", "ecam.cpp", "msix.cpp", "pci.cpp")),
    "pci": Killer([*HOST, BOOST], ["tests/model"],
                  ["arch/host/machine.cpp", "tests/host/main.cpp", "tests/host/pci_capabilities_test.cpp",
                   "tests/host/pci_enumeration_test.cpp", "tests/host/pci_msix_test.cpp",
                   "tests/host/pci_placement_test.cpp"],
                  ["--color_output=no"]),
}


def killer_of(mutant):
    return mutant[4] if len(mutant) > 4 else "simulation"


def first_finding(said):
    """One line that tells what was found, and with which seed."""
    seed = next((f"seed {line.split('--seed=')[1]}: " for line in said.splitlines() if "--seed=" in line), "")
    marks = ("  [", "panic", "error: in", "signal", "it did not end")
    finding = next((line.strip() for line in said.splitlines() if line.startswith("  [") or
                    any(mark in line for mark in marks[1:])), "it ended with a failure")
    return f"{seed}{finding[:110]}"


def try_mutant(pristine, where, number, mutant, seeds):
    """Whether it was found, what was said, and how long that took. None, and the compiler's message, if it does not compile."""
    name, original, replacement = mutant[:3]
    which = killer_of(mutant)
    started = time.monotonic()
    tree = where / f"mutant{number}"
    shutil.copytree(pristine, tree, symlinks=True)
    file = tree / name
    file.write_text(file.read_text().replace(original, replacement))
    problem = KILLERS[which].build(tree, which, KILLERS[which].touched_by(tree, name))
    if problem is not None:
        return None, problem, time.monotonic() - started
    passed, said = KILLERS[which].run(tree, which, seeds)
    shutil.rmtree(tree)
    return not passed, said, time.monotonic() - started


def misfits(chosen):
    """Tells of each mutant whose text does not stand in its file exactly once. How many there are."""
    unfit = 0
    for name, original, _, reason, *_ in chosen:
        count = (ROOT / name).read_text().count(original)
        if count != 1:
            unfit += 1
            print(f"{name} has this {count} times, not once ({reason}):\n{original}", file=sys.stderr)
    return unfit


class Unusable(Exception):
    """A test fails without any change, or something does not compile: the table or the tests are to be repaired first."""


def try_all(chosen, seeds, jobs):
    """Yields each mutant with what try_mutant() returns for it."""
    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder)
        pristine = where / "pristine"
        for source in SOURCES:
            shutil.copytree(ROOT / source, pristine / source, symlinks=True)
        for which in sorted({killer_of(mutant) for mutant in chosen}):
            problem = KILLERS[which].prepare(pristine, which)
            if problem is not None:
                raise Unusable(problem)
            passed, said = KILLERS[which].run(pristine, which, seeds)
            if not passed:
                raise Unusable(f"{which} fails without any change: {first_finding(said)}")
            print(f"{which} passes without a change", flush=True)
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            runs = [pool.submit(try_mutant, pristine, where, number, mutant, seeds)
                    for number, mutant in enumerate(chosen)]
            for mutant, result in zip(chosen, runs):
                yield mutant, *result.result()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose file or reason contains this")
    parser.add_argument("--check", action="store_true", help="only whether the table fits the sources; at once")
    options = parser.parse_args()

    chosen = [mutant for mutant in MUTANTS if options.only in mutant[0] or options.only in mutant[3]]
    if misfits(chosen):
        return 2
    if options.check:
        return 0
    print(f"{options.seeds} seeds, {len(chosen)} mutants", flush=True)
    number_found = 0
    try:
        for mutant, found, said, seconds in try_all(chosen, options.seeds, options.jobs):
            if found is None:
                raise Unusable(f"does not compile: {mutant[0]}: {mutant[3]}\n{said}")
            number_found += found
            print(f"{'found   ' if found else 'SURVIVED'} {seconds:5.1f} s  {mutant[0]}: {mutant[3]}"
                  + (f"\n                   {first_finding(said)}" if found else ""), flush=True)
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"{number_found} of {len(chosen)} mutants found")
    return 0 if number_found == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
