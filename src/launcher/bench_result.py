"""What the guest measured in `bench`, checked and in nanoseconds; jobs that report together are added up."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeVar

DIRECTIONS = ("read", "write", "trim")
SECOND = 1_000_000_000
# The last bucket of fio's own histogram, in ns. Its tools never end on a latency beyond it.
LONGEST = 17_112_760_320
# fio's list, in millionths of a percent.
PERCENTILES = tuple(
    int(percent * 1_000_000)
    for percent in (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
)
RANGES_OF_DEPTH = 7  # 1, 2, 4, … 32, and 64 or more
RANGES_OF_BATCH = 7  # 0, up to 4, 8, … 64, and more

T = TypeVar("T")


class BrokenResult(Exception):
    """The guest's result is not what was agreed; the message says where."""


@dataclass(frozen=True)
class Latencies:
    """Times of requests, in ns. `bins` are the buckets that are not empty: the time they stand for, and how many."""

    count: int = 0
    least: int = 0
    most: int = 0
    total: int = 0
    bins: tuple[tuple[int, int], ...] = ()

    def __add__(self, other: "Latencies") -> "Latencies":
        if not self.count or not other.count:
            return self if self.count else other
        bins = Counter(dict(self.bins)) + Counter(dict(other.bins))
        return Latencies(
            self.count + other.count,
            min(self.least, other.least),
            max(self.most, other.most),
            self.total + other.total,
            tuple(sorted(bins.items())),
        )

    @property
    def mean(self) -> float:
        """In ns; 0 if there are none."""
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation of the sample, in ns."""
        squares = sum(count * (value - self.mean) ** 2 for value, count in self.bins)
        return math.sqrt(squares / (self.count - 1)) if self.count > 1 else 0.0

    def percentiles(self, wanted: Iterable[int]) -> list[tuple[int, int]]:
        """Each one wanted, with the time that so many needed at the most: the first bucket that reaches it."""
        found: list[tuple[int, int]] = []
        ascending = sorted(wanted)
        seen = 0
        for value, count in self.bins:
            seen += count
            while len(found) < len(ascending) and seen * 100_000_000 >= ascending[len(found)] * self.count:
                found.append((ascending[len(found)], value))
        return found


@dataclass(frozen=True)
class Samples:
    """Means over half a second each. `squares` is the sum of the squares of what they differ from their mean by."""

    count: int = 0
    least: int = 0
    most: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "Samples") -> "Samples":
        # As fio does: jobs that run together are as fast as all of them.
        return Samples(*(one + another for one, another in zip(_values(self), _values(other))))

    @property
    def deviation(self) -> float:
        """The standard deviation of the sample."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0


@dataclass(frozen=True)
class Direction:
    """What a job did in one direction; `runtime` in ns, 0 if the clock stepped back."""

    ios: int
    bytes: int
    runtime: int
    latencies: Latencies
    bandwidth: Samples  # KiB/s
    iops: Samples

    def __add__(self, other: "Direction") -> "Direction":
        return Direction(
            self.ios + other.ios,
            self.bytes + other.bytes,
            0 if self.is_untimed or other.is_untimed else max(self.runtime, other.runtime),
            self.latencies + other.latencies,
            self.bandwidth + other.bandwidth,
            self.iops + other.iops,
        )

    @property
    def is_untimed(self) -> bool:
        """True if something was done, and no time is told."""
        return self.ios != 0 and self.runtime == 0

    def per_second(self, number: int) -> float:
        """What a number of this whole run is in a second."""
        return number * SECOND / self.runtime if self.runtime else 0.0


@dataclass(frozen=True)
class Job:
    """One job, or several clones that report together. Times in ns; `elapsed` is the sum of theirs.

    Where the clock stepped back no time is told, and all are 0."""

    name: str
    group: int
    members: int
    harts: tuple[int, ...]
    disks: tuple[str, ...]
    rw: str
    block_sizes: tuple[int, ...]
    depth: int
    together: bool
    error: int
    error_text: str
    started: int
    elapsed: int
    percentiles: tuple[int, ...]
    options: dict[str, str]
    directions: dict[str, Direction]
    sync_ios: int
    sync: Latencies
    depths: tuple[int, ...]
    submitted: tuple[int, ...]
    completed: tuple[int, ...]

    def __add__(self, other: "Job") -> "Job":
        first_error = self if self.error else other
        return replace(
            self,
            members=self.members + other.members,
            harts=tuple(sorted({*self.harts, *other.harts})),
            disks=tuple(dict.fromkeys(self.disks + other.disks)),
            error=first_error.error,
            error_text=first_error.error_text,
            started=min(self.started, other.started),
            elapsed=self.elapsed + other.elapsed,
            directions={name: self.directions[name] + other.directions[name] for name in DIRECTIONS},
            sync_ios=self.sync_ios + other.sync_ios,
            sync=self.sync + other.sync,
            depths=_sums(self.depths, other.depths),
            submitted=_sums(self.submitted, other.submitted),
            completed=_sums(self.completed, other.completed),
        )

    @property
    def latencies(self) -> Latencies:
        """Those of all directions."""
        return reduce(Latencies.__add__, (direction.latencies for direction in self.directions.values()))


