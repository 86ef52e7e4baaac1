"""Makes one HTML file of one or several sweeps: tables, pictures, and the commands that made them. It needs no network.

    bench/report                                    build/bench/sweep.json -> build/bench/report.html
    bench/report old.json new.json --output both.html
    bench/report --plot doc/iops.svg --linux compare.json

The plot for README.md is of the first point of the sweep and those that differ from it only in depth.
"""

import argparse
import html
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import figures
from figures import FIGURES, ROOT, Refusal

import plots
from launch import write_text  # of src/launcher: figures has set the path
from plots import Point, Series

DEFAULT_SWEEP = ROOT / "build" / "bench" / "sweep.json"
DEFAULT_OUTPUT = ROOT / "build" / "bench" / "report.html"
# What makes a line of a plot; the rest, but the depth, makes a section.
OF_A_LINE = ("sweep", "transport", "harts", "queues")
DISAGREEMENT = 0.15
LARGEST_PLOT = 60 << 10

STYLE = (
    """
:root{color-scheme:light dark;--ink:#1f2328;--muted:#59636e;--line:#d1d9e0;--ground:#fefefe;--shade:#f6f8fa}
@media(prefers-color-scheme:dark){
:root{--ink:#e6edf3;--muted:#9198a1;--line:#30363d;--ground:#0d1117;--shade:#151b23}
"""
    + plots.DARK_RULES
    + """}
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;color:var(--ink);
background:var(--ground);max-width:1100px;margin:2em auto;padding:0 1em}
h1{font-size:1.6em;margin-bottom:.2em}h2{font-size:1.25em;margin-top:2.2em;border-bottom:1px solid var(--line)}
figure{margin:1.2em 0;max-width:900px}figcaption,.muted{color:var(--muted);font-size:.88em}
svg{display:block;width:100%;height:auto}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85em;font-variant-numeric:tabular-nums;margin:.8em 0}
th,td{padding:.25em .6em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--muted);font-weight:600;vertical-align:bottom;white-space:normal}
th:first-child,td:first-child,.left td,.left th{text-align:left}
.left td+td{white-space:normal}
pre{background:var(--shade);padding:.7em;overflow-x:auto;font-size:.82em}code{font-size:.9em}
summary{cursor:pointer;color:var(--muted)}
"""
)


def escaped(value: object) -> str:
    """Text for HTML."""
    return html.escape(str(value))


def name_of(sweep: Mapping[str, Any]) -> str:
    """Which commit it was."""
    commit = sweep["commit"]
    return f"{commit['describe'] or 'unknown commit'}{'-dirty' if commit['dirty'] else ''}"


def points_of(sweep: Mapping[str, Any], name: str) -> list[Point]:
    """The points that were measured."""
    points = []
    for index, point in enumerate(sweep["points"]):
        runs = figures.runs_of(sweep, index)
        said = figures.summaries(runs)
        if "iops" in said:
            bins = figures.merge_bins(run["bins"] for run in runs if run["bins"])
            points.append(Point(point["conditions"] | {"sweep": name}, said, bins, point["command"]))
    return points


