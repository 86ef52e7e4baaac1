#!/usr/bin/env python3
"""Plays the part of `./run bench` for the tests: writes a result as --output-format=json+ does, without a guest.

What it says depends on the options alone and on how often it ran before (a file in INFLIGHT_FAKE_DIRECTORY counts):

    IOPS           1000 * depth * (100 + s) / 100, where s is the number in the list INFLIGHT_FAKE_PERCENT for this run
    latencies      90 of 100 I/Os take 10 us * depth, 9 take 20 us * depth, 1 takes 70 us * depth
    notifications  one for `depth` I/Os; one interrupt for two notifications

INFLIGHT_FAKE_FAIL names the runs (0, 1, ...) that end with status 1, INFLIGHT_FAKE_HANG one that never ends.
Its arguments go to the file `commands`, one line for each run, and its process id to the file `pid`.
"""

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path

NOTHING = {"min": 0, "max": 0, "mean": 0.0, "stddev": 0.0, "N": 0}


def numbers(name: str) -> list[int]:
    """The list that an environment variable holds."""
    return [int(word) for word in os.environ.get(name, "").split()]


def direction(iops: float, block_size: int, runtime: int, bins: dict[str, int]) -> dict[str, object]:
    """One of read, write and trim, as fio has them."""
    ios = int(iops * runtime)
    latency = NOTHING
    if bins:
        mean = sum(int(value) * count for value, count in bins.items()) / sum(bins.values())
        least, most = min(map(int, bins)), max(map(int, bins))
        latency = {"min": least, "max": most, "mean": mean, "stddev": 1.0, "N": ios, "bins": bins}
    return {
        "io_bytes": ios * block_size,
        "bw_bytes": int(iops * block_size),
        "iops": iops,
        "runtime": runtime * 1000,
        "total_ios": ios,
        "clat_ns": latency,
        "lat_ns": latency,
    }


def main() -> None:
    """One run."""
    directory = Path(os.environ["INFLIGHT_FAKE_DIRECTORY"])
    (directory / "pid").write_text(str(os.getpid()), encoding="utf-8")
    log = directory / "commands"
    number = len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0
    with log.open("a", encoding="utf-8") as file:
        file.write(shlex.join(sys.argv[1:]) + "\n")

    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("program", choices=["bench"])
    parser.add_argument("--output-format", choices=["json+"], required=True)
    for flag in ("time_based", "group_reporting", "no-build", "icount"):
        parser.add_argument(f"--{flag}", action="store_true")
    for option in ("rw", "bs", "output", "disk", "transport"):
        parser.add_argument(f"--{option}", required=True)
    for option in ("iodepth", "runtime", "queues", "harts"):
        parser.add_argument(f"--{option}", type=int, required=True)
    parser.add_argument("--numjobs", type=int, default=1)
    parser.add_argument("--append")
    parser.add_argument("--qemu")
    given = parser.parse_args()

    if number in numbers("INFLIGHT_FAKE_HANG"):
        time.sleep(600)
    if number in numbers("INFLIGHT_FAKE_FAIL"):
        print("run: the guest said that all is lost")
        sys.exit(1)
    percents = numbers("INFLIGHT_FAKE_PERCENT") or [0]
    depth = given.iodepth
    iops = 1000 * depth * (100 + percents[number % len(percents)]) / 100
    block_size = int(given.bs.rstrip("km")) * {"k": 1 << 10, "m": 1 << 20}.get(given.bs[-1], 1)
    ten = 10000 * depth
    bins = {str(ten): 90, str(2 * ten): 9, str(7 * ten): 1}
    job = {
        "jobname": "job",
        "groupid": 0,
        "error": 0,
        "elapsed": given.runtime + 1,
        "job options": {"rw": given.rw, "bs": given.bs, "iodepth": str(depth), "runtime": str(given.runtime)},
        "read": direction(iops, block_size, given.runtime, bins),
        "write": direction(0, block_size, 0, {}),
        "trim": direction(0, block_size, 0, {}),
    }
    group = {
        "notifications_per_io": 1 / depth,
        "interrupts_per_io": 1 / depth / 2,
        "mmio_accesses_per_io": 1 / depth * 1.5,
        "guest_instructions_per_io": 200.5 if given.icount else None,
        "idle_share": 0.25,
        "floor_iops": 1250 * depth,
        "floor_ratio": iops / (1250 * depth),
        "harts": [],
        "queues": [],
    }
    inflight = {"groups": [group], "boot_to_first_read_ns": 3_000_000, "memory_kib": 900}
    result = {"fio version": "fio-3.33 (fake)", "timestamp": 0, "jobs": [job], "inflight": inflight}
    Path(given.output).write_text(json.dumps(result), encoding="utf-8")


main()
