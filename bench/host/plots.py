"""The pictures of a sweep, as SVG that is complete in itself and readable on a light and on a dark ground.

The colours in the SVG are those for a light ground. DARK_RULES is the style sheet that turns them into those for a dark
one; viewers that know nothing of it show the light ones.
"""

import io
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import figures
from figures import Bins, Summary

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker  # noqa: E402 (the back end is set above)
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

INK, MUTED, GRID, GROUND = "#1f2328", "#59636e", "#d1d9e0", "#fefefe"
SERIES = ["#2a78d6", "#eb6834", "#1baf7a", "#eda100", "#4a3aa7", "#e87ba4", "#008300", "#e34948"]
# For what has an order (depths): the more, the farther from the ground.
RAMP = ["#6da7ec", "#3e88e0", "#256abf", "#184f95", "#0d366b", "#061c3a"]
DARK = {
    INK: "#e6edf3", MUTED: "#9198a1", GRID: "#30363d", GROUND: "#0d1117",
    "#2a78d6": "#3987e5", "#eb6834": "#e8713f", "#1baf7a": "#25b583", "#eda100": "#d99a1c",
    "#4a3aa7": "#9085e9", "#e87ba4": "#d9658f", "#008300": "#3fa33f", "#e34948": "#e66767",
    "#6da7ec": "#2c5f9e", "#3e88e0": "#3f7fca", "#256abf": "#5f9ee6", "#184f95": "#86b6ef",
    "#0d366b": "#b3d1f6", "#061c3a": "#dcebfc",
}  # fmt: skip
DARK_RULES = "".join(
    f'svg [style*="{what}: {light}"]{{{what}:{dark}!important}}'
    for light, dark in DARK.items()
    for what in ("fill", "stroke")
)
MARKERS = "osD^vPX*"
FONT = "system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif"

pyplot.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "inflight",
        "font.size": 9,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "text.color": INK,
        "figure.facecolor": "none",
        "legend.frameon": False,
        "legend.labelcolor": INK,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
    }
)


@dataclass
class Point:
    """One point of a sweep, and what its runs said together."""

    conditions: dict[str, Any]
    summaries: dict[str, Summary]
    bins: Bins
    command: str


@dataclass
class Series:
    """Points that differ in nothing but their depth: one line of a plot."""

    label: str
    conditions: dict[str, Any]
    points: list[Point] = field(default_factory=list)

    def column(self, name: str) -> tuple[list[int], list[Summary]]:
        """Depths, and what was measured of a figure at each."""
        there = [point for point in self.points if name in point.summaries]
        return [point.conditions["depth"] for point in there], [point.summaries[name] for point in there]


