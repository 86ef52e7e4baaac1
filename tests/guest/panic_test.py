#!/usr/bin/env python3
"""Makes harts panic while all of them write and verify, and sees that nothing is written from then on.

The guest does not know of it: a debugger sets the program counter of a hart to 0 in the midst of a job. QEMU's own trace tells
in which order it was told characters for the console and requests for the disk: no write begins or ends after the first
character of "panic:".

Then: of harts that panic at once, one is heard; and a hart that takes no interrupts is named, also if it holds the console, and
writes nothing any more, though it tries. Last: storage that does not answer does not hide a panic.
"""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from case import Outcome, run
from debugger import PC, TP, Debugger, connect

HARTS = 4
SECONDS = 40  # that a run may take
WRITES = 300  # of which so many are seen before anything is broken
JOB = [
    "bench", f"--harts={HARTS}", f"--queues={HARTS}", "--disk=64M", "--rw=randwrite", "--bs=4k", "--iodepth=8",
    f"--numjobs={HARTS}", "--verify=crc32c", "--time_based", "--runtime=600",
    "--append=poll=always interrupts=any",  # so that no hart needs another
]  # fmt: skip
ENDS = ("virtio_blk_rw_complete", "virtio_blk_req_complete")
EVENTS = ("serial_write", "virtio_blk_handle_write", "blk_co_pwritev", "blk_co_pwrite_zeroes", *ENDS)
NO_INTERRUPTS = bytes.fromhex("73504010")  # csrwi sie, 0
LOOP = bytes.fromhex("6f000000")  # j .
# rdtime a0; lui t1, 2441 (1 s, less 0.01 %, at 10 MHz); add a1, a0, t1; 1: rdtime a0; bltu a0, a1, 1b; jr zero
WAIT_A_SECOND_AND_JUMP_TO_0 = bytes.fromhex("732510c0" "37939800" "b3056500" "732510c0" "e36eb5fe" "67000000")


def symbols(kernel: Path) -> dict[str, int]:
    """Where everything is that the kernel has a name for."""
    words = ["riscv64-linux-gnu-nm", "-C", str(kernel)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: int(address, 16) for address, _, name in (line.split(" ", 2) for line in lines)}


def known_events() -> list[str]:
    """Those of the events that this QEMU knows."""
    listed = subprocess.run(["qemu-system-riscv64", "-trace", "help"], capture_output=True, text=True).stdout.split()
    return [event for event in EVENTS if event in listed]


def in_kernel(debugger: Debugger, hart: int, names: dict[str, int]) -> bool:
    """Not in the firmware, which does not forgive a wrong program counter."""
    return names["kernel_begin"] <= debugger.register(hart, PC) < names["text_end"]


def kernel_numbers(debugger: Debugger, names: dict[str, int]) -> list[int]:
    """What the kernel calls QEMU's harts: whichever the firmware took first is hart 0, and the others follow in order."""
    first = next(hart for hart in range(HARTS) if debugger.register(hart, TP) == names["boot_hart"])
    return [0 if hart == first else hart + (hart < first) for hart in range(HARTS)]


def break_harts(harts: list[int]) -> Callable[[Debugger, dict[str, int]], bool]:
    """A break: all of these harts jump to nowhere at once."""

    def apply(debugger: Debugger, _: dict[str, int]) -> bool:
        for hart in harts:
            debugger.set_register(hart, PC, 0)
        return True

    return apply


class Deafen:
    """A break: hart 2 takes no interrupts any more; then hart 1 jumps to nowhere.

    Hart 2 either goes on writing, or stands in a loop and holds the console.
    """

    def __init__(self, goes_on: bool) -> None:
        self._goes_on = goes_on
        self._came_from = 0

    def __call__(self, debugger: Debugger, names: dict[str, int]) -> bool:
        """True when hart 1 has been broken."""
        place = next(address for name, address in names.items() if "run_crash" in name)  # which does not run here
        taken = next(address for name, address in names.items() if name.endswith("writing::taken"))
        where = debugger.register(2, PC)
        if where == place + 4:  # it is deaf
            if self._goes_on:
                debugger.set_register(2, PC, self._came_from)
            else:
                debugger.write(taken, bytes([1, 0, 0, 0]))
            return break_harts([1])(debugger, names)
        if where != place:
            self._came_from = where
            debugger.write(place, NO_INTERRUPTS + LOOP)
            debugger.set_register(2, PC, place)
        return False


def trial(
    kernel: Path, directory: Path, harm: Callable[[Debugger, dict[str, int]], bool]
) -> tuple[Outcome, list[str], list[int]]:
    """A run that is broken in its midst, the events that QEMU tells of it, and the kernel's numbers of the harts."""
    place, log = directory / "gdb", directory / "events"
    words = ["-gdb", f"unix:{place},server=on,wait=off", "-D", str(log)]
    for event in known_events():
        words += ["-trace", event]
    arguments = [*JOB, *(f"--qemu-arg={word}" for word in words)]
    names = symbols(kernel)
    outcomes: list[Outcome] = []
    running = threading.Thread(target=lambda: outcomes.append(run(arguments, kernel, directory, SECONDS)))
    running.start()
    try:
        while running.is_alive() and not (log.exists() and log.read_bytes().count(b"handle_write") >= WRITES):
            time.sleep(0.05)
        with connect(place) as debugger:
            while True:
                if all(in_kernel(debugger, hart, names) for hart in range(HARTS)):
                    numbers = kernel_numbers(debugger, names)
                    if harm(debugger, names):
                        break
                debugger.resume()
                time.sleep(0.001)
                debugger.stop()
            debugger.resume()
            running.join()
    finally:
        running.join()
    return outcomes[0], log.read_text(errors="replace").splitlines(), numbers


