"""Runs `./run bench` over depth x queues x harts x block size x transport, and keeps every run.

    bench/sweep                                         about five minutes; writes build/bench/sweep.json
    bench/sweep --depth 1,32 --bs 4k --transport mmio,mmio-legacy --repeat 7
    bench/sweep --dry-run                               what it would run

Every point is measured --repeat times, and the repetitions go round and round over all points: when the machine slows
down, it does so for all of them alike. Each hart has one job, and the depth is each job's own. What was measured so far
is in the file after every run, so an interrupted sweep is a smaller one.

Exit status: 0 all well; 1 a run failed; 2 refused; 130 interrupted.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import figures
from figures import ROOT, Refusal

import processes  # of src/launcher: figures has set the path
from console import ProgressLine
from launch import write_json
from machine import version
from options import TRANSPORTS
from values import parse_whole

DEFAULT_OUTPUT = ROOT / "build" / "bench" / "sweep.json"
PATTERNS = ("read", "write", "randread", "randwrite", "rw", "randrw", "trim", "randtrim", "trimwrite")
INTERRUPTED = 130


class Interrupted(Exception):
    """A signal asked for the end."""


def git(*arguments: str) -> str | None:
    """What git says of this repository, if it can say something."""
    try:
        asked = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def commit() -> dict[str, Any]:
    """What was measured. `dirty`: the files are not quite those of the revision."""
    status = git("status", "--porcelain")
    return {
        "revision": git("rev-parse", "HEAD"),
        "describe": git("describe", "--always", "--tags"),
        "date": git("show", "-s", "--format=%cI", "HEAD"),
        "subject": git("show", "-s", "--format=%s", "HEAD"),
        "dirty": None if status is None else status != "",
    }


def processor() -> str:
    """The name of the host's processor."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def machine(qemu: str) -> dict[str, Any]:
    """What it was measured on."""
    try:
        qemu_version = version(qemu)
    except OSError as error:
        raise Refusal(f"--qemu: {qemu} cannot be started: {error.strerror}") from error
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {"qemu": qemu_version, "cpus": os.cpu_count(), "processor": processor(), "system": system}