def svg_of(figure: Figure, prefix: str, title: str) -> str:
    """The picture as an element that can stand in a page: nothing in it points out of it, and its names are its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    pyplot.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    # What nothing refers to needs no name.
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda name: name[0] if name[1] in used else "", text)
    # A hundredth of a point is finer than anyone sees; the text between the tags stays as it is.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0]), text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, text)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()  # type: ignore[union-attr]
    title = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}"'
    return re.sub(r"<svg[^>]*", head, text, count=1).strip()


def short(value: float, _: int = 0) -> str:
    """250k for 250000."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def time_text(nanoseconds: float, _: int = 0) -> str:
    """20 µs for 20000."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanoseconds >= size * 0.9999:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def depth_axis(axes: Axes, depths: Iterable[int], label: str = "requests in flight (iodepth)") -> None:
    """Depths grow by factors, and each that was measured is named."""
    there = sorted(set(depths))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(ticker.FixedLocator(there))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlim(there[0] / 1.3, there[-1] * 1.3)
    axes.set_xlabel(label)


def from_zero(axes: Axes) -> None:
    """With room above what is highest, also if all is equally high."""
    axes.set_ylim(0, axes.get_ylim()[1] * 1.04)


def time_axis(axes: Axes) -> None:
    """Latencies grow by factors, too: 1, 2, 5, 10 µs, or only the powers of ten if there are many."""
    least, most = axes.get_ylim()
    few = math.log10(most / least) < 2.6
    if most / least < 4:  # one tick or none would be within
        axes.set_ylim(least / 1.5, most * 1.5)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(time_text))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def line(axes: Axes, depths: Sequence[float], said: Sequence[Summary], color: str, **how: Any) -> None:
    """Medians, with a bar from the least to the most."""
    medians = [each.median for each in said]
    below = [each.median - each.least for each in said]
    above = [each.most - each.median for each in said]
    axes.errorbar(depths, medians, yerr=[below, above], color=color, elinewidth=0.9, capsize=2, **how)


def style(index: int) -> tuple[str, str]:
    """Colour and marker of a series."""
    return SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]


def ramp(index: int, count: int) -> str:
    """Colour of one of `count` that have an order."""
    if count == 1:
        return SERIES[0]
    return RAMP[min(len(RAMP) - 1, round(index * min(1.0, (count + 1) / len(RAMP)) * (len(RAMP) - 1) / (count - 1)))]


def legend(axes: Axes, more: Sequence[Line2D] = ()) -> None:
    """Beside the plot, where it hides nothing; none for a single line that needs no explanation."""
    handles, labels = axes.get_legend_handles_labels()
    handles += more
    labels += [str(each.get_label()) for each in more]
    if len(handles) > 1 or more:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1.02), borderaxespad=0)


def note(text: str, how: str = "-", marker: str = "") -> Line2D:
    """A line of the legend that stands for a kind of line."""
    return Line2D([], [], color=MUTED, linestyle=how, marker=marker, label=text)


def canvas(columns: int = 1, height: float = 3.3, **how: Any) -> tuple[Figure, Any]:
    """An empty picture, as wide as the page."""
    return pyplot.subplots(1, columns, figsize=(8.2, height), layout="constrained", **how)


def iops(series: Sequence[Series]) -> Figure:
    """I/O per second by depth; the floor beside it if that is not too much."""
    figure, axes = canvas()
    with_floor = len(series) <= 3
    floors = False
    for index, each in enumerate(series):
        color, marker = style(index)
        line(axes, *each.column("iops"), color, marker=marker, label=each.label or "inflight")
        depths, floor = each.column("floor_iops")
        if with_floor and floor:
            floors = True
            axes.plot(depths, [one.median for one in floor], color=color, linestyle=(0, (3, 2)), linewidth=1.2)
    depth_axis(axes, (point.conditions["depth"] for each in series for point in each.points))
    from_zero(axes)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(short))
    axes.set_ylabel("I/O per second")
    axes.set_title("I/O per second")
    legend(axes, [note("floor of the same boots", "--")] if floors else [])
    return figure


def latency(series: Sequence[Series]) -> Figure:
    """Median and 99th percentile by depth."""
    figure, axes = canvas()
    for index, each in enumerate(series):
        color, marker = style(index)
        line(axes, *each.column("p50_ns"), color, marker=marker, label=each.label)
        line(axes, *each.column("p99_ns"), color, marker=marker, linestyle=(0, (3, 2)), markerfacecolor="none")
    axes.set_yscale("log")
    time_axis(axes)
    depth_axis(axes, (point.conditions["depth"] for each in series for point in each.points))
    axes.set_ylabel("completion latency")
    axes.set_title("Completion latency: p50 and p99")
    legend(axes, [note("p50"), note("p99", "--")])
    return figure


def nines(bins: Bins) -> tuple[list[float], list[int]]:
    """How many of all I/Os (as -log10 of the rest: 1 is 90 %, 2 is 99 %) are done within a latency."""
    total = sum(bins.values())
    across, up = [0.0], [min(bins)]
    done = 0
    for value, count in bins.items():
        across += [across[-1]]
        up += [value]
        done += count
        # The slowest I/O is the end of what is known, and not 100 %.
        across += [-math.log10(1 - min(done, total - 1 / 2) / total)]
        up += [value]
    return across, up


def thinned(across: list[float], up: list[int], width: float) -> tuple[list[float], list[int]]:
    """Without the points that nobody would see."""
    kept = [0]
    for index in range(1, len(across)):
        last = kept[-1]
        if abs(across[index] - across[last]) > width or abs(math.log10(up[index] / up[last])) > 0.006:
            kept += [index - 1] * (kept[-1] != index - 1) + [index]
    kept += [len(across) - 1]
    return [across[index] for index in kept], [up[index] for index in kept]


def distribution(series: Series) -> Figure:
    """The latency that so many of all I/Os do not exceed, by depth: the tail is half of the picture."""
    figure, axes = canvas()
    points = [point for point in series.points if point.bins]
    end = 1.0
    for index, point in enumerate(points):
        across, up = nines(point.bins)
        end = max(end, across[-1])
        axes.plot(*thinned(across, up, 0.01), color=ramp(index, len(points)), linewidth=1.5,
            label=f"depth {point.conditions['depth']}")  # fmt: skip
    axes.set_yscale("log")
    time_axis(axes)
    ticks = {0: "0", -math.log10(0.5): "50 %", 1: "90 %", 2: "99 %", 3: "99.9 %", 4: "99.99 %", 5: "99.999 %"}
    there = {where: text for where, text in ticks.items() if where <= end}
    axes.xaxis.set_major_locator(ticker.FixedLocator(list(there)))
    axes.xaxis.set_major_formatter(ticker.FixedFormatter(list(there.values())))
    axes.set_xlim(0, min(end, 5.3))
    axes.set_xlabel("share of all I/Os that are done within")
    axes.set_ylabel("completion latency")
    axes.set_title("Latency distribution" + (f": {series.label}" if series.label else ""))
    legend(axes)
    return figure


def small_axis(axes: Axes, values: Iterable[float]) -> None:
    """Counts per I/O: they fall as the depth grows, and may be 0."""
    there = list(values)
    if all(value > 0 for value in there) and min(there) > 1e-4:
        axes.set_yscale("log")
        axes.set_ylim(min(there) / 1.6, max(there) * 1.6)
    else:
        axes.set_yscale("symlog", linthresh=1e-3, linscale=0.5)
        axes.set_ylim(-2e-4, max(1.6e-3, max(there) * 1.6))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def per_io(series: Sequence[Series]) -> Figure:
    """What an I/O costs: notifications, interrupts, and (where they were counted) guest instructions."""
    there = [
        name
        for name in ("notifications_per_io", "interrupts_per_io", "guest_instructions_per_io")
        if any(each.column(name)[1] for each in series)
    ]
    figure, row = canvas(len(there), squeeze=False)
    depths = sorted({point.conditions["depth"] for each in series for point in each.points})
    for axes, name in zip(row[0], there):
        values = []
        for index, each in enumerate(series):
            color, marker = style(index)
            at, said = each.column(name)
            line(axes, at, said, color, marker=marker, label=each.label)
            values += [one.median for one in said]
        if name == "guest_instructions_per_io":
            axes.set_ylim(0, max(values) * 1.1)
        else:
            axes.plot(depths, [1 / depth for depth in depths], color=MUTED, linestyle=":", linewidth=1.2)
            small_axis(axes, [*values, 1, 1 / depths[-1]])
        depth_axis(axes, depths, "iodepth")
        axes.set_title(figures.FIGURES[name].title.removeprefix("guest ").removesuffix(" per I/O").capitalize())
    row[0][0].set_ylabel("per I/O")
    legend(row[0][-1], [note("1 / depth", ":")])
    return figure


def floor_ratio(series: Sequence[Series]) -> Figure:
    """What of the floor is reached."""
    figure, axes = canvas()
    most = 1.0
    for index, each in enumerate(series):
        color, marker = style(index)
        depths, said = each.column("floor_ratio")
        line(axes, depths, said, color, marker=marker, label=each.label)
        most = max([most, *(one.most for one in said)])
    axes.axhline(1, color=MUTED, linestyle=":", linewidth=1.2)
    depth_axis(axes, (point.conditions["depth"] for each in series for point in each.points))
    axes.set_ylim(0, most * 1.08)
    axes.set_ylabel("IOPS / IOPS of the floor")
    axes.set_title("Ratio to the floor: a raw polled loop over the same rings")
    legend(axes)
    return figure


def scaling(points: Sequence[Point], dimension: str, where: str) -> Figure:
    """What more queues or harts bring, against the fewest of them."""
    figure, axes = canvas()
    depths = sorted({point.conditions["depth"] for point in points})
    for index, depth in enumerate(depths):
        column = sorted(
            (point for point in points if point.conditions["depth"] == depth and "iops" in point.summaries),
            key=lambda point: int(point.conditions[dimension]),
        )
        if len(column) < 2:
            continue
        base = column[0].summaries["iops"].median
        said = [point.summaries["iops"] for point in column]
        relative = [Summary(one.runs, one.median / base, one.least / base, one.most / base) for one in said]
        # A little apart, so that no bar hides another.
        aside = 1 + 0.02 * (index - (len(depths) - 1) / 2)
        line(axes, [point.conditions[dimension] * aside for point in column], relative, ramp(index, len(depths)),
            marker=MARKERS[index % len(MARKERS)], label=f"depth {depth}")  # fmt: skip
    axes.axhline(1, color=MUTED, linestyle=":", linewidth=1.2)
    depth_axis(axes, (int(point.conditions[dimension]) for point in points), dimension)
    from_zero(axes)
    least = min(int(point.conditions[dimension]) for point in points)
    axes.set_ylabel(f"IOPS, with {least} {dimension.removesuffix('s') if least == 1 else dimension} as 1")
    axes.set_title(f"Scaling with {dimension}" + (f": {where}" if where else ""))
    legend(axes)
    return figure


def noise(sweep: Mapping[str, Any]) -> Figure:
    """How far each run was from the median of its point, in the order of the runs, and how busy the host was."""
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(8.2, 3.4), layout="constrained", sharex=True, height_ratios=(2, 1)
    )
    medians = {
        index: statistics.median(good)
        for index in range(len(sweep["points"]))
        if (good := [run["figures"]["iops"] for run in figures.runs_of(sweep, index) if run["figures"]])
    }
    numbers = [number for number, run in enumerate(sweep["runs"], 1) if run["figures"]]
    off = [
        (run["figures"]["iops"] / medians[run["point"]] - 1) * 100 if medians[run["point"]] else 0.0
        for run in sweep["runs"]
        if run["figures"]
    ]
    above.plot(numbers, off, linestyle="", marker="o", markersize=3.2, color=SERIES[0])
    above.axhline(0, color=MUTED, linewidth=0.9)
    reach = max(5.0, max(map(abs, off)) * 1.1)
    above.set_ylim(-reach, reach)
    above.set_ylabel("IOPS off the\nmedian, %")
    above.set_title("Noise: every run against the median of its point")
    loads = [run["load"][0] for run in sweep["runs"]]
    below.plot(range(1, len(loads) + 1), loads, color=SERIES[1], linewidth=1.2)
    below.set_ylim(0, max(1.0, *loads) * 1.1)
    below.set_ylabel("load\naverage")
    below.set_xlabel("run, in the order of time")
    below.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    return figure


def readme(ours: Series, linux: Mapping[int, float], title: str, subtitle: str) -> str:
    """The one picture for README.md, as a file: it brings its own ground, so that it fits into any page."""
    figure, axes = pyplot.subplots(figsize=(7.4, 3.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.16, h_pad=0.16)
    ends: list[tuple[float, str, str]] = []
    depths, said = ours.column("iops")
    floor_depths, floor = ours.column("floor_iops")
    if floor:
        axes.plot(floor_depths, [each.median for each in floor], color=MUTED, linestyle=(0, (3, 2)), linewidth=1.4)
        ends.append((floor[-1].median, "floor", MUTED))
    if linux:
        axes.plot(list(linux), list(linux.values()), color=SERIES[1], marker="s")
        ends.append((list(linux.values())[-1], "Linux", SERIES[1]))
    line(axes, depths, said, SERIES[0], marker="o")
    ends.append((said[-1].median, "inflight", SERIES[0]))
    last = max([*depths, *linux])
    depth_axis(axes, [*depths, *linux])
    from_zero(axes)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(short))
    axes.set_ylabel("I/O per second")
    # Names stand at the ends of their lines, apart from each other.
    room = axes.get_ylim()[1] * 0.055
    height = -math.inf
    for value, name, color in sorted(ends):
        height = max(value, height + room)
        axes.annotate(name, (last * 1.09, height), color=color, va="center", weight="bold", annotation_clip=False)
    axes.set_xlim(right=last * 1.8)
    axes.set_title(f"{title}\n", pad=4)
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, color=MUTED, fontsize=8.5)
    picture = svg_of(figure, "p", title)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', picture)
    assert size is not None
    picture = picture.replace(
        "<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[1]}" height="{size[2]}" ', 1
    )
    ground = f'<rect width="100%" height="100%" rx="6" style="fill: {GROUND}"/>'
    rules = f"<style>@media(prefers-color-scheme:dark){{{DARK_RULES}}}</style>"
    head, _, body = picture.partition(">")
    return f"{head}>{rules}{ground}{body}\n"


PLOTS: dict[str, Callable[[Sequence[Series]], Figure]] = {
    "iops": iops,
    "latency": latency,
    "per_io": per_io,
    "floor": floor_ratio,
}
