#!/usr/bin/env python3
"""Traces real runs with `./run --trace`, which builds the kernel for it, and looks at the pictures."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from case import ROOT

sys.path.insert(0, str(ROOT / "tests" / "launcher"))
import trace_check  # noqa: E402 (the path is set above)


def trace(directory: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the guest reported, and the picture."""
    report, picture = directory / "result.json", directory / "trace.json"
    command = ["./run", *arguments, "--json", str(report), "--trace", str(picture), "--timeout=60"]
    ended = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}ended with {ended.returncode}")
    return json.loads(report.read_text())["guest"], json.loads(picture.read_text())


def check_digest(directory: Path) -> list[str]:
    """A digest of two disks with two queues each: every request is in the picture, and everything fits together."""
    words = ("--disk=2M", "--disk=1M", "--queues=2", "--depth=32", "--append=bs=4k poll=off")
    guest, picture = trace(directory, "digest", *words)
    complaints = trace_check.complaints(picture)
    events = picture["traceEvents"]
    if any(picture["otherData"].values()):
        complaints.append(f"records were lost: {picture['otherData']}")
    for number, disk in enumerate(guest["disks"]):
        for queue, counted in enumerate(disk["queues"]):
            on_track = [each for each in events if each.get("cat") == "request" and each["pid"] == 100 + number]
            on_track = [each for each in on_track if each["name"] == f"queue {queue}"]
            begun = sum(each["ph"] == "b" for each in on_track)
            used = sum(each["ph"] == "e" and each["args"]["outcome"] == "used" for each in on_track)
            if not begun == used == counted["requests"] > 0:
                complaints.append(f"{begun} submitted, {used} used of {counted['requests']}: disk {number}, queue {queue}")
    notified = Counter(
        (each["args"]["disk"], each["args"]["queue"]) for each in events if each["name"].startswith("notify")
    )
    expected = Counter({
        (number, queue): counted["notifications"]
        for number, disk in enumerate(guest["disks"]) for queue, counted in enumerate(disk["queues"])
    })  # fmt: skip
    if notified != expected:
        complaints.append(f"notifications by disk and queue: {notified}, but the guest counted {expected}")
    # What the program does has ended when it reads a disk's counters. The device may still interrupt.
    counters_read = dict(enumerate(each["ts"] for each in events if each["name"] == "counters"))
    if len(counters_read) != len(guest["disks"]):
        return [*complaints, f"counters were read {len(counters_read)} times"]
    interrupted = [(each["args"]["disk"], each["ts"]) for each in events if each["name"].startswith("interrupt of")]
    handlers = Counter(disk for disk, time in interrupted if time < counters_read[disk])
    counted_handlers = {number: disk["interrupts"] for number, disk in enumerate(guest["disks"]) if disk["interrupts"]}
    if handlers != counted_handlers or not handlers:
        complaints.append(f"interrupts by disk: {handlers}, but the guest counted {counted_handlers}")
    resumed = [each for each in events if each["ph"] == "f"]
    requests = sum(queue["requests"] for disk in guest["disks"] for queue in disk["queues"])
    if len(resumed) != requests:
        complaints.append(f"{len(resumed)} arrows for {requests} requests")
    ends = {(each["tid"], each["ts"]) for each in resumed}
    resumptions = {
        name: {(each["tid"], each["ts"]) for each in events if each["ph"] == "X" and each["name"] == name}
        for name in ("reader", "serial")  # who asks each disk for its serial number, once
    }
    if not ends <= set.union(*resumptions.values()):
        complaints.append(f"{len(ends - set.union(*resumptions.values()))} arrows that do not end where a task resumes")
    if len(ends & resumptions["serial"]) != len(guest["disks"]):
        complaints.append(f"{len(ends & resumptions['serial'])} arrows to who asks for a serial number, not one a disk")
    return complaints


def check_iops(directory: Path) -> list[str]:
    """More than the ring holds: what is left is a picture all the same, and coroutines without a name have that of theirs."""
    _, picture = trace(directory, "iops", "--disk=null:1G", "--depth=8", "--append=ios=20000")
    complaints = trace_check.complaints(picture)
    names = {each["name"] for each in picture["traceEvents"] if each["ph"] == "X"}
    if "inflight::bench::bare_reader" not in names:
        complaints.append(f"no coroutine is called inflight::bench::bare_reader; there are {sorted(names)}")
    if not any(picture["otherData"].values()):
        complaints.append("nothing was lost, so nothing was seen of a ring that is overwritten")
    return complaints


def check_harts(directory: Path) -> list[str]:
    """Two harts, each with work: each has its track, and work and messages go from one to the other."""
    words = ("--disk=null:1G", "--harts=2", "--queues=2", "--depth=4", "--append=bs=4k ios=2000")
    _, picture = trace(directory, "iops", *words)
    complaints = trace_check.complaints(picture)
    events = picture["traceEvents"]
    tracks = {each["tid"]: each["args"]["name"] for each in events if each["ph"] == "M" and "tid" in each}
    if tracks != {0: "hart 0", 1: "hart 1"}:
        complaints.append(f"expected the tracks of two harts, found {tracks}")
    for hart in (0, 1):
        names = {each["name"] for each in events if each["pid"] == 1 and each.get("tid") == hart}
        if not {"round", "idle"} <= names:
            complaints.append(f"hart {hart} is not seen to have rounds and to idle: {sorted(names)}")
    if not any(each["name"] == "message" and each["tid"] == 1 for each in events if each["ph"] == "i"):
        complaints.append("hart 1 took no message, though it was told of the disk by one")
    return complaints


def main() -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="inflight-trace-") as directory:
        complaints = check_digest(Path(directory)) + check_iops(Path(directory)) + check_harts(Path(directory))
    print("\n".join(complaints[:20]) or "the pictures are right")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
