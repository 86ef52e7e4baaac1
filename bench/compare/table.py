"""The table of the comparison."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measure of one job (or of the whole run): our values and those of Linux, in the order of the runs."""

    job: str
    measure: str
    ours: Sequence[float] = ()
    linux: Sequence[float] = ()
    limit: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        ratio = ratio_of(self)
        return {"job": self.job, "measure": self.measure, "ours": list(self.ours), "linux": list(self.linux),
                "ratio": ratio, "limit": self.limit}  # fmt: skip


def ratio_of(row: Row) -> float | None:
    """The median of ours divided by that of Linux."""
    if not row.ours or not row.linux or statistics.median(row.linux) == 0:
        return None
    return statistics.median(row.ours) / statistics.median(row.linux)


def number(value: float) -> str:
    """A number with about three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.4f}" if abs(value) < 0.1 and value != 0 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """The median, with minimum and maximum if there are several values."""
    if not values:
        return "-"
    median = number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({number(min(values))} - {number(max(values))})"


def render(rows: Sequence[Row]) -> str:
    """The table in Markdown, with aligned columns."""
    heading = ["job", "measure", "ours", "Linux + fio", "ours / Linux", "limit of the backend"]
    cells = [heading]
    last = ""
    for row in rows:
        ratio = ratio_of(row)
        limit = "" if row.limit is None else number(row.limit)
        job = "" if row.job == last else row.job
        last = row.job
        shown = "-" if ratio is None else number(ratio)
        cells.append([job, row.measure, spread(row.ours), spread(row.linux), shown, limit])
    widths = [max(len(line[column]) for line in cells) for column in range(len(heading))]
    lines = ["| " + " | ".join(_aligned(line, widths)) + " |" for line in cells]
    rule = "|" + "|".join("-" * (width + 1) + ("-" if column < 2 else ":") for column, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths))]  # fmt: skip


def job_of(report: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The job of this name in a report of fio's form."""
    return next((job for job in report["jobs"] if job["jobname"] == name), None)


def requests_of(job: Mapping[str, Any]) -> int:
    """The number of requests that a job did."""
    return sum(int(job.get(kind, {}).get("total_ios", 0)) for kind in ("read", "write", "trim"))


def iops_of(job: Mapping[str, Any]) -> float:
    """Requests per second, of all kinds."""
    return sum(float(job.get(kind, {}).get("iops", 0)) for kind in ("read", "write", "trim"))


def latency_of(job: Mapping[str, Any], percentile: str) -> float | None:
    """Microseconds from submission to completion, of reads or writes, whichever the job did more of. fio's lat is
    preferred: its clat begins when the submission has returned, and QEMU may have completed the request by then."""
    kind = max(("read", "write"), key=lambda kind: int(job.get(kind, {}).get("total_ios", 0)))
    for name in ("lat_ns", "clat_ns"):
        value = job.get(kind, {}).get(name, {}).get("percentile", {}).get(percentile)
        if value is not None:
            return float(value) / 1000
    return None
