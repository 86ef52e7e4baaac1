"""What the fault tests share: disks that QEMU spoils, and sessions that hold each request against what is due."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stamps
from vm import Broken, Machine, qemu_command, qemu_release

Node = dict[str, Any]
MEGABYTE = 1 << 20
SEED = 1
DISK = "disk0"  # the device's id, for the monitor
TOP = "vda"  # the name of the node that the device has


class Skipped(Exception):
    """This QEMU cannot do it; the words say why."""


def image(path: Path, size: int = MEGABYTE) -> Path:
    """A new image of zeroes."""
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def file_node(path: Path, name: str = "file0", **more: Any) -> Node:
    """A node of QEMU's on a file."""
    return {"driver": "file", "node-name": name, "filename": str(path), "discard": "unmap"} | more


def raw(below: Node | str, name: str = "raw0", **more: Any) -> Node:
    """A raw format node."""
    return {"driver": "raw", "node-name": name, "file": below, "discard": "unmap"} | more


def blkdebug(below: Node | str, *rules: Node, name: str = "debug", **more: Any) -> Node:
    """QEMU's blkdebug with rules that inject errors; an error is EIO unless a rule says otherwise."""
    injected = [{"event": "none", "errno": 5, "once": False, "immediately": False} | rule for rule in rules]
    node = {"driver": "blkdebug", "node-name": name, "image": below, "discard": "unmap"} | more
    return node | ({"inject-error": injected} if injected else {})


def throttled(below: Node) -> Node:
    """A node with the limits of the throttle group "limit"."""
    return {"driver": "throttle", "node-name": "throttle0", "throttle-group": "limit", "file": below}


def limit(**limits: int) -> tuple[str, ...]:
    """QEMU's arguments for that group."""
    told = "".join(f",x-{name.replace('_', '-')}={value}" for name, value in limits.items())
    return ("-object", f"throttle-group,id=limit{told}")


@dataclass
class Trial:
    """One test of one fault: where it works, and what it works with."""

    directory: Path
    kernel: Path
    qemu: str
    notes: list[str] = field(default_factory=list)

    def start(
        self,
        program: str,
        node: Node,
        *,
        device: Sequence[str] = (),
        append: Sequence[str] = (),
        options: Sequence[str] = (),
        before: Sequence[str] = (),
        more: Sequence[str] = (),
        gdb: bool = False,
        drive: bool = False,
    ) -> Machine:
        """Starts the program on a disk that is this node, which gets the name TOP.

        device: properties of the device. append: boot arguments. options: more of `./run`. before, more: arguments of QEMU
        in front of the disk, and behind everything. drive: by QEMU's older option, whose disks the monitor can take away.
        """
        arguments = [f"--disk={MEGABYTE}", *(f"--device={each}" for each in (f"id={DISK}", *device))]
        arguments += [f"--append={each}" for each in append] + [f"--qemu-arg={each}" for each in before]
        words = qemu_command(program, self.kernel, self.qemu, *arguments, *options)
        # In place of the image that `./run` would make.
        place = next(at for at, word in enumerate(words) if word.startswith("driver=") and f"node-name={TOP}," in word)
        described = json.dumps(node | {"node-name": TOP}, separators=(",", ":"))
        if drive:
            described = "if=none,id=drive0,file=json:" + described.replace(",", ",,")
            words = [word.replace(f"drive={TOP},", "drive=drive0,") for word in words]
        words[place - 1 : place + 1] = ["-drive" if drive else "-blockdev", described]
        return Machine(words, self.directory, more, gdb)

    def requests(self, node: Node, **how: Any) -> "Session":
        """A session of single requests with a disk that is this node."""
        return Session(self.start("requests", node, **how))

    def soak(self, node: Node, ios: int, **how: Any) -> Machine:
        """Starts a soak of so many requests."""
        append = ["hold=1", f"ios={ios}", *how.pop("append", ())]
        return self.start("soak", node, append=append, **how)

    def needs(self, release: tuple[int, ...], why: str) -> None:
        """Skips what older releases of QEMU cannot do."""
        if qemu_release(self.qemu) < release:
            raise Skipped(f"QEMU before {'.'.join(map(str, release))} {why}")