def now() -> str:
    """The time of day, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def listed(text: str, option: str) -> list[str]:
    """The values of a list with commas, each once."""
    values = [value.strip() for value in text.split(",")]
    if "" in values or len(set(values)) != len(values):
        raise Refusal(f"{option}: '{text}' is wrong; give different values with commas between them")
    return values


def points_of(given: argparse.Namespace) -> list[dict[str, Any]]:
    """All combinations. Later ones of this list change faster: neighbours in the sweep differ in depth."""
    block_sizes = listed(given.bs, "--bs")
    for size in block_sizes:
        if re.fullmatch(r"[1-9][0-9]*[kKmM]?", size) is None:
            raise Refusal(f"--bs: '{size}' is not a block size; a block size is a number with k or m, such as 4k")
    for option, known in (("rw", PATTERNS), ("transport", TRANSPORTS)):
        for value in listed(getattr(given, option), f"--{option}"):
            if value not in known:
                raise Refusal(f"--{option}: '{value}' is unknown; there are {', '.join(known)}")

    def numbers(option: str) -> list[int]:
        return [parse_whole(value, f"--{option}", 1) for value in listed(getattr(given, option), f"--{option}")]

    combinations = itertools.product(
        listed(given.rw, "--rw"),
        listed(given.transport, "--transport"),
        block_sizes,
        numbers("harts"),
        numbers("queues"),
        numbers("depth"),
    )
    runtime = parse_whole(given.runtime, "--runtime", 1)
    return [
        {
            "rw": rw,
            "bs": size.lower(),
            "depth": depth,
            "queues": queues,
            "harts": harts,
            "transport": transport,
            "disk": given.disk,
            "append": " ".join(given.append),
            "more": shlex.join(given.run_arg),
            "icount": given.icount,
            "runtime": runtime,
        }
        for rw, transport, size, harts, queues, depth in combinations
    ]


def command_of(run: str, qemu: str | None, point: dict[str, Any], output: str, build: bool) -> list[str]:
    """What measures a point."""
    words = [run, "bench", f"--rw={point['rw']}", f"--bs={point['bs']}", f"--iodepth={point['depth']}"]
    words += [f"--runtime={point['runtime']}", "--time_based"]
    if point["harts"] > 1:
        words += [f"--numjobs={point['harts']}", "--group_reporting"]
    words += ["--disk", point["disk"], "--queues", str(point["queues"]), "--harts", str(point["harts"])]
    words += ["--transport", point["transport"]]
    if point["append"]:
        words += ["--append", point["append"]]
    if point["icount"]:
        words += ["--icount"]
    words += shlex.split(point["more"])
    if qemu is not None:
        words += ["--qemu", qemu]
    if not build:
        words += ["--no-build"]
    return [*words, "--output-format=json+", "--output", output]


def measure(words: Sequence[str], output: Path, tell: ProgressLine, text: str) -> tuple[dict[str, Any], str]:
    """One run: what is kept of it, and what it said."""
    output.unlink(missing_ok=True)
    kept: dict[str, Any] = {"started": now(), "load": [round(load, 2) for load in os.getloadavg()]}
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = processes.start(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            while process.poll() is None:
                tell.show(f"{text}: {time.monotonic() - began:.0f} s")
                try:
                    process.wait(0.5)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            processes.stop(process)
        said.seek(0)
        log = said.read().decode("utf-8", errors="replace")
    kept |= {"seconds": round(time.monotonic() - began, 2), "status": process.returncode, "error": None}
    kept |= {"figures": None, "bins": None, "inflight": None}
    try:
        if process.returncode != 0:
            raise ValueError(f"exit status {process.returncode}")
        result = json.loads(output.read_text(encoding="utf-8"))
        kept["figures"] = figures.figures_of(result)
        kept["bins"] = figures.histogram_of(result)
        kept["inflight"] = result["inflight"]
    except (OSError, ValueError) as error:
        kept["error"] = str(error)
    except (KeyError, TypeError) as error:
        kept["error"] = f"the result is not of the form of --output-format=json+: {error!r}"
    return kept, log


def with_summaries(sweep: dict[str, Any]) -> dict[str, Any]:
    """The sweep, with what the runs of each point say together."""
    points = []
    for index, point in enumerate(sweep["points"]):
        of_point = figures.summaries(figures.runs_of(sweep, index))
        said = {
            name: {"runs": each.runs, "median": each.median, "least": each.least, "most": each.most}
            | {"spread": each.spread if each.median else None}
            for name, each in of_point.items()
        }
        points.append(point | {"summary": said})
    return sweep | {"points": points}


def duration(seconds: float) -> str:
    """4m05s."""
    return f"{int(seconds) // 60}m{int(seconds) % 60:02}s"


def sweep_over(
    given: argparse.Namespace, points: list[dict[str, Any]], sweep: dict[str, Any], tell: ProgressLine
) -> int:
    """Measures, and keeps `sweep` in its file from run to run; the exit status."""
    repeat = parse_whole(given.repeat, "--repeat", 1)
    rounds = [(repetition, index) for repetition in range(repeat) for index in range(len(points))]
    began = time.monotonic()
    failures = 0
    last = ""
    with tempfile.TemporaryDirectory(prefix="inflight-sweep-") as directory:
        output = Path(directory) / "run.json"
        for number, (repetition, index) in enumerate(rounds):
            left = f", {duration((time.monotonic() - began) / number * (len(rounds) - number))} left" if number else ""
            name = figures.in_words(points[index], without=("disk", "append", "runtime"))
            text = f"[{number + 1}/{len(rounds)}{left}] {last}{name}"
            # The first run builds the kernel. No other does: they are all to measure the same one.
            build = number == 0 and not given.no_build
            words = command_of(given.run, given.qemu, points[index], str(output), build)
            kept, log = measure(words, output, tell, text)
            if kept["error"] is not None:
                failures += 1
                tell.clear()
                print(f"sweep: failed ({kept['error']}): {shlex.join(words)}\n{log[-2000:].rstrip()}", file=sys.stderr)
                if number == 0:
                    print("sweep: the first run failed, so nothing was measured", file=sys.stderr)
                    return 1
            else:
                last = f"{kept['figures']['iops']:,.0f} IOPS; now "
            sweep["runs"].append({"point": index, "repetition": repetition} | kept)
            sweep["ended"] = now()
            sweep["complete"] = number + 1 == len(rounds)
            write_json(given.output, with_summaries(sweep), None)
    tell.clear()
    return 1 if failures else 0


def print_table(sweep: dict[str, Any]) -> None:
    """The medians, one line for each point that was measured."""
    print(f"{'IOPS':>10} {'spread':>7} {'p50 us':>9} {'p99 us':>9} {'notif./IO':>9} {'intr./IO':>9} floor  point")
    shown = ("iops", "p50_ns", "p99_ns", "notifications_per_io", "interrupts_per_io", "floor_ratio")
    for index, point in enumerate(sweep["points"]):
        of_point = figures.summaries(figures.runs_of(sweep, index))
        if "iops" not in of_point:
            continue
        iops, p50, p99, notifications, interrupts, floor = (
            figures.FIGURES[name].show(of_point[name].median if name in of_point else None) for name in shown
        )
        spread = figures.percent(of_point["iops"].spread)
        name = figures.in_words(point["conditions"])
        print(f"{iops:>10} {spread:>7} {p50:>9} {p99:>9} {notifications:>9} {interrupts:>9} {floor:>5}  {name}")


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="bench/sweep",
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--depth", default="1,8,32,128", metavar="LIST", help="requests in flight of each job (1,8,32,128)")
    add("--queues", default="1,2", metavar="LIST", help="virtqueues of the disk (1,2)")
    add("--harts", default="1", metavar="LIST", help="harts of the machine, each with one job (1)")
    add("--bs", default="4k,128k", metavar="LIST", help="block sizes (4k,128k)")
    add("--transport", default="mmio", metavar="LIST", help="those of ./run: mmio, mmio-legacy, pci, pci-legacy (mmio)")
    add("--rw", default="randread", metavar="LIST", help="what is done, in fio's words (randread)")
    add("--runtime", default="2", metavar="SECONDS", help="how long a run measures (2)")
    add("--repeat", default="5", metavar="N", help="runs of each point (5)")
    add("--disk", default="null:1G", metavar="DISK", help="as ./run has it (null:1G)")
    add("--append", action="append", default=[], metavar='"KEY=VALUE …"', help="more of the kernel's command line")
    add("--run-arg", action="append", default=[], metavar="ARG",
        help="one more argument for ./run, as it is: --run-arg=--device --run-arg=event_idx=off")
    add("--icount", action="store_true", help="a clock that counts instructions: for figures that are exact")
    add("--qemu", metavar="PATH", help="another QEMU")
    add("--no-build", action="store_true", help="measure the kernel as it was built before")
    add("--run", default="./run", metavar="PATH", help="what runs the benchmark (./run of this repository)")
    add("--output", type=Path, default=DEFAULT_OUTPUT, metavar="FILE", help="the result (build/bench/sweep.json)")
    add("--dry-run", action="store_true", help="list the runs and do nothing")
    return parser


def interrupt(*_: int | FrameType | None) -> None:
    """Unwinds, so that the run under way is ended."""
    raise Interrupted


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    given = make_parser().parse_args(arguments)
    if given.run == "./run":
        given.run = str(ROOT / "run")
    try:
        points = points_of(given)
        repeat = parse_whole(given.repeat, "--repeat", 1)
        commands = [shlex.join(command_of("./run", given.qemu, point, "FILE", True)) for point in points]
        if given.dry_run:
            print("\n".join(commands))
            # Beside what it measures, a run boots and has its floor measured.
            seconds = len(points) * repeat * (points[0]["runtime"] + 1.5)
            runs = len(points) * repeat
            print(f"# {len(points)} points, {repeat} times each: {runs} runs, about {duration(seconds)}")
            return 0
        sweep: dict[str, Any] = {
            "format": "inflight sweep 1",
            "command": shlex.join(["bench/sweep", *arguments]),
            "commit": commit(),
            "machine": machine(given.qemu or "qemu-system-riscv64"),
            "started": now(),
            "ended": None,
            "complete": False,
            "repeat": repeat,
            "points": [{"conditions": point, "command": line} for point, line in zip(points, commands)],
            "runs": [],
        }
        given.output.parent.mkdir(parents=True, exist_ok=True)
    except (Refusal, OSError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    tell = ProgressLine()
    try:
        status = sweep_over(given, points, sweep, tell)
    except Interrupted:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        tell.clear()
        if sweep["runs"]:  # the file may be one run behind
            write_json(given.output, with_summaries(sweep), None)
        print(f"sweep: interrupted after {len(sweep['runs'])} runs of {len(points) * repeat}", file=sys.stderr)
        status = INTERRUPTED
    except OSError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 1
    if sweep["runs"]:
        print_table(sweep)
        print(f"sweep: {len(sweep['runs'])} runs are in {given.output}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
