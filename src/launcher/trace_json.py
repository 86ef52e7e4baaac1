#!/usr/bin/env python3
"""Makes of the trace of a kernel (async/trace.hpp) what ui.perfetto.dev and chrome://tracing open.

    src/launcher/trace_json.py [--kernel ELF] <TEXT >JSON

TEXT is what the kernel, or a test on the simulated machine, wrote; lines that are none of the trace are passed over. The
ELF file gives the coroutines their names.

The picture: a process "harts", with a track for each hart, on which coroutines, rounds, idle times, sleeps and interrupts
are slices; and a process for each disk, with a track for each queue, on which requests are slices from their submission to
their end. Arrows go from the submission of a request over the notification and the interrupt to its end, and to the
coroutine that is resumed.

Records of a hart that have the same time are spread over its tick, in their order: so every slice has a length.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symbols import places

HARTS = 1  # number of the process
FIRST_DISK = 100
RECORD = re.compile(r"([0-9a-f]+)([g-z])([0-9a-f]*)")

# Events that begin something, and those that end it.
ENDS = {"p": "q", "v": "w", "y": "z", "r": "t", "i": "j"}
BEGINS = {end: begin for begin, end in ENDS.items()}
LASTING = {"p": "round", "v": "idle", "y": "sleep", "r": "coroutine", "i": "interrupt"}

Event = dict[str, Any]


class BrokenTrace(Exception):
    """The text is not what a kernel writes."""


@dataclass(frozen=True)
class Record:
    """One record; its time in ticks."""

    time: int
    letter: str
    argument: int

    @property
    def queue(self) -> tuple[int, int]:
        """Disk and queue, of a record that speaks of one."""
        return self.argument >> 16 & 0xFF, self.argument & 0xFFFF

    @property
    def slot(self) -> int:
        """The slot, of a record that speaks of one."""
        return self.argument >> 24


@dataclass
class Hart:
    """What the text says of a hart."""

    ticks_per_second: int
    lost: int
    rings: dict[str, list[Record]] = field(default_factory=lambda: {"main": [], "interrupts": []})


@dataclass
class Trace:
    """What the text says."""

    harts: dict[int, Hart] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """A place in the picture: a hart, and microseconds."""

    hart: int
    time: float


@dataclass
class Request:
    """A request of a device on its way."""

    number: int
    submitted: Point
    notified: Point | None = None
    interrupted: Point | None = None


def parse(lines: Iterable[str]) -> Trace:
    """Reads the lines of a trace; raises BrokenTrace if one is wrong or the end is missing."""
    trace = Trace()
    for line in lines:
        words = line.rstrip("\r\n").split(" ")
        if words[0] != "@trace":
            continue
        try:
            if words[1] == "end":
                return trace
            if words[1] == "hart":
                number, ticks_per_second, lost, lost_of_interrupts = map(int, words[2:])
                trace.harts[number] = Hart(ticks_per_second, lost + lost_of_interrupts)
            elif words[1] == "name":
                trace.names[int(words[2], 16)] = " ".join(words[3:])
            else:
                trace.harts[int(words[2])].rings[words[1]] += _records(words[3:])
        except (KeyError, ValueError, IndexError) as error:
            raise BrokenTrace(f"this line of the trace is wrong: {line.strip()[:200]}") from error
    raise BrokenTrace("the trace has no end")


def _records(words: Iterable[str]) -> list[Record]:
    records = []
    time = 0
    for word in words:
        match = RECORD.fullmatch(word)
        if match is None:
            raise ValueError(word)
        time += int(match[1], 16)
        records.append(Record(time, match[2], int(match[3] or "0", 16)))
    return records


def in_order(hart: Hart) -> list[Record]:
    """All records of a hart. Nothing else happens on it while a handler runs: the records of one stay together."""
    merged: list[Record] = []
    handlers: list[list[Record]] = []
    for record in hart.rings["interrupts"]:
        if record.letter == "i":
            handlers.append([record])
        elif handlers:  # else its beginning was lost
            handlers[-1].append(record)
    next_ = 0
    for record in hart.rings["main"]:
        while next_ < len(handlers) and handlers[next_][-1].time <= record.time:
            merged += handlers[next_]
            next_ += 1
        merged.append(record)
    for handler in handlers[next_:]:
        merged += handler
    return merged


def _spread(records: list[Record], start: int, ticks_per_second: int) -> list[tuple[float, Record]]:
    """The records with their times in microseconds since `start`, each later than the one before it."""
    same: dict[int, int] = defaultdict(int)
    for record in records:
        same[record.time] += 1
    seen: dict[int, int] = defaultdict(int)
    tick = 1e6 / ticks_per_second
    timed = []
    for record in records:
        place = seen[record.time] / same[record.time]
        seen[record.time] += 1
        timed.append(((record.time - start + place) * tick, record))
    return timed


class Picture:
    """Collects the events of the picture, fed with the records of all harts in order of time."""

    def __init__(self, names: dict[int, str], name_of_code: Callable[[int], str]) -> None:
        self.events: list[Event] = []
        self._names = names
        self._name_of_code = name_of_code
        self._open: dict[int, list[Event]] = defaultdict(list)  # slices by hart, the innermost last
        self._requests: dict[tuple[tuple[int, int], int], Request] = {}  # by queue and slot
        self._ended: dict[int, list[Point]] = {}  # by hart: the way of a request that ended in the record before, but for interrupts
        self._resuming: dict[int, list[Point]] = {}  # by frame: of a request whose coroutine has not been resumed
        self._first: dict[int, float] = {}  # by hart: when its records begin
        self._queues: set[tuple[int, int]] = set()
        self._requests_so_far = 0
        self._flows = 0

    def feed(self, hart: int, time: float, record: Record) -> None:
        """Takes one record."""
        self._first.setdefault(hart, time)
        here = Point(hart, time)
        letter = record.letter
        # An interrupt may come between a used element and what it makes ready.
        ended = None if self._is_of_a_handler(hart, letter) else self._ended.pop(hart, None)
        if letter in ENDS:
            self._begin(here, record)
        elif letter in BEGINS:
            self._end(here, BEGINS[letter])
        elif letter in "xl":
            self._name_coroutine(hart, record)
        elif letter == "s":
            self._submit(here, record)
        elif letter == "n":
            disk, queue = record.queue
            self._instant(here, f"notify disk {disk} queue {queue}", {"disk": disk, "queue": queue})
            for (its_queue, _), request in self._requests.items():
                if its_queue == record.queue and request.notified is None:
                    request.notified = here
                    request.interrupted = None  # that one told of others
        elif letter == "u":
            self._use(here, record)
        elif letter == "g" and ended is not None:
            self._resuming[record.argument] = ended
        elif letter == "h":
            self._instant(here, f"interrupt hart {record.argument}", {"hart": record.argument})
        elif letter == "m":
            self._instant(here, "message", {"resumes": hex(record.argument)})
        elif letter == "k":
            self._instant(here, "counters", {})
        if ended is not None and letter != "g":
            self._flow(ended)

    def _is_of_a_handler(self, hart: int, letter: str) -> bool:
        stack = self._open[hart]
        return letter == "i" or bool(stack and stack[-1]["cat"] == LASTING["i"])

    def finish(self, ends: dict[int, float]) -> None:
        """Ends what has not ended, at the time of the last record of its hart."""
        for hart, time in ends.items():
            while self._open[hart]:
                self._close(hart, time)
        for (queue, slot), request in self._requests.items():
            self._end_request(queue, slot, request, ends[request.submitted.hart], "not yet")
        for way in [*self._ended.values(), *self._resuming.values()]:
            self._flow(way)
        self._name(HARTS, "harts", {hart: f"hart {hart}" for hart in ends})
        for disk in sorted({disk for disk, _ in self._queues}):
            self._name(FIRST_DISK + disk, f"disk {disk}", {})

    def _begin(self, here: Point, record: Record) -> None:
        slice_: Event = {"ph": "X", "pid": HARTS, "tid": here.hart, "ts": here.time, "name": LASTING[record.letter]}
        slice_["cat"] = slice_["name"]
        if record.letter == "r":
            slice_["args"] = {"frame": hex(record.argument)}
            if (way := self._resuming.pop(record.argument, None)) is not None:
                self._flow([*way, here])
        elif record.letter == "i":
            disk = record.queue[0]
            slice_["name"] = f"interrupt of disk {disk}"
            slice_["args"] = {"disk": disk}
            for ((its_disk, _), _), request in self._requests.items():
                if its_disk == disk:
                    request.interrupted = here
        self._open[here.hart].append(slice_)

    def _end(self, here: Point, begin: str) -> None:
        stack = self._open[here.hart]
        if all(slice_["cat"] != LASTING[begin] for slice_ in stack):
            if not stack:  # its beginning was lost, and has been going on since the first record
                slice_ = {"ph": "X", "pid": HARTS, "tid": here.hart, "ts": self._first[here.hart]}
                name = LASTING[begin]
                self.events.append(slice_ | {"name": name, "cat": name, "dur": here.time - slice_["ts"]})
            return
        while self._close(here.hart, here.time)["cat"] != LASTING[begin]:
            pass

    def _close(self, hart: int, time: float) -> Event:
        slice_ = self._open[hart].pop()
        slice_["dur"] = time - slice_["ts"]
        self.events.append(slice_)
        return slice_

    def _name_coroutine(self, hart: int, record: Record) -> None:
        stack = self._open[hart]
        if stack and stack[-1]["cat"] == LASTING["r"]:
            known = self._names.get(record.argument) if record.letter == "l" else self._name_of_code(record.argument)
            stack[-1]["name"] = known or hex(record.argument)

    def _instant(self, here: Point, name: str, arguments: Event) -> None:
        self.events.append(
            {"ph": "i", "s": "t", "pid": HARTS, "tid": here.hart, "ts": here.time, "name": name, "args": arguments}
        )

    def _submit(self, here: Point, record: Record) -> None:
        key = record.queue, record.slot
        if (before := self._requests.pop(key, None)) is not None:  # the device was reset, or records were lost
            self._end_request(*key, before, max(here.time, before.submitted.time), "given up")
        self._requests[key] = Request(self._requests_so_far, here)
        self._requests_so_far += 1

    def _use(self, here: Point, record: Record) -> None:
        request = self._requests.pop((record.queue, record.slot), None)
        if request is None:
            return  # its submission was lost
        self._end_request(record.queue, record.slot, request, here.time, "used")
        way = [request.submitted, request.notified, request.interrupted, here]
        self._ended[here.hart] = sorted((point for point in way if point is not None), key=lambda point: point.time)

    def _end_request(self, queue: tuple[int, int], slot: int, request: Request, time: float, outcome: str) -> None:
        self._queues.add(queue)
        common = {
            "cat": "request",
            "name": f"queue {queue[1]}",
            "id": request.number,
            "pid": FIRST_DISK + queue[0],
            "tid": queue[1],
        }
        begin = {"ph": "b", "ts": request.submitted.time, "args": {"slot": slot}}
        self.events += [common | begin, common | {"ph": "e", "ts": time, "args": {"outcome": outcome}}]

    def _flow(self, way: list[Point]) -> None:
        for index, point in enumerate(way):
            phase = "s" if index == 0 else "f" if index == len(way) - 1 else "t"
            event = {"ph": phase, "cat": "request", "name": "request", "id": self._flows, "pid": HARTS}
            event |= {"tid": point.hart, "ts": point.time} | ({"bp": "e"} if phase == "f" else {})
            self.events.append(event)
        self._flows += 1

    def _name(self, process: int, name: str, tracks: dict[int, str]) -> None:
        self.events.append({"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}})
        for track, its_name in tracks.items():
            named = {"ph": "M", "name": "thread_name", "pid": process, "tid": track, "args": {"name": its_name}}
            self.events.append(named)


def convert(trace: Trace, kernel: Path | None = None) -> dict[str, Any]:
    """The picture, as an object in Chrome's format for traces."""
    records = {number: in_order(hart) for number, hart in trace.harts.items()}
    codes = {each.argument for of_hart in records.values() for each in of_hart if each.letter == "x"}
    symbols = places(kernel, sorted(codes)) if kernel is not None else {}
    start = min((each.time for of_hart in records.values() for each in of_hart), default=0)
    timed = [
        (time, hart, record)
        for hart, of_hart in records.items()
        for time, record in _spread(of_hart, start, trace.harts[hart].ticks_per_second)
    ]
    timed.sort(key=lambda each: each[:2])
    picture = Picture(trace.names, lambda code: symbols[code].short_name if code in symbols else "")
    ends: dict[int, float] = dict.fromkeys(trace.harts, 0.0)
    for time, hart, record in timed:
        picture.feed(hart, time, record)
        ends[hart] = time
    picture.finish(ends)
    order = {"M": 0, "X": 1}
    picture.events.sort(key=lambda event: (event.get("ts", -1.0), order.get(event["ph"], 2), -event.get("dur", 0.0)))
    lost = {f"records lost of hart {number}": hart.lost for number, hart in trace.harts.items()}
    return {"traceEvents": picture.events, "displayTimeUnit": "ns", "otherData": lost}


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=Path, help="the ELF file that ran")
    given = parser.parse_args()
    try:
        json.dump(convert(parse(sys.stdin), given.kernel), sys.stdout)
    except BrokenTrace as error:
        print(f"trace: {error}", file=sys.stderr)
        return 1
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