def complaints_about_dead_storage(kernel: Path, directory: Path) -> list[str]:
    """A hart panics when the server behind the disk has stopped, while another one writes: the last output names the panic."""
    image, server_place, place = directory / "image", directory / "nbd", directory / "gdb"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    names = symbols(kernel)
    stub = next(address for name, address in names.items() if "run_crash" in name)
    server = subprocess.Popen(["qemu-nbd", "-k", server_place, "-f", "raw", "-t", image])
    outcomes: list[Outcome] = []
    try:
        while not server_place.exists() and server.poll() is None:
            time.sleep(0.02)
        words = [
            "-gdb", f"unix:{place},server=on,wait=off",
            "-blockdev", f"driver=nbd,node-name=far,server.type=unix,server.path={server_place}",
            "-device", "virtio-blk-device,drive=far,serial=far",
        ]  # fmt: skip
        job = ["bench", "--harts=2", "--rw=randwrite", "--bs=4k", "--iodepth=8", "--numjobs=2", "--time_based"]
        job += ["--runtime=600", "--append=poll=always interrupts=any overwrite=far", "--timeout=3"]
        arguments = [*job, *(f"--qemu-arg={word}" for word in words)]
        running = threading.Thread(target=lambda: outcomes.append(run(arguments, kernel, directory, SECONDS)))
        running.start()
        with connect(place) as debugger:
            begun = False
            while not (begun and in_kernel(debugger, 1, names)):
                begun = all(in_kernel(debugger, hart, names) for hart in (0, 1))
                debugger.resume()
                time.sleep(0.5)
                debugger.stop()
            debugger.write(stub, WAIT_A_SECOND_AND_JUMP_TO_0)
            debugger.set_register(1, PC, stub)
            debugger.resume()
            # Not before: whoever stops a guest waits for its disks.
            time.sleep(0.2)
            server.send_signal(signal.SIGSTOP)
            running.join()
    finally:
        server.kill()
        server.wait()
    wanted = r'^run: no progress for 3 s: last output: "@progress hart [01] has panicked \(jump to a null pointer: '
    if outcomes[0].status == 124 and any(re.match(wanted, line) for line in outcomes[0].lines):
        return []
    return [outcomes[0].explain([f"expected the exit status 124 and a line that matches /{wanted}/"])]


def complaints_about_writes(events: list[str]) -> list[str]:
    """What the disk was told, or did, after the first character of the panic."""
    said = ""
    writes = 0
    ended = 0
    for event in events:
        if match := re.search(r"serial_write write addr 0x00 val 0x([0-9a-f]+)", event):
            said += chr(int(match[1], 16))
        elif "write" in event and "serial" not in event or any(end in event for end in ENDS):
            if "panic:" in said:
                return [f"after the panic's first line: {event}"]
            writes += "handle_write" in event
            ended += any(end in event for end in ENDS)
    if "panic:" not in said:
        return ["QEMU's trace holds no panic"]
    if writes < WRITES or ended == 0:
        return [f"only {writes} writes were seen before the panic, and {ended} ends"]
    return []


def complaints_about_words(outcome: Outcome, harts: list[int], deaf: list[int]) -> list[str]:
    """What is wrong with what was said: one panic, of one of the harts, and what every hart was doing."""
    complaints = []
    if outcome.status != 101:
        complaints.append(f"expected the exit status 101, found {outcome.status}")
    panics = [line for line in outcome.lines if line.startswith("panic:")]
    wanted = re.compile(r"^panic: jump to a null pointer: instruction (page|access) fault, value 0x0 \(hart ([0-9]+)\)$")
    spoke = wanted.match(panics[0]) if len(panics) == 1 else None
    if spoke is None or int(spoke[2]) not in harts:
        complaints.append(f"expected one panic, of a hart of {harts}, found {panics}")
    for hart in range(HARTS):
        note = ", which is running meanwhile: a snapshot" if hart in deaf else ""
        if outcome.lines.count(f"tasks of hart {hart}{note}:") != 1:
            complaints.append(f"expected the tasks of hart {hart}{note}")
        line = f"hart {hart} does not stop"
        if any(each.startswith(line) for each in outcome.lines) != (hart in deaf):
            complaints.append(f"expected '{line}' if, and only if, it does not")
    return complaints


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is done (default: once)")
    given = parser.parse_args()
    kernel = given.kernel.resolve()
    # What is broken, the harts that may speak, those that do not stop; by QEMU's numbers.
    trials: list[tuple[str, Callable[[Debugger, dict[str, int]], bool], list[int], list[int]]] = [
        ("the first hart panics", break_harts([0]), [0], []),
        ("the last hart panics", break_harts([HARTS - 1]), [HARTS - 1], []),
        ("all harts panic", break_harts(list(range(HARTS))), list(range(HARTS)), []),
        ("one hart panics, another is deaf and holds the console", Deafen(goes_on=False), [1], [2]),
        ("one hart panics, another is deaf and writes on", Deafen(goes_on=True), [1], [2]),
    ]
    for name, harm, harts, deaf in trials * given.rounds:
        with tempfile.TemporaryDirectory(dir=given.scratch, prefix="panic-") as directory:
            outcome, events, numbers = trial(kernel, Path(directory), harm)
        complaints = complaints_about_writes(events)
        complaints += complaints_about_words(outcome, [numbers[hart] for hart in harts], [numbers[hart] for hart in deaf])
        if complaints:
            print(f"{name}: FAILED", outcome.explain(complaints), sep="\n")
            return 1
        print(f"{name}: passed in {outcome.seconds:.1f} s")
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="panic-") as directory:
        if complaints := complaints_about_dead_storage(kernel, Path(directory)):
            print("a panic over storage that does not answer: FAILED", *complaints, sep="\n")
            return 1
        print("a panic over storage that does not answer: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