@dataclass(frozen=True)
class Hart:
    """A hart while the jobs of a group ran; `asleep` in ns."""

    number: int
    asleep: int
    sleeps: int
    rounds: int
    resumptions: int


@dataclass(frozen=True)
class Queue:
    """A virtqueue while the jobs of a group ran."""

    disk: str
    number: int
    requests: int
    notifications: int
    interrupts: int


@dataclass(frozen=True)
class Group:
    """Jobs that ran together. Times in ns; without a floor, `floor_elapsed` is 0; where the clock stepped back no time is told,
    and all are 0."""

    number: int
    elapsed: int
    ios: int
    notifications: int
    interrupts: int
    mmio_accesses: int
    instructions: int  # of all harts
    floor_ios: int
    floor_elapsed: int
    harts: tuple[Hart, ...]
    queues: tuple[Queue, ...]

    def asleep_share(self, harts: Sequence[int] | None = None) -> float:
        """The part of the time that all harts, or those given, slept."""
        asleep = [hart.asleep for hart in self.harts if harts is None or hart.number in harts]
        return ratio(sum(asleep), self.elapsed * len(asleep))


@dataclass(frozen=True)
class Run:
    """All of it. `entries` are what fio reports of: jobs, those that report together as one."""

    boot_to_first_read: int  # ns; 0: not measured
    memory_kib: int
    counts_instructions: bool
    jobs: tuple[Job, ...]
    entries: tuple[Job, ...]
    groups: tuple[Group, ...]

    @property
    def seconds(self) -> int:
        """How long all of it took, begun ones included."""
        first = min(job.started for job in self.jobs)
        return -(-max(job.started + job.elapsed - first for job in self.jobs) // SECOND)

    def group(self, number: int) -> Group:
        """The group of this number."""
        return next(group for group in self.groups if group.number == number)


class _Fields:
    """An object of the result: each look at it checks what is there."""

    def __init__(self, fields: Any, place: str) -> None:
        if not isinstance(fields, Mapping):
            raise BrokenResult(f"{place} is no object")
        self._fields = fields
        self._place = place

    def whole(self, key: str) -> int:
        value = self._get(key, int)
        if isinstance(value, bool) or value < 0:
            raise BrokenResult(f"{self._place}.{key} is {value!r}")
        return value

    def flag(self, key: str) -> bool:
        return self._get(key, bool)

    def text(self, key: str) -> str:
        return self._get(key, str)

    def fields(self, key: str) -> "_Fields":
        return _Fields(self._get(key, dict), f"{self._place}.{key}")

    def each(self, key: str, make: Callable[["_Fields"], T]) -> tuple[T, ...]:
        return tuple(make(_Fields(one, f"{self._place}.{key}[{i}]")) for i, one in enumerate(self._get(key, list)))

    def values(self, key: str, kind: type[T], count: int | None = None) -> tuple[T, ...]:
        values = self._get(key, list)
        if not all(isinstance(value, kind) for value in values) or count not in (None, len(values)):
            raise BrokenResult(f"{self._place}.{key} is {values!r}")
        return tuple(values)

    def words(self, key: str) -> dict[str, str]:
        return {name: str(value) for name, value in self._get(key, dict).items()}

    def bins(self, key: str) -> list[tuple[int, int]]:
        pairs = self._get(key, list)
        if not all(isinstance(pair, list) and [type(part) for part in pair] == [int, int] for pair in pairs):
            raise BrokenResult(f"{self._place}.{key} is no list of pairs")
        return [(value, count) for value, count in pairs]

    def _get(self, key: str, kind: type[T]) -> T:
        if key not in self._fields:
            raise BrokenResult(f"{self._place}.{key} is missing")
        value = self._fields[key]
        if not isinstance(value, kind):
            raise BrokenResult(f"{self._place}.{key} is {value!r}")
        return value


def parse(result: Mapping[str, Any]) -> Run:
    """Reads the merged result of the guest; raises BrokenResult."""
    fields = _Fields(result, "bench")
    ticks_per_second = fields.whole("ticks_per_second")
    if ticks_per_second == 0:
        raise BrokenResult("bench.ticks_per_second is 0")

    def nanoseconds(ticks: int) -> int:
        return ticks * SECOND // ticks_per_second

    def latencies(of: _Fields) -> Latencies:
        bins: Counter[int] = Counter()
        for value, count in of.bins("bins"):
            bins[min(nanoseconds(value), LONGEST)] += count
        count = of.whole("count")
        if sum(bins.values()) != count:
            raise BrokenResult(f"a histogram holds {sum(bins.values())} of {count} latencies")
        least, most, total = (nanoseconds(of.whole(key)) for key in ("min", "max", "sum"))
        return Latencies(count, least, most, total, tuple(sorted(bins.items()))) if count else Latencies()

    def samples(of: _Fields, squares: str, unit: int) -> Samples:
        count = of.whole("count")
        if count == 0:
            return Samples()
        mean = of.whole("sum") / unit / count
        differences = max(0.0, of.whole(squares) - count * mean**2)
        return Samples(count, of.whole("min") // unit, of.whole("max") // unit, mean, differences)

    def direction(of: _Fields) -> Direction:
        return Direction(
            of.whole("ios"),
            of.whole("bytes"),
            nanoseconds(of.whole("runtime")),
            latencies(of.fields("clat")),
            samples(of.fields("bw_samples"), "sum_squares_kib", 1024),
            samples(of.fields("iops_samples"), "sum_squares", 1),
        )

    def job(of: _Fields) -> Job:
        sync = of.fields("sync")
        return Job(
            name=of.text("name"),
            group=of.whole("group"),
            members=1,
            harts=(of.whole("hart"),),
            disks=of.values("disks", str),
            rw=of.text("rw"),
            block_sizes=of.values("bs", int, len(DIRECTIONS)),
            depth=of.whole("iodepth"),
            together=of.flag("group_reporting"),
            error=of.whole("error"),
            error_text=of.text("error_text"),
            started=nanoseconds(of.whole("started")),
            elapsed=nanoseconds(of.whole("elapsed")),
            percentiles=of.values("percentile_list", int) or PERCENTILES,
            options=of.words("options"),
            directions={name: direction(of.fields(name)) for name in DIRECTIONS},
            sync_ios=sync.whole("ios"),
            sync=latencies(sync.fields("clat")),
            depths=of.values("depth_at_submission", int, RANGES_OF_DEPTH),
            submitted=of.values("batch_submitted", int, RANGES_OF_BATCH),
            completed=of.values("batch_completed", int, RANGES_OF_BATCH),
        )

    def hart(of: _Fields) -> Hart:
        counts = (of.whole(key) for key in ("sleeps", "rounds", "resumptions"))
        return Hart(of.whole("hart"), nanoseconds(of.whole("asleep")), *counts)

    def queue(of: _Fields) -> Queue:
        counts = (of.whole(key) for key in ("queue", "requests", "notifications", "interrupts"))
        return Queue(of.text("disk"), *counts)

    def group(of: _Fields) -> Group:
        return Group(
            number=of.whole("group"),
            elapsed=nanoseconds(of.whole("elapsed")),
            ios=of.whole("ios"),
            notifications=of.whole("notifications"),
            interrupts=of.whole("interrupts"),
            mmio_accesses=of.whole("mmio_accesses"),
            instructions=of.whole("instructions"),
            floor_ios=of.whole("floor_ios"),
            floor_elapsed=nanoseconds(of.whole("floor_elapsed")),
            harts=of.each("harts", hart),
            queues=of.each("queues", queue),
        )

    jobs = fields.each("jobs", job)
    if not jobs:
        raise BrokenResult("bench.jobs is empty")
    run = Run(
        boot_to_first_read=nanoseconds(fields.whole("boot_to_first_read")),
        memory_kib=fields.whole("memory_kib"),
        counts_instructions=fields.flag("icount"),
        jobs=jobs,
        entries=_entries(jobs),
        groups=fields.each("groups", group),
    )
    if missing := {job.group for job in run.jobs} - {group.number for group in run.groups}:
        raise BrokenResult(f"bench.groups lacks {sorted(missing)}")
    return run


def _entries(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """As in fio, jobs of a group that report together are one, with the name and the options of the first."""
    found: list[Job] = []
    for job in jobs:
        if found and job.together and found[-1].together and found[-1].group == job.group:
            found[-1] += job
        else:
            found.append(job)
    return tuple(found)


def ratio(number: float, of: float) -> float:
    """Their quotient; 0 if there is nothing to divide by."""
    return number / of if of else 0.0


def _sums(one: Iterable[int], other: Iterable[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other))


def _values(samples: Samples) -> tuple[Any, ...]:
    return (samples.count, samples.least, samples.most, samples.mean, samples.squares)