def sections_of(points: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    """Points that may share a plot, under a title: only depth and what makes a line may differ."""
    sections: dict[str, list[Point]] = {}
    for point in points:
        sections.setdefault(figures.in_words(point.conditions, (*OF_A_LINE, "depth")), []).append(point)
    return list(sections.items())


def in_short(conditions: Mapping[str, Any], names: Sequence[str]) -> str:
    """ "mmio, 2 harts, 1 queue"."""
    return ", ".join(
        f"{conditions[name]} {name if conditions[name] != 1 else name[:-1]}" if name in ("queues", "harts")
        else str(conditions[name])
        for name in names
    )  # fmt: skip


def series_of(points: Sequence[Point]) -> list[Series]:
    """The lines of a plot, each called by what sets it apart from the others."""
    varying = [name for name in OF_A_LINE if len({point.conditions[name] for point in points}) > 1]
    series: dict[tuple[Any, ...], Series] = {}
    for point in sorted(points, key=lambda point: int(point.conditions["depth"])):
        conditions = {name: point.conditions[name] for name in OF_A_LINE}
        label = in_short(conditions, varying)
        series.setdefault(tuple(conditions.values()), Series(label, conditions)).points.append(point)
    return sorted(series.values(), key=lambda each: tuple(map(str, each.conditions.values())))


def figure_element(svg: str, caption: str) -> str:
    """A picture with what has to be said of it."""
    return f"<figure>{svg}<figcaption>{escaped(caption)}</figcaption></figure>"


class Page:
    """Collects the parts, and gives every picture names of its own."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._pictures = 0

    def add(self, text: str) -> None:
        """HTML as it is."""
        self.parts.append(text)

    def picture(self, figure: "plots.Figure", title: str, caption: str) -> None:
        """A plot."""
        self._pictures += 1
        self.add(figure_element(plots.svg_of(figure, f"f{self._pictures}", title), caption))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]], kind: str = "") -> None:
        """A table."""
        head = "".join(f"<th>{escaped(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        head = f"<thead><tr>{head}</tr></thead>" if header else ""
        self.add(f'<div class="wide"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>')


def add_sweep(page: Page, sweep: Mapping[str, Any], name: str) -> None:
    """What was measured, on what, and by which command."""
    commit, machine = sweep["commit"], sweep["machine"]
    loads = [run["load"][0] for run in sweep["runs"]]
    failed = sum(run["error"] is not None for run in sweep["runs"])
    runs = f"{len(sweep['runs'])}, {sweep['repeat']} of each point, going round over all points"
    if failed:
        runs += f"; {failed} failed and do not count"
    if not sweep["complete"]:
        runs += "; the sweep was interrupted"
    dirty = " (the files were not quite those of the commit)" if commit["dirty"] else ""
    rows = [
        ("commit", f"{commit['revision'] or 'unknown'} {commit['subject'] or ''}{dirty}"),
        ("measured", f"{sweep['started']} to {sweep['ended']}"),
        ("runs", runs),
        ("emulator", machine["qemu"]),
        ("host", f"{machine['cpus']} CPUs, {machine['processor']}, {machine['system']}"),
        ("load average", f"{min(loads):g} to {max(loads):g} when a run began"),
    ]
    page.add(f"<h3>{escaped(name)}</h3>")
    page.table((), rows, "left")
    page.add(f"<pre>{escaped(sweep['command'])}</pre>")


def add_section(page: Page, title: str, points: Sequence[Point], repeat: str) -> None:
    """The plots and the table of one kind of work."""
    page.add(f"<h2>{escaped(title)}</h2>")
    series = series_of(points)
    bars = f"Medians of {repeat}; the bars go from the least to the most."
    page.picture(plots.iops(series), f"I/O per second by depth: {title}", bars)
    page.picture(plots.latency(series), f"Latency by depth: {title}", bars)
    if series[0].points and any(point.bins for point in series[0].points):
        caption = "All runs of a point together. Each step to the right leaves a tenth of the I/Os: the tail."
        page.picture(plots.distribution(series[0]), f"Latency distribution: {title}", caption)
    if any("notifications_per_io" in point.summaries for point in points):
        caption = "Dotted: one for all requests in flight. What is above it leaves the guest more often than it must."
        page.picture(plots.per_io(series), f"Costs per I/O: {title}", caption)
    if any("floor_ratio" in point.summaries for point in points):
        page.picture(plots.floor_ratio(series), f"Ratio to the floor: {title}", bars)
    for dimension in ("queues", "harts"):
        if len({point.conditions[dimension] for point in points}) > 1:
            first = {name: points[0].conditions[name] for name in OF_A_LINE if name != dimension}
            fitting = [point for point in points if all(point.conditions[name] == first[name] for name in first)]
            others = [name for name in first if len({point.conditions[name] for point in points}) > 1]
            plot = plots.scaling(fitting, dimension, in_short(first, others))
            page.picture(plot, f"Scaling with {dimension}: {title}", bars)
    there = [name for name in FIGURES if any(name in point.summaries for point in points)]
    header = ["point", "runs", "spread of IOPS"]
    for name in there:
        unit = FIGURES[name].unit
        header.append(FIGURES[name].title + (f", {unit}" if unit and unit != "I/O per second" else ""))
    rows = []
    varying = [name for name in ("depth", *OF_A_LINE) if len({point.conditions[name] for point in points}) > 1]
    for point in points:
        said = point.summaries
        words = figures.in_words({name: point.conditions[name] for name in varying or ["depth"]})
        medians = [FIGURES[name].show(said[name].median if name in said else None) for name in there]
        rows.append([words, said["iops"].runs, figures.percent(said["iops"].spread), *medians])
    page.table(header, rows)
    commands = "\n".join(dict.fromkeys(point.command for point in points))
    page.add(f"<details><summary>The command of each point</summary><pre>{escaped(commands)}</pre></details>")


def add_runs(page: Page, sweep: Mapping[str, Any], name: str) -> None:
    """Every single run."""
    header = ["point", "began", "load", "IOPS", "p50, µs", "p99, µs", "notifications per I/O", "interrupts per I/O"]
    shown = ("iops", "p50_ns", "p99_ns", "notifications_per_io", "interrupts_per_io")
    rows = []
    for run in sweep["runs"]:
        words = figures.in_words(sweep["points"][run["point"]]["conditions"])
        cells = [FIGURES[figure].show(run["figures"][figure]) if run["figures"] else "failed" for figure in shown]
        rows.append([words, run["started"], run["load"][0], *cells])
    page.add(f"<details><summary>Every run of {escaped(name)}</summary>")
    page.table(header, rows)
    page.add("</details>")


def report(sweeps: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """The page."""
    page = Page()
    points = [point for sweep, name in zip(sweeps, names) for point in points_of(sweep, name)]
    title = "inflight: " + ", ".join(names)
    page.add(f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title>')
    page.add('<meta name="viewport" content="width=device-width, initial-scale=1">')
    page.add(f"<style>{STYLE}</style></head><body><h1>inflight: what was measured</h1>")
    for sweep, name in zip(sweeps, names):
        add_sweep(page, sweep, name)
    repeats = sorted({sweep["repeat"] for sweep in sweeps})
    repeat = f"{' or '.join(map(str, repeats))} run{'s' * (repeats != [1])}"
    for section, of_section in sections_of(points):
        add_section(page, section, of_section, repeat)
    page.add("<h2>Noise</h2>")
    for sweep, name in zip(sweeps, names):
        caption = f"{name}. A slope or a step means that the host changed; spread is (most - least) / median."
        page.picture(plots.noise(sweep), f"Noise: {name}", caption)
        add_runs(page, sweep, name)
    page.add("</body></html>\n")
    return "\n".join(page.parts)


def linux_rows(path: Path, rw: str, bs: str) -> list[dict[str, Any]]:
    """What bench/compare-linux --json wrote of its jobs with this pattern and block size: IOPS of both, by depth."""
    try:
        compared = json.loads(path.read_text(encoding="utf-8"))
        of_all = compared["ours"][0].get("global options", {})
        given = {job["jobname"]: of_all | job["job options"] for job in compared["ours"][0]["jobs"]}
        rows = []
        for row in compared["rows"]:
            options = given.get(row["job"], {})
            if row["measure"] == "IOPS" and (options.get("rw"), options.get("bs")) == (rw, bs):
                medians = {f"{name}_iops": statistics.median(row[name]) for name in ("ours", "linux")}
                rows.append({"depth": int(options.get("iodepth", 1))} | medians)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Refusal(f"--linux: {path} is no comparison with Linux: {error!r}") from error
    if not rows:
        raise Refusal(f"--linux: {path} has no job with rw={rw} and bs={bs}, which the sweep begins with")
    return sorted(rows, key=lambda row: int(row["depth"]))


def readme_plot(sweep: Mapping[str, Any], linux: Sequence[Mapping[str, Any]]) -> str:
    """The plot for README.md."""
    points = points_of(sweep, name_of(sweep))
    first = {name: value for name, value in points[0].conditions.items() if name != "depth"}
    fitting = [point for point in points if all(point.conditions[name] == first[name] for name in first)]
    (ours,) = series_of(fitting)
    medians = {point.conditions["depth"]: point.summaries["iops"].median for point in fitting}
    for row in linux:
        here = medians.get(row["depth"])
        if here and row.get("ours_iops") and abs(row["ours_iops"] / here - 1) > DISAGREEMENT:
            off = figures.percent(abs(row["ours_iops"] / here - 1))
            theirs = f"the comparison with Linux measured {row['ours_iops']:,.0f} IOPS of ours, the sweep {here:,.0f}"
            print(f"report: depth {row['depth']}: {theirs}: {off} apart; are they of one machine?", file=sys.stderr)
    what = figures.in_words({name: first[name] for name in ("rw", "bs", "disk")})
    row_of = in_short(first, ("queues", "harts", "transport"))
    emulator = sweep["machine"]["qemu"].removeprefix("QEMU emulator version ").split(" ")[0]
    subtitle = f"{row_of}, QEMU {emulator}; medians of {sweep['repeat']} runs, bars from least to most"
    return plots.readme(ours, {row["depth"]: row["linux_iops"] for row in linux}, f"I/O per second: {what}", subtitle)


def write(path: Path, text: str) -> None:
    """The file whole or not at all, in a directory that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="bench/report",
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sweeps", type=Path, nargs="*", metavar="SWEEP", help="what bench/sweep wrote (build/bench/sweep.json)")
    add("--output", type=Path, metavar="FILE", help="the page (build/bench/report.html)")
    add("--plot", type=Path, metavar="FILE", help="write the plot for README.md (and no page without --output)")
    add("--linux", type=Path, metavar="FILE", help="what bench/compare-linux --json wrote, for --plot")
    given = parser.parse_args(arguments)
    try:
        if given.linux is not None and given.plot is None:
            raise Refusal("--linux: the comparison is for the plot; name a file with --plot")
        paths = given.sweeps or [DEFAULT_SWEEP]
        sweeps = [figures.read_sweep(path) for path in paths]
        for path, sweep in zip(paths, sweeps):
            if not points_of(sweep, ""):
                raise Refusal(f"{path}: no run of it succeeded")
        names = [name_of(sweep) for sweep in sweeps]
        if len(set(names)) < len(names):
            names = [f"{name} ({path.name})" for name, path in zip(names, paths)]
        if len(set(names)) < len(names):
            raise Refusal("two of the sweeps have the same commit and the same name of file")
        if given.plot is not None:
            first = sweeps[0]["points"][0]["conditions"]
            linux = [] if given.linux is None else linux_rows(given.linux, first["rw"], first["bs"])
            picture = readme_plot(sweeps[0], linux)
            if len(picture.encode()) >= LARGEST_PLOT:
                raise Refusal(f"--plot: {len(picture.encode())} bytes are too many for a README; measure fewer depths")
            write(given.plot, picture)
            print(f"report: {given.plot}")
        if given.output is not None or given.plot is None:
            output = given.output or DEFAULT_OUTPUT
            write(output, report(sweeps, names))
            print(f"report: {output}")
    except (Refusal, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
