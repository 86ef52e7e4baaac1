#!/usr/bin/env python3
"""Changes one place of the runtime or the driver at a time and requires that the simulation fails for some seed.

usage: mutants.py [--seeds=N] [--jobs=N] [--only=TEXT] [--check]

Each row of the table names a file, what stands there (exactly once, else that is an error: the row is to be brought up
to date), what is put in its place, and why that must be found. A mutant that survives is a gap in the simulation or
something in the code that nobody needs. The simulated machine has no order of memory weaker than that of its steps, so
memory orders are not in this table.

Takes minutes. Exit status: 0 if all were found, 1 if one survived, 2 if the table does not fit the sources.
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
QUEUE = "drivers/block/request_queue.cpp"
QUEUE_HEADER = "drivers/block/request_queue.hpp"
RING = "drivers/virtio/split_virtqueue.hpp"
CHANNEL = "drivers/block/io_channel.cpp"
CHANNEL_HEADER = "drivers/block/io_channel.hpp"
DISK = "drivers/block/disk.cpp"

# file, what stands there, what is put there instead, why it must be found
MUTANTS = [
    # ---- the idle sequence
    (EXECUTOR, "    if (!masked_to_sleep_) {\n        static_cast<void>(arch::mask_interrupts());\n", "    if (!masked_to_sleep_) {\n",
     "an interrupt between the last look and the wait is taken there, and wakes nobody"),
    (EXECUTOR, "if (!work && start < wake_up && inbox_.fall_asleep()) {", "if (!work && start < wake_up) {",
     "whoever posts does not know that the hart sleeps"),
    (EXECUTOR, "if (!work && start < wake_up && inbox_.fall_asleep()) {",
     "if (start < wake_up && inbox_.fall_asleep()) {",
     "completions that came before interrupts were asked for are slept through"),
    (EXECUTOR, "if (!work && start < wake_up && inbox_.fall_asleep()) {", "if (!work && inbox_.fall_asleep()) {",
     "a deadline whose interrupt has been taken already is slept through"),
    (EXECUTOR, "            work |= source->arm();\n        }\n        source->publish();",
     "            static_cast<void>(source->arm());\n        }\n        source->publish();",
     "completions that came before interrupts were asked for at the end of a round are slept through"),
    (EXECUTOR, "    if (sleeps) {\n        static_cast<void>(arch::mask_interrupts());\n    }\n", "",
     "an interrupt between the end of a round and the sleep is slept through"),
    (EXECUTOR, "    masked_to_sleep_ = sleeps;\n", "    masked_to_sleep_ = true;\n",
     "a hart sleeps that has asked nobody for an interrupt"),
    (EXECUTOR, "        inbox_.wake_up();\n", "", "the hart takes its own address for a message"),
    (EXECUTOR, "            arch::set_deadline(wake_up);\n", "", "nobody wakes a hart whose timers are all it has"),
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
    (INBOX, "Node* last = word_.exchange(nullptr, std::memory_order_acquire);",
     "Node* last = word_.load(std::memory_order_acquire); word_.store(nullptr, std::memory_order_relaxed);",
     "a message that is posted between look and removal is lost"),
    (INBOX, "        while (last != nullptr) {", "        first = last;\n        while (false) {",
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

    # ---- interrupts of a queue: asked for, looked again, told
    (QUEUE_HEADER, "        if (ring_.enable_interrupts()) {\n", "        if (ring_.enable_interrupts() && false) {\n",
     "what completed before interrupts were asked for is not seen"),
    (QUEUE_HEADER, "    return pending();\n", "    return false;\n",
     "an interrupt that came just before the sleep is forgotten"),
    (QUEUE, "    disarm();\n    const std::size_t used", "    const std::size_t used",
     "the queue never asks for interrupts again"),
    (QUEUE_HEADER, "    pending_.store(true, std::memory_order_relaxed);\n    interrupts_", "    interrupts_",
     "the handler marks nothing"),
    (QUEUE, "    if (pending_.load(std::memory_order_relaxed)) {\n", "    if (false) {\n",
     "a queue that was marked once is never left alone"),
    (QUEUE_HEADER,
     "        armed_at_.store(armed_from(ring_.next_used()), std::memory_order_relaxed);\n"
     "        if (ring_.enable_interrupts()) {\n",
     "        const bool found = ring_.enable_interrupts();\n"
     "        armed_at_.store(armed_from(ring_.next_used()), std::memory_order_relaxed);\n"
     "        if (found) {\n",
     "a handler on another hart takes the interrupt for one that nobody asked for"),
    (RING, "        return used_count() != 0;\n", "        return false;\n", "no second look after interrupts are on"),
    (RING, "sizeof(std::uint16_t) * size_).store(low16(taken_));",
     "sizeof(std::uint16_t) * size_).store(low16(taken_ + 1));", "the interrupt comes one completion late"),
    (RING, "return crossed(event, now, before);", "return event == before;",
     "the device is not told of what it wishes to be told of in the middle of a batch"),
    (RING, "return crossed(event, now, before);", "return false;",
     "the device is not told although it wishes to be"),
    (RING, "fence_full(); // the index", "fence_consume(); // the index",
     "the device's wish may be read before the index is written"),
    (RING, "        arch::fence_publish(); // chains", "        // chains",
     "the index may come before what it hands over"),

    # ---- several harts at one disk
    (CHANNEL_HEADER, "    if (found && executor_ != &async::executor::current()) {\n", "    if (false) {\n",
     "an interrupt taken on another hart wakes nobody"),
    (CHANNEL, "    if (wake_posted_.exchange(1, std::memory_order_acq_rel) == 0) {\n",
     "    {\n", "a message is posted while it is in the inbox already"),
    (CHANNEL, "    static_cast<void>(wake_posted_.exchange(0, std::memory_order_acq_rel));\n", "",
     "a hart is woken once and never again"),
    (CHANNEL_HEADER, "    bool found = attention_.load(std::memory_order_relaxed);\n", "    bool found = false;\n",
     "a device that asks for a reset wakes nobody"),
    (CHANNEL, "    bool work = attention_.load(std::memory_order_relaxed);\n", "    bool work = false;\n",
     "the wish of a device for a reset is slept through"),
    (CHANNEL, "    if (found && !waiting_.empty()) {\n", "    if (false) {\n", "requests wait in line for ever"),
    (CHANNEL, "    stopped_ = true;\n", "", "a channel goes on while the device is reset"),
    (CHANNEL, "        begin_turn(*first_);\n        push_waiting();\n", "        begin_turn(*first_);\n",
     "what waited during a reset waits for ever"),
    (CHANNEL, "    ended.journey_.home->post(ended);\n", "    async::executor::current().make_ready(ended);\n",
     "a request resumes on the hart that it went through"),
    (DISK, "        home_->attention_.store(true, std::memory_order_relaxed);\n", "",
     "nobody looks why the device has changed"),
    (DISK, "    if (--not_reported_ != 0) {\n", "    if (--not_reported_ > 1) {\n",
     "the device is reset before all channels have stopped"),
    (DISK, "        all_channels(phase::going_on, io_channel::step::go_on);\n", "", "no channel goes on after a reset"),
    (DISK, "    if (wants_change_) { // since\n", "    if (false) {\n",
     "a reset that is asked for meanwhile is forgotten"),
    (DISK, "    wants_end_ |= (asked & asks_end) != 0;\n", "", "what a device has lied about goes in again"),
    (CHANNEL, "    disk_->needs_reset(false);\n", "", "a device that lies is stopped, and nobody resets it"),
    (CHANNEL, "    case step::stop: stop(); break;\n", "    case step::stop: break;\n",
     "a channel goes on while another hart resets the device"),

    # ---- stops
    (CHANNEL, "    if (waiting.channel_->waiting_.remove(waiting)) {\n", "    {\n",
     "a request that is stopped stays in line"),
    (CHANNEL, "        waiting.channel_->end_early(waiting, status::cancelled);\n", "",
     "a request that is stopped leaves the line and never ends"),
    (CHANNEL, "        end_waiting(static_cast<request&>(*first));\n", "",
     "a stop reaches a request that has left the line"),
    (CHANNEL, "    if (waiting.pieces_.inside == 0) {\n", "    {\n",
     "a request that is stopped ends while the device has pieces of it"),
    (CHANNEL, "    waiting.pieces_.segments_left = 0;\n", "",
     "a request that is stopped waits for what nobody gives to the device"),
    (CHANNEL, "    started.may_stop_ = false; // its token belongs to this hart\n", "",
     "a request in line on another hart is stopped from here"),
    (CHANNEL, "    if (ended.journey_.stop_is_away) {\n", "    if (false) {\n",
     "a request ends while the message of its stop is under way"),
    (CHANNEL, "    unregister_stop(ended);\n    ended.continuation", "    ended.continuation",
     "a request that came home can still be stopped"),
    (CHANNEL, "    if (stopped.journey_.waits_for_it) {\n", "    if (false) {\n",
     "a request that waits for the message of its stop never ends"),

    # ---- time limits
    (QUEUE, "            inside.expected += one_look_old;\n", "", "no request is ever late"),
    (CHANNEL, "        if (!watching_) {\n            watch();\n        }\n    }\n}\n\nbool io_channel::arm()",
     "    }\n}\n\nbool io_channel::arm()", "nobody looks after the requests"),
    (CHANNEL, "grow_older() >= looks_until_late", "grow_older() >= 1", "every request is late at once"),
    (CHANNEL, "counters_.lost_interrupts += queue.mark_if_untold() ? 1 : 0;", "static_cast<void>(queue);",
     "what an interrupt should have told of is not looked for"),
    (CHANNEL, "        static_cast<void>(poll());\n        publish();\n", "        publish();\n",
     "a device that has done its work is late"),
    (CHANNEL, "                queue.abandon(*executor_, status::timed_out, looks_until_late);\n", "",
     "what is late goes in again"),
    (CHANNEL, "status::timed_out, looks_until_late);", "status::timed_out);",
     "what is not late times out with what is"),
    (QUEUE, "            ring_.offer(built.head);\n            continue;\n",
     "            if (i != 0) ring_.offer(built.head);\n            continue;\n",
     "one that was inside does not go in again"),
    (QUEUE, "            built.memory.status.store(virtio_blk::status_byte::poison);\n", "",
     "what goes in again looks as if it had been done"),
    (QUEUE, "                built.data->address = built.kept.address;\n", "", "what goes in again has other data"),
    (QUEUE, "            inside.kept = *inside.data; // where", "            // where",
     "the data of what goes in again is forgotten"),
    (CHANNEL, "        if (!watching_ && busy()) {\n            watch();\n        }\n", "",
     "what a look found stopped is never looked after again"),

    # ---- other harts
    (SCHEDULE_ON, "        executor::of(hart_).post(*this); // and",
     "        executor::of(hart_).make_ready(*this); // and",
     "another hart's line is touched from here"),
    (SCHEDULE_ON, "        executor::of(hart_).post(*this); // and",
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
]

SOURCES = ["arch", "async", "drivers", "tests/model", "tests/simulation"]
FLAGS = ["-std=gnu++20", "-O1", "-foptimize-sibling-calls", "-w", "-I.",
         '-DINFLIGHT_ARCH_HEADER="arch/host/machine.hpp"']
COMPILER = os.environ.get("CXX", "g++")


def units(tree):
    """Everything that the simulation is linked of."""
    folders = ["async", "drivers/block", "drivers/virtio", "tests/model"]
    found = sorted(path for folder in folders for path in (tree / folder).glob("*.cpp"))
    return [path.relative_to(tree) for path in found] + [
        pathlib.Path("arch/host/machine.cpp"), pathlib.Path("tests/simulation/simulation_test.cpp")]


def object_of(unit):
    return str(unit).replace("/", ".") + ".o"


def build(tree, which):
    """Compiles these units and links; the message of the compiler if that fails, else None."""
    for unit in which:
        done = subprocess.run([COMPILER, *FLAGS, "-c", str(unit), "-o", object_of(unit)], cwd=tree, text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            return done.stderr
    objects = [object_of(unit) for unit in units(tree)]
    done = subprocess.run([COMPILER, *objects, "-o",
     "simulation"], cwd=tree, text=True, capture_output=True, check=False)
    return done.stderr if done.returncode != 0 else None


def simulate(tree, seeds):
    """Whether all seeds pass, and what was said."""
    done = subprocess.run(["./simulation", f"--seeds={seeds}"], cwd=tree, text=True, capture_output=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def first_finding(said):
    """One line that tells what was found, and with which seed."""
    seed = next((line.split("--seed=")[1] for line in said.splitlines() if "--seed=" in line), "?")
    finding = next((line.strip() for line in said.splitlines() if line.startswith("  [") or "panic" in line), None)
    if finding is None:
        finding = next((line for line in said.splitlines() if line.startswith("signal")), "it ended with a failure")
    return f"seed {seed}: {finding[:110]}"


def try_mutant(pristine, where, number, mutant, seeds):
    """Whether it was found, how, and how long that took."""
    name, original, replacement, _ = mutant
    started = time.monotonic()
    tree = where / f"mutant{number}"
    shutil.copytree(pristine, tree)
    file = tree / name
    file.write_text(file.read_text().replace(original, replacement))
    touched = [pathlib.Path(name)] if name.endswith(".cpp") else [
        unit for unit in units(tree) if not str(unit).startswith(("arch", "tests/model"))]
    problem = build(tree, touched)
    if problem is not None:
        return None, problem, time.monotonic() - started
    passed, said = simulate(tree, seeds)
    shutil.rmtree(tree)
    return not passed, "" if passed else first_finding(said), time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose file or reason contains this")
    parser.add_argument("--check", action="store_true", help="only whether the table fits the sources; at once")
    options = parser.parse_args()

    chosen = [mutant for mutant in MUTANTS if options.only in mutant[0] or options.only in mutant[3]]
    unfit = [mutant for mutant in chosen if (ROOT / mutant[0]).read_text().count(mutant[1]) != 1]
    for name, original, _, reason in unfit:
        count = (ROOT / name).read_text().count(original)
        print(f"{name} has this {count} times, not once ({reason}):\n{original}", file=sys.stderr)
    if unfit or options.check:
        return 2 if unfit else 0

    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder)
        pristine = where / "pristine"
        for source in SOURCES:
            shutil.copytree(ROOT / source, pristine / source)
        problem = build(pristine, units(pristine))
        if problem is not None:
            print(problem, file=sys.stderr)
            return 2
        passed, said = simulate(pristine, options.seeds)
        if not passed:
            print(f"the simulation fails without any change: {first_finding(said)}", file=sys.stderr)
            return 2
        print(f"{options.seeds} seeds pass without a change; {len(chosen)} mutants", flush=True)

        found = 0
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            runs = [pool.submit(try_mutant, pristine, where, number, mutant, options.seeds)
                    for number, mutant in enumerate(chosen)]
            for mutant, run in zip(chosen, runs):
                caught, how, seconds = run.result()
                if caught is None:
                    print(f"does not compile: {mutant[0]}: {mutant[3]}\n{how}", file=sys.stderr)
                    return 2
                found += caught
                print(f"{'found   ' if caught else 'SURVIVED'} {seconds:5.1f} s  {mutant[0]}: {mutant[3]}"
                      + (f"\n                   {how}" if caught else ""), flush=True)
    print(f"{found} of {len(chosen)} mutants found")
    return 0 if found == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
