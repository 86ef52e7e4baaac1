"""What a run of `./run bench --output-format=json+` says, what several runs of it say together, and in which words."""

import itertools
import json
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src" / "launcher"))
from values import Refusal  # noqa: E402 (the path is set above)

DIRECTIONS = ("read", "write", "trim")
PERCENTILES = {"p50_ns": 50.0, "p99_ns": 99.0, "p99.9_ns": 99.9}


@dataclass(frozen=True)
class Figure:
    """One thing that is measured: how it is called and shown, and which way is better."""

    title: str
    unit: str
    scale: float = 1.0  # what is kept, times this, is shown
    decimals: int = 0
    more_is_better: bool = False
    timed: bool = True  # by a clock, so never the same twice; else a count

    def show(self, value: float | None) -> str:
        """The value as people read it."""
        return "–" if value is None else f"{value * self.scale:,.{self.decimals}f}"


# In the order of tables. What is not timed is exact where the machine is: the same in every run under --icount.
FIGURES = {
    "iops": Figure("IOPS", "I/O per second", more_is_better=True),
    "bandwidth": Figure("bandwidth", "MiB/s", scale=1 / (1 << 20), more_is_better=True),
    "mean_ns": Figure("mean latency", "µs", scale=1e-3, decimals=1),
    "p50_ns": Figure("p50", "µs", scale=1e-3, decimals=1),
    "p99_ns": Figure("p99", "µs", scale=1e-3, decimals=1),
    "p99.9_ns": Figure("p99.9", "µs", scale=1e-3, decimals=1),
    "floor_iops": Figure("floor", "I/O per second", more_is_better=True),
    "floor_ratio": Figure("ratio to floor", "", decimals=2, more_is_better=True),
    "idle_share": Figure("idle share", "%", scale=100, decimals=1, more_is_better=True),
    "boot_to_first_read_ns": Figure("boot to first read", "ms", scale=1e-6, decimals=2),
    "notifications_per_io": Figure("notifications per I/O", "", decimals=4, timed=False),
    "interrupts_per_io": Figure("interrupts per I/O", "", decimals=4, timed=False),
    "mmio_accesses_per_io": Figure("MMIO accesses per I/O", "", decimals=4, timed=False),
    "guest_instructions_per_io": Figure("guest instructions per I/O", "", decimals=2, timed=False),
}
# These come as they are from the one group of jobs of a run.
OF_THE_GROUP = (
    "notifications_per_io",
    "interrupts_per_io",
    "mmio_accesses_per_io",
    "guest_instructions_per_io",
    "idle_share",
    "floor_iops",
    "floor_ratio",
)

Bins = dict[int, int]


def merge_bins(parts: Iterable[Mapping[Any, int]]) -> Bins:
    """One histogram of several: how many I/Os took how many nanoseconds, in order."""
    merged: Bins = {}
    for part in parts:
        for value, count in part.items():
            merged[int(value)] = merged.get(int(value), 0) + count
    return dict(sorted(merged.items()))


def percentile(bins: Bins, percent: float) -> int | None:
    """As fio has it: the value of the bucket in which so many percent of all are reached. The bins are in order."""
    wanted = percent / 100 * sum(bins.values())
    for value, so_far in zip(bins, itertools.accumulate(bins.values())):
        if so_far >= wanted:
            return value
    return None


def histogram_of(output: Mapping[str, Any]) -> Bins:
    """The completion latencies of all jobs and directions of a run."""
    parts = [job[direction]["clat_ns"] for job in output["jobs"] for direction in DIRECTIONS]
    return merge_bins(part.get("bins", {}) for part in parts)


def figures_of(output: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a run of one group of jobs (what the launcher wrote as json+), by the names of FIGURES."""
    broken = [job for job in output["jobs"] if job["error"] != 0]
    if broken:
        raise ValueError(f"the job '{broken[0]['jobname']}' ended with error {broken[0]['error']}")
    groups = output["inflight"]["groups"]
    if len(groups) != 1:
        raise ValueError(f"the run has {len(groups)} groups of jobs, and not one")
    parts = [job[direction] for job in output["jobs"] for direction in DIRECTIONS]
    ios = sum(part["total_ios"] for part in parts)
    if ios == 0:
        raise ValueError("the run has no I/O at all")
    bins = histogram_of(output)
    figures: dict[str, float | None] = {name: None for name in FIGURES}
    figures["iops"] = sum(part["iops"] for part in parts)
    figures["bandwidth"] = sum(part["bw_bytes"] for part in parts)
    # By I/O: a job that did twice as many has twice the say.
    figures["mean_ns"] = sum(part["clat_ns"]["mean"] * part["total_ios"] for part in parts) / ios
    figures |= {name: percentile(bins, percent) for name, percent in PERCENTILES.items()}
    figures |= {name: groups[0].get(name) for name in OF_THE_GROUP}
    figures["boot_to_first_read_ns"] = output["inflight"].get("boot_to_first_read_ns")
    return figures


@dataclass(frozen=True)
class Summary:
    """What several runs said of one figure."""

    runs: int
    median: float
    least: float
    most: float

    @property
    def spread(self) -> float:
        """(most - least) / median: between the two runs that differ most. Infinite around a median of 0."""
        if self.most == self.least:
            return 0.0
        return (self.most - self.least) / abs(self.median) if self.median else math.inf


def summary(values: Sequence[float]) -> Summary:
    """Of one value or more."""
    return Summary(len(values), statistics.median(values), min(values), max(values))


def summaries(runs: Iterable[Mapping[str, Any]]) -> dict[str, Summary]:
    """Of each figure that the runs (of one point) have; one that failed has none."""
    good = [run["figures"] for run in runs if run["figures"] is not None]
    columns = {name: [run[name] for run in good if run.get(name) is not None] for name in FIGURES}
    return {name: summary(values) for name, values in columns.items() if values}


def in_words(point: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """A point in short: "randread 4k depth 32 queues 1 harts 1 mmio on null:1G for 2 s"."""
    before = {"depth": "depth ", "queues": "queues ", "harts": "harts ", "disk": "on ", "runtime": "for "}
    parts = []
    for name, value in point.items():
        if name in without or value in ("", False):
            continue
        text = "--icount" if name == "icount" else f"{before.get(name, '')}{value}"
        parts.append(text + " s" * (name == "runtime"))
    return " ".join(parts)


def percent(share: float) -> str:
    """0.153 as "15 %"."""
    return "more than 1000 %" if share > 10 else f"{share * 100:.3g} %"


def read_sweep(path: Path) -> dict[str, Any]:
    """What bench/sweep wrote."""
    try:
        sweep = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(f"{path}: {error}") from error
    if not isinstance(sweep, dict) or sweep.get("format") != "inflight sweep 1":
        raise Refusal(f"{path} is not what bench/sweep writes")
    return sweep


def runs_of(sweep: Mapping[str, Any], index: int) -> list[dict[str, Any]]:
    """The runs of one point of a sweep, those that failed too."""
    return [run for run in sweep["runs"] if run["point"] == index]
