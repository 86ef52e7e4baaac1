"""Keeps what sweeps said, and compares two commits point by point.

    bench/history add build/bench/sweep.json            appends its medians to build/bench/history.jsonl
    bench/history list                                  which commits there are
    bench/history compare 1a2b3c4 HEAD                  what got better or worse, and what cannot be told

How it is compared. A count per I/O (guest instructions, notifications, interrupts, MMIO accesses) that was the same in
all runs of either side, two or more, is exact: any difference is told. Everything else has noise. It is not compared at
all with fewer than 5 runs on a side, or if the spread, (most - least) / median, of either is more than --noise. It is
told as better or worse only if the ranges of the two do not overlap and the medians are farther apart than the wider
range. Of five runs each that differ by nothing but chance (independent, normal), 2 comparisons in 1000 pass that. Times
are not compared between machines.

A commit is a revision or the beginning of one, or what git understands (HEAD~1, a tag); "-dirty" behind it means what
was measured when the files were not quite those of the commit. Of several sweeps of a point, the last counts.

Exit status: 0 nothing got worse; 1 something did; 2 refused, or nothing could be compared.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import figures
from figures import FIGURES, ROOT, Refusal, Summary

DEFAULT_HISTORY = ROOT / "build" / "bench" / "history.jsonl"
LEAST_RUNS = 5
LEAST_EXACT_RUNS = 2
# The floor is no figure of ours, and the boot is a gate.
COMPARED = (
    "iops",
    "p50_ns",
    "p99_ns",
    "floor_ratio",
    "notifications_per_io",
    "interrupts_per_io",
    "mmio_accesses_per_io",
    "guest_instructions_per_io",
)

Entry = dict[str, Any]


def is_exact(name: str, summary: Summary) -> bool:
    """Whether the figure is a count that no run disagreed on."""
    return not FIGURES[name].timed and summary.runs >= LEAST_EXACT_RUNS and summary.least == summary.most


def entries_of(sweep: Mapping[str, Any]) -> list[Entry]:
    """The lines of a sweep: one for each point that was measured."""
    commit = sweep["commit"]
    entries = []
    for index, point in enumerate(sweep["points"]):
        of_point = figures.summaries(figures.runs_of(sweep, index))
        if not of_point:
            continue
        entries.append(
            {
                "commit": commit["revision"],
                "describe": commit["describe"],
                "dirty": commit["dirty"],
                "date": sweep["started"],
                "machine": sweep["machine"],
                "point": point["conditions"],
                "runs": max(each.runs for each in of_point.values()),
                "median": {name: each.median for name, each in of_point.items()},
                "spread": {name: each.spread if each.median else None for name, each in of_point.items()},
                "range": {name: [each.least, each.most] for name, each in of_point.items()},
                "exact": {name: each.median for name, each in of_point.items() if is_exact(name, each)},
            }
        )
    return entries


def read(history: Path) -> list[Entry]:
    """All lines, the oldest first."""
    entries = []
    try:
        lines = history.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Refusal(f"{history}: {error.strerror}; bench/history add SWEEP begins one") from error
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            summary_of(entry, "iops")
            entries.append(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(f"{history}: line {number} is not what bench/history writes") from error
    return entries


def add(history: Path, sweeps: Sequence[Path]) -> int:
    """Appends the sweeps; refuses one that is there already."""
    known = {(entry["commit"], entry["date"]) for entry in read(history)} if history.exists() else set()
    lines = []
    for path in sweeps:
        sweep = figures.read_sweep(path)
        if sweep["commit"]["revision"] is None:
            raise Refusal(f"{path}: it is not known of which commit it is")
        entries = entries_of(sweep)
        if not entries:
            raise Refusal(f"{path}: nothing was measured")
        if (sweep["commit"]["revision"], sweep["started"]) in known:
            raise Refusal(f"{path}: this sweep is in {history} already")
        lines += [json.dumps(entry) + "\n" for entry in entries]
    history.parent.mkdir(parents=True, exist_ok=True)
    with history.open("a", encoding="utf-8") as file:
        file.write("".join(lines))
    print(f"history: {len(lines)} points added to {history}")
    return 0


def name_of(entry: Entry) -> str:
    """As `compare` takes it."""
    return entry["commit"][:12] + ("-dirty" if entry["dirty"] else "")


def git_revision(name: str) -> str | None:
    """What git takes `name` for."""
    asking = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        asked = subprocess.run(asking, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def entries_named(entries: Sequence[Entry], name: str) -> dict[str, Entry]:
    """The last entry of each point of the commit."""
    base, dirty = name.removesuffix("-dirty"), name.endswith("-dirty")
    fitting = [entry for entry in entries if bool(entry["dirty"]) == dirty]
    found = [entry for entry in fitting if len(base) >= 4 and entry["commit"].startswith(base)]
    if not found:
        revision = git_revision(base)
        found = [entry for entry in fitting if entry["commit"] == revision]
    revisions = {entry["commit"] for entry in found}
    if len(revisions) > 1:
        raise Refusal(f"'{name}' may be any of {', '.join(sorted(revision[:12] for revision in revisions))}")
    if not found:
        there = ", ".join(dict.fromkeys(map(name_of, entries)))
        raise Refusal(f"nothing was measured of '{name}'; there are {there or 'no commits yet'}")
    return {json.dumps(entry["point"], sort_keys=True): entry for entry in found}


def summary_of(entry: Entry, name: str) -> Summary | None:
    """One figure of an entry, if it has it."""
    if name not in entry["median"]:
        return None
    least, most = entry["range"][name]
    return Summary(entry["runs"], entry["median"][name], least, most)


@dataclass(frozen=True)
class Verdict:
    """What became of a figure. `word` is better, worse, same, or "not compared" for the reason that is said."""

    word: str
    reason: str


def judge(name: str, before: Summary, after: Summary, noise: float, same_machine: bool) -> Verdict:
    """The rule that the text at the top of this file tells."""
    better = (after.median > before.median) == FIGURES[name].more_is_better
    if is_exact(name, before) and is_exact(name, after):
        return Verdict("same" if after.median == before.median else "better" if better else "worse", "exact")
    if FIGURES[name].timed and not same_machine:
        return Verdict("not compared", "measured on different machines or QEMUs")
    if min(before.runs, after.runs) < LEAST_RUNS:
        runs = min(before.runs, after.runs)
        return Verdict("not compared", f"{runs} run{'s' * (runs != 1)}, and {LEAST_RUNS} are needed")
    spread = max(before.spread, after.spread)
    if spread > noise:
        return Verdict("not compared", f"spread {figures.percent(spread)} is more than {figures.percent(noise)}")
    apart = after.least > before.most or before.least > after.most
    wider = max(before.most - before.least, after.most - after.least)
    if apart and abs(after.median - before.median) > wider:
        return Verdict("better" if better else "worse", "beyond the noise")
    return Verdict("same", "within the noise")


def change(before: float, after: float) -> str:
    """ "+3.1 %"."""
    return f"{(after / before - 1) * 100:+.1f} %" if before else "from 0"


def same_machine(before: Entry, after: Entry) -> bool:
    """Whether times may be compared. A new kernel of the host is no new machine."""
    return all(before["machine"].get(key) == after["machine"].get(key) for key in ("qemu", "cpus", "processor"))


def compare(history: Path, names: Sequence[str], noise: float, everything: bool) -> int:
    """Prints what changed from the first commit to the second; the exit status."""
    entries = read(history)
    old, new = (entries_named(entries, name) for name in names)
    common = [key for key in new if key in old]
    if not common:
        raise Refusal(f"{names[0]} and {names[1]} have no point in common")
    counts = {"better": 0, "worse": 0, "same": 0, "not compared": 0}
    for key in common:
        before, after = old[key], new[key]
        lines = []
        for name in COMPARED:
            first, second = summary_of(before, name), summary_of(after, name)
            if first is None or second is None:
                continue
            verdict = judge(name, first, second, noise, same_machine(before, after))
            counts[verdict.word] += 1
            if verdict.word == "same" and not everything:
                continue
            figure = FIGURES[name]
            told = f"  {figure.title}: {verdict.reason}: not compared"
            if verdict.word != "not compared":
                values = f"{figure.show(first.median)} -> {figure.show(second.median)} {figure.unit}".rstrip()
                changed = change(first.median, second.median)
                told = f"  {figure.title}: {verdict.word}: {values}, {changed} ({verdict.reason})"
            lines.append(told)
        if lines:
            print("\n".join([figures.in_words(after["point"]) + ":", *lines]))
    for missing, name in ((old.keys() - new.keys(), names[1]), (new.keys() - old.keys(), names[0])):
        if missing:
            print(f"not measured of {name}: {len(missing)} points that the other has")
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    if counts["worse"]:
        return 1
    return 0 if counts["better"] + counts["same"] else 2


def show_list(history: Path) -> int:
    """One line for each sweep."""
    sweeps: dict[tuple[str, str], list[Entry]] = {}
    for entry in read(history):
        sweeps.setdefault((entry["date"], name_of(entry)), []).append(entry)
    for (date, name), of_sweep in sweeps.items():
        runs = sum(entry["runs"] for entry in of_sweep)
        print(f"{date}  {name:18}  {len(of_sweep):3} points, {runs:4} runs  {of_sweep[0]['machine']['qemu']}")
    return 0


def share(text: str) -> float:
    """A part that is given in percent."""
    value = float(text.removesuffix("%").strip())
    if not 0 < value <= 100:
        raise ValueError
    return value / 100


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="bench/history",
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--history", type=Path, default=DEFAULT_HISTORY, metavar="FILE", help="another history")
    verbs = parser.add_subparsers(dest="verb", required=True)
    adding = verbs.add_parser("add", help="append sweeps")
    adding.add_argument("sweeps", type=Path, nargs="+", metavar="SWEEP", help="what bench/sweep wrote")
    verbs.add_parser("list", help="show which commits there are")
    comparing = verbs.add_parser("compare", help="compare two commits")
    comparing.add_argument("commits", nargs=2, metavar="COMMIT", help="before and after")
    comparing.add_argument("--noise", type=share, default=0.15, metavar="PERCENT",
        help="a figure that spreads more than this is not compared (15)")
    comparing.add_argument("--all", action="store_true", help="show also what stayed the same")
    given = parser.parse_args(arguments)
    verb: dict[str, Callable[[], int]] = {
        "add": lambda: add(given.history, given.sweeps),
        "list": lambda: show_list(given.history),
        "compare": lambda: compare(given.history, given.commits, given.noise, given.all),
    }
    try:
        return verb[given.verb]()
    except (Refusal, OSError) as error:
        print(f"history: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
