"""One test of the real kernel on the real QEMU: a run of `./run`, and what is expected of it."""

import argparse
import json
import operator
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LAST_LINES = 40
SILENCE = 30  # seconds without a word from the guest, after which ./run gives up

OPERATORS = {"==": operator.eq, ">": operator.gt, ">=": operator.ge, "<=": operator.le}


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """What every test takes that boots the kernel."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--kernel", type=Path, default=ROOT / "build/riscv64/inflight.elf", help="the kernel to boot")
    parser.add_argument("--scratch", type=Path, default=Path("."), help="where files go (default: here)")
    return parser


@dataclass(frozen=True)
class Image:
    """A disk image made for one case. Its contents follow from its size: noise.

    If sparse, islands of noise: at both ends, and across every GiB.
    """

    name: str
    size: int
    sparse: bool = False
    qcow2: bool = False

    def make(self, directory: Path) -> Path:
        """Writes the image into the directory."""
        path = directory / self.name
        noise = random.Random(self.size)
        length = min(1 << 20, self.size) if self.sparse else self.size
        edges = range(1 << 30, self.size, 1 << 30) if self.sparse else ()
        with open(path, "wb") as file:
            file.truncate(self.size)
            for start in sorted({0, self.size - length, *(edge - length // 2 for edge in edges)}):
                file.seek(start)
                file.write(noise.randbytes(length))
        if self.qcow2:
            raw = path.rename(path.with_suffix(".raw"))
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
            raw.unlink()
        return path


@dataclass(frozen=True)
class Case:
    """A run and its expectations. In `arguments`, "{name}" stands for the path of the image of that name.

    says: regular expressions, each of which some line matches. says_in_order: the same, each in a line after that of the
    one before it.
    says_not: regular expressions that no line matches.
    refuses: a regular expression for the one line "error: …" (of the kernel) or "run: …" (of ./run) that there must be.
    guest: expectations of what the guest reported with --json, such as "disks.*.queues.*.requests > 0"; "*" stands for
    every element, of which there must be at least one, and "#" for their number.
    untouched: names of images that are as they were before the run.
    seconds: the least and the most that the run may take.
    times: how often it is repeated.
    """

    name: str
    arguments: tuple[str, ...]
    status: int = 0
    says: tuple[str, ...] = ()
    says_in_order: tuple[str, ...] = ()
    says_not: tuple[str, ...] = ()
    refuses: str | None = None
    guest: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    untouched: tuple[str, ...] = ()
    seconds: tuple[float, float] = (0, 60)
    times: int = 1
    full_only: bool = False

    @property
    def limit(self) -> int:
        """Seconds after which CTest ends it."""
        return int(self.seconds[1]) * self.times + 30


@dataclass(frozen=True)
class Outcome:
    """What a run did. `report` is what --json wrote, if it did."""

    command: list[str]
    status: int
    lines: list[str]
    report: dict[str, Any]
    seconds: float

    def explain(self, complaints: Sequence[str]) -> str:
        """All that is needed to understand a failure, and to repeat it."""
        words = [*complaints, f"to repeat it:\n  cd {ROOT} && {shlex.join(self.command)}"]
        words += [f"the last {LAST_LINES} lines (exit status {self.status}, {self.seconds:.1f} s):"]
        return "\n".join(words + ["  | " + line for line in self.lines[-LAST_LINES:]])


def run(arguments: Sequence[str], kernel: Path, directory: Path, max_seconds: float = 600) -> Outcome:
    """Runs `./run` with these arguments on this kernel; files go to the directory.

    INFLIGHT_HARTS in the environment gives every machine so many harts, but those whose case says how many.
    """
    command = ["./run", *arguments, "--no-build", "--kernel", str(kernel)]
    harts = os.environ.get("INFLIGHT_HARTS")
    if harts and not any(argument.startswith("--harts") for argument in arguments):
        command.append(f"--harts={harts}")
    if not any(argument.startswith("--timeout=") for argument in arguments):
        command.append(f"--timeout={SILENCE}")
    report = directory / "result.json"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    # Its output goes to a file: nothing is lost if it has to be killed.
    with open(directory / "output", "w+b") as output:
        process = subprocess.Popen(
            [*command, "--json", str(report)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            status = process.wait(max_seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # ./run takes its QEMU with it
            status = process.wait()
        seconds = time.monotonic() - started
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    result = json.loads(report.read_text()) if report.exists() else {}
    return Outcome(command, status, lines, result, seconds)


def values_at(value: Any, path: Sequence[str]) -> list[Any]:
    """All values that the path leads to."""
    if not path:
        return [value]
    step, rest = path[0], path[1:]
    if step == "#" and isinstance(value, list):
        return [len(value)]
    if step == "*" and isinstance(value, list):
        return [found for element in value for found in values_at(element, rest)]
    if isinstance(value, list) and step.isdigit() and int(step) < len(value):
        return values_at(value[int(step)], rest)
    if isinstance(value, dict) and step in value:
        return values_at(value[step], rest)
    return []


def complaint_about(expectation: str, guest: Any) -> str | None:
    """Nothing, if the expectation is met."""
    path, symbol, bound = expectation.split(" ", 2)
    found = values_at(guest, path.split("."))
    if found and all(OPERATORS[symbol](value, json.loads(bound)) for value in found):
        return None
    return f"expected {expectation}, found {found if found else 'nothing of that name'}"


def judge(case: Case, outcome: Outcome) -> list[str]:
    """What is wrong with the outcome, in words."""
    complaints = []
    if outcome.status != case.status:
        complaints.append(f"expected the exit status {case.status}, found {outcome.status}")
    if not case.seconds[0] <= outcome.seconds <= case.seconds[1]:
        least, most = case.seconds
        complaints.append(f"expected it to take {least} to {most} s, found {outcome.seconds:.1f} s")
    for pattern in case.says:
        if not any(re.search(pattern, line) for line in outcome.lines):
            complaints.append(f"expected a line that matches /{pattern}/")
    for pattern in case.says_not:
        if any(re.search(pattern, line) for line in outcome.lines):
            complaints.append(f"expected no line that matches /{pattern}/")
    rest = iter(outcome.lines)
    for pattern in case.says_in_order:
        if not any(re.search(pattern, line) for line in rest):
            complaints.append(f"expected, after what was expected before it, a line that matches /{pattern}/")
            break
    refusals = [line for line in outcome.lines if line.startswith(("error: ", "run: "))]
    if case.refuses is not None and not (len(refusals) == 1 and re.search(case.refuses, refusals[0])):
        complaints.append(f"expected one line of refusal, matching /{case.refuses}/, found {refusals}")
    if case.status == 0 and refusals:
        complaints.append(f"expected no complaint, found {refusals}")
    complaints += filter(None, (complaint_about(each, outcome.report.get("guest")) for each in case.guest))
    return complaints


def check(case: Case, kernel: Path, scratch: Path) -> Outcome | None:
    """Runs a case in a directory of its own below `scratch`. Returns the last outcome, or tells what went wrong.

    The directory is deleted unless something went wrong: the command to repeat it needs the images.
    """
    directory = Path(tempfile.mkdtemp(dir=scratch, prefix=f"{case.name}-"))
    places = {image.name: str(image.make(directory)) for image in case.images}
    before = {name: Path(places[name]).read_bytes() for name in case.untouched}
    arguments = [re.sub(r"\{(\w+)\}", lambda match: places[match[1]], word) for word in case.arguments]
    for _ in range(case.times):
        outcome = run(arguments, kernel, directory, case.seconds[1])
        complaints = judge(case, outcome)
        for name, contents in before.items():
            if Path(places[name]).read_bytes() != contents:
                complaints.append(f"expected the image {name} to be as before, and it was written")
        if complaints:
            print(f"{case.name} FAILED", outcome.explain(complaints), sep="\n", file=sys.stderr)
            return None
    shutil.rmtree(directory)
    print(f"{case.name}: passed in {outcome.seconds:.1f} s" + (f", {case.times} times" if case.times > 1 else ""))
    return outcome