class Session:
    """Requests to the guest, each with its exact outcome. A context manager; at its end the guest must have ended well."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.resets: int | None = 0  # of the device that are due; None: any number
        self.result: dict[str, Any] = {}
        self._begun = 0
        self._ended: dict[int, str] = {}

    def __enter__(self) -> "Session":
        try:
            self.machine.await_line("requests: vda is ready")
        except Broken:
            self.machine.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            self.machine.stop()

    def _end(self) -> None:
        self.machine.type("end")
        status = self.machine.await_end()
        results = self.machine.results()
        if status != 0 or not results:
            raise Broken(f"the guest ended with {status} and {len(results)} results")
        self.result = results[-1]["disks"][0]
        if self.resets is not None and self.result["resets"] != self.resets:
            raise Broken(f"the device was reset {self.result['resets']} times; {self.resets} were due")

    @property
    def monitor(self) -> Any:
        """QEMU's monitor."""
        return self.machine.monitor

    def begin(self, command: str, count: int = 1) -> list[int]:
        """Types a command that makes so many requests; their numbers."""
        self.machine.type(command)
        numbers = list(range(self._begun + 1, self._begun + count + 1))
        self._begun += count
        return numbers

    def outcome(self, number: int, patience: float = 60) -> str:
        """How that request ended, such as "read 8+1 ok 2*1"; waits for it."""
        while number not in self._ended:
            line = self.machine.await_line("request ", patience)
            found = re.fullmatch(r"request (\d+): (.*)", line)
            if found is None or int(found[1]) in self._ended or int(found[1]) > self._begun:
                raise Broken(f"a request ended twice, or never began: {line}")
            self._ended[int(found[1])] = found[2]
        return self._ended[number]

    def expect(self, numbers: Sequence[int], *due: str) -> None:
        """Holds the outcomes of these requests against what is due. One text for all, or one each."""
        outcomes = list(due) * len(numbers) if len(due) == 1 and len(numbers) > 1 else list(due)
        for number, wanted in zip(numbers, outcomes, strict=True):
            found = self.outcome(number)
            if found != wanted:
                raise Broken(f"request {number}: '{wanted}' is due, found '{found}'")

    def do(self, command: str, *due: str) -> None:
        """Types a command whose requests end as it is due, in this order."""
        self.expect(self.begin(command, len(due)), *due)

    def pending(self, *numbers: int, seconds: float = 0.3) -> None:
        """Holds it against the guest if one of these requests ends within that time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                found = re.match(r"request (\d+): (.*)", self.machine.await_line("request ", left))
            except Broken as error:
                if "no line" not in str(error):
                    raise
                return
            assert found is not None
            self._ended[int(found[1])] = found[2]
            if int(found[1]) in numbers:
                raise Broken(f"request {found[1]} should be waiting, and ended with '{found[2]}'")

    def undone_after(self, number: int) -> None:
        """The guest knows nothing of requests after that one: it was loaded from a snapshot."""
        self._begun = number
        self._ended = {known: text for known, text in self._ended.items() if known <= number}

    def restarted(self) -> None:
        """The guest begins anew, and counts from 1."""
        self.machine.await_line("requests: vda is ready")
        self._begun = 0
        self._ended = {}


@dataclass(frozen=True)
class Soaked:
    """How a soak ended: the guest's account of the disk, QEMU's, and the guest's verdict."""

    disk: dict[str, Any]
    statistics: dict[str, int]
    status: int


def finish_soak(machine: Machine, patience: float = 120, holds: bool = True) -> Soaked:
    """Waits for the end of a soak, and reads QEMU's counters before they are gone."""
    machine.await_line('@result {"program":"soak","memory_lost"', patience)
    statistics: dict[str, int] = {}
    if holds:
        all_disks = machine.monitor.do("query-blockstats")
        statistics = next(each["stats"] for each in all_disks if DISK in each.get("qdev", ""))
        machine.type("")
    status = machine.await_end()
    disk, rest = ({}, {}) if len(machine.results()) < 2 else (machine.results()[-2]["disks"][0], machine.results()[-1])
    return Soaked(disk | rest, statistics, status)


def judge_soak(soaked: Soaked, written_to: Path | None, failures: Sequence[str] = (), resets: int = 0) -> None:
    """Holds a soak against what is due: nothing wrong, lost or leaked; no status but ok and those in `failures`; QEMU has
    counted what the guest has; and the host finds in the raw image what the guest has in its ledger."""
    disk = soaked.disk
    complaints = []
    for figure in ("mismatches", "in_flight", "memory_lost", "frames_lost", "protocol_violations"):
        if disk[figure] != 0:
            complaints.append(f"{figure} {disk[figure]}")
    if disk["begun"] != disk["ended"]:
        complaints.append(f"{disk['begun']} requests begun, {disk['ended']} ended")
    unexpected = {name: count for name, count in disk["statuses"].items() if count and name not in ("ok", *failures)}
    if unexpected:
        complaints.append(f"ended so: {unexpected}")
    if disk["resets"] != resets:
        complaints.append(f"{disk['resets']} resets, not {resets}")
    if soaked.status != 0:
        complaints.append(f"the guest's verdict is {soaked.status}")
    if soaked.statistics and resets == 0:
        complaints += compare_statistics(disk, soaked.statistics)
    if written_to is not None:
        complaints += compare_image(disk, written_to)
    if complaints:
        raise Broken("; ".join(complaints))


def compare_statistics(disk: dict[str, Any], host: dict[str, int]) -> list[str]:
    """What QEMU and the guest count differently."""
    pairs = {
        "rd_operations": "reads",
        "flush_operations": "flushes",
        "failed_rd_operations": "reads_failed",
        "failed_flush_operations": "flushes_failed",
    }
    due = {name: disk[guest] for name, guest in pairs.items()}
    # To QEMU a write of zeroes is a write. It does not count the discards of a virtio-blk device.
    due["wr_operations"] = disk["writes"] + disk["write_zeroes"]
    due["failed_wr_operations"] = disk["writes_failed"] + disk["write_zeroes_failed"]
    return [f"QEMU counts {host[name]} {name}, the guest {count}" for name, count in due.items() if host[name] != count]


def compare_image(disk: dict[str, Any], path: Path) -> list[str]:
    """How the raw image differs from the ledger's sum."""
    total = 0
    for sector, data in stamps.written_sectors(path):
        if sector >= disk["sectors"]:
            return [f"sector {sector} of the image was written, and the guest used {disk['sectors']}"]
        generation = stamps.generation_of(data, SEED, sector)
        if generation is None:
            return [f"sector {sector} of the image is nothing that the guest wrote there"]
        total = total + stamps.mix(sector << 32 ^ generation) & stamps.MASK
    if total != disk["ledger"]:
        return ["the image holds other generations than the guest's ledger"]
    return []


Fault = Callable[[Trial], None]


@dataclass(frozen=True)
class Named:
    """A fault with its name; `slow`: not in CI."""

    name: str
    run: Fault
    slow: bool
