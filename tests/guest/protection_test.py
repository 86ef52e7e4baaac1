#!/usr/bin/env python3
"""Holds what QEMU's monitor says of the page tables of every hart, in the midst of a job, against the sections of the kernel.

Every page leads to itself; none is writable and executable; the kernel's code, constants and data have their rights and nobody
else's; what is executable is the kernel's code; address 0, the firmware, and the guard below each stack are not there. With memory
beyond what Sv39 reaches, Sv48 is used.
"""

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from case import Outcome, run

HARTS = 3
PAGE = 4096
GUARD = 8192
FIRMWARE = 0x80000000
JOB = ["bench", f"--harts={HARTS}", "--disk=16M", "--rw=randread", "--time_based", "--runtime=600"]
BEYOND_SV39 = [
    "--memory=300G", "--qemu-arg=-object", "--qemu-arg=memory-backend-ram,id=ram,size=300G,reserve=off",
    "--qemu-arg=-machine", "--qemu-arg=memory-backend=ram",
]  # fmt: skip
PATIENCE = 20  # seconds


@dataclass(frozen=True)
class Stretch:
    """Pages that follow each other and have the same rights, as `ls` writes them."""

    begin: int
    end: int
    target: int
    rights: str


class Monitor:
    """QEMU's, over QMP."""

    def __init__(self, place: Path) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(place))
        self._stream = connection.makefile("rw")
        self._stream.readline()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """What a command returns."""
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        while True:
            answer = json.loads(self._stream.readline())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(f"QEMU refuses {command}: {answer['error']}")

    def say(self, line: str, hart: int) -> str:
        """What the monitor for people says of a hart."""
        said: str = self.ask("human-monitor-command", **{"command-line": line, "cpu-index": hart})
        return said


def stretches(said: str) -> list[Stretch]:
    """The table of `info mem`."""
    found = re.findall(r"^([0-9a-f]{16}) ([0-9a-f]{16}) ([0-9a-f]{16}) (\S{3})\S*\r?$", said, re.MULTILINE)
    numbers = [(int(begin, 16), int(target, 16), int(size, 16), rights) for begin, target, size, rights in found]
    return [Stretch(begin, begin + size, target, rights) for begin, target, size, rights in numbers]


def rights_at(pages: list[Stretch], begin: int, end: int) -> set[str]:
    """All rights that some byte in between has; "---" where there is nothing."""
    overlapping = [each for each in pages if each.begin < end and begin < each.end]
    covered = sum(min(each.end, end) - max(each.begin, begin) for each in overlapping)
    return {each.rights for each in overlapping} | ({"---"} if covered != end - begin else set())


def complaints_about(pages: list[Stretch], symbols: dict[str, int], stacks: list[int]) -> list[str]:
    """What is not as it must be. `stacks`: an address in each."""
    complaints = [f"{each} does not lead to itself" for each in pages if each.begin != each.target]
    kernel = [symbols[name] for name in ("kernel_begin", "rodata_begin", "data_begin", "kernel_end")]
    trap_stack, boot_stack = symbols["trap_stack"], symbols["boot_stack"]
    wanted = [
        (0, PAGE, "---"),
        (FIRMWARE, kernel[0], "---"),
        (kernel[0], kernel[1], "r-x"),
        (kernel[1], kernel[2], "r--"),
        (kernel[2], boot_stack - GUARD, "rw-"),
        (boot_stack - GUARD, boot_stack, "---"),
        (boot_stack, trap_stack - GUARD, "rw-"),
        (trap_stack - GUARD, trap_stack, "---"),
        (trap_stack, kernel[3], "rw-"),
    ]
    for begin, end, rights in wanted:
        if (found := rights_at(pages, begin, end)) != {rights}:
            complaints.append(f"expected {rights} from {begin:#x} to {end:#x}, found {found}")
    for each in pages:
        if "x" in each.rights and not (each.rights == "r-x" and kernel[0] <= each.begin and each.end <= kernel[1]):
            complaints.append(f"{each} is executable")
    for stack in stacks:
        around = [each for each in pages if each.begin <= stack < each.end]
        if len(around) != 1 or rights_at(pages, around[0].begin - GUARD, around[0].begin) != {"---"}:
            complaints.append(f"the stack around {stack:#x} does not end at what is not there: {around}")
    return complaints


def look(place: Path, symbols: dict[str, int], mode: int) -> list[str]:
    """What is wrong with the harts of the machine whose monitor is there."""
    monitor = Monitor(place)
    deadline = time.monotonic() + PATIENCE
    satp: set[int] = set()
    while len(satp) != 1 or 0 in satp or len(stacks) != HARTS:
        if time.monotonic() > deadline:
            return [f"the harts do not translate alike: satp is {satp}"]
        time.sleep(0.1)
        registers = [monitor.say("info registers", hart) for hart in range(HARTS)]
        satp = {int(value, 16) for said in registers for value in re.findall(r"\bsatp\s+([0-9a-f]+)", said)}
        stacks = [int(value, 16) for said in registers for value in re.findall(r"x2/sp\s+([0-9a-f]+)", said)]
        # Hart 0 is not in the firmware, which has a stack of its own.
        stacks = [stack for stack in stacks if stack >= symbols["kernel_begin"]]
    complaints = [] if satp.pop() >> 60 == mode else [f"expected mode {mode} of satp"]
    for hart in range(HARTS):
        complaints += complaints_about(stretches(monitor.say("info mem", hart)), symbols, stacks)
    monitor.ask("quit")
    return complaints


def trial(kernel: Path, directory: Path, arguments: list[str], mode: int) -> tuple[list[str], Outcome]:
    """Complaints about one machine."""
    lines = subprocess.run(["riscv64-linux-gnu-nm", str(kernel)], capture_output=True, text=True, check=True).stdout
    symbols = {name: int(address, 16) for address, _, name in (line.split() for line in lines.splitlines())}
    place = directory / "monitor"
    arguments = [*JOB, *arguments, "--qemu-arg=-qmp", f"--qemu-arg=unix:{place},server=on,wait=off"]
    outcomes: list[Outcome] = []
    running = threading.Thread(target=lambda: outcomes.append(run(arguments, kernel, directory, 60)))
    running.start()
    try:
        while running.is_alive() and not place.exists():
            time.sleep(0.05)
        complaints = look(place, symbols, mode) if running.is_alive() else ["the machine has ended"]
    finally:
        running.join()
    return complaints, outcomes[0]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    given = parser.parse_args()
    kernel = given.kernel.resolve()
    for name, arguments, mode in (("Sv39", [], 8), ("Sv48", BEYOND_SV39, 9)):
        with tempfile.TemporaryDirectory(dir=given.scratch, prefix="protection-") as directory:
            complaints, outcome = trial(kernel, Path(directory), arguments, mode)
        if complaints:
            print(f"{name}: FAILED", outcome.explain(complaints), sep="\n")
            return 1
        print(f"{name}: passed in {outcome.seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
