"""Tests of bench/sweep, bench/report, bench/history and the gates of `bench`: a fake ./run, fixed data, a few seconds."""

import contextlib
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FAKE = HERE / "fake_run.py"
sys.path[:0] = [str(ROOT / "bench" / "host"), str(ROOT / "bench")]

import figures  # noqa: E402 (the path is set above)
import gates  # noqa: E402
import history  # noqa: E402

POINT = {"rw": "randread", "bs": "4k", "depth": 32, "queues": 1, "harts": 1, "transport": "mmio", "disk": "null:1G",
         "append": "", "more": "", "icount": False, "runtime": 2}  # fmt: skip
OLD, NEW = "a" * 40, "b" * 40


def sweep_of(revision: str, points: dict[int, dict[str, list[Any]]], **different: Any) -> dict[str, Any]:
    """A sweep with points of these depths; of each figure the value in every run."""
    listed = [{"conditions": POINT | {"depth": depth}, "command": f"./run bench --iodepth={depth}"} for depth in points]
    runs = []
    for index, columns in enumerate(points.values()):
        for number in range(len(next(iter(columns.values())))):
            row = {name: None for name in figures.FIGURES} | {name: values[number] for name, values in columns.items()}
            run = {"point": index, "repetition": number, "started": "2026-01-01T00:00:00+00:00", "load": [0.5, 0.4, 0.3]}
            run |= {"seconds": 3.0, "status": 0, "error": None, "figures": row, "bins": {}, "inflight": {}}
            runs.append(run)
    whole = {
        "format": "inflight sweep 1",
        "command": "bench/sweep",
        "commit": {"revision": revision, "describe": revision[:7], "date": "", "subject": "a subject", "dirty": False},
        "machine": {"qemu": "QEMU emulator version 7.2.0", "cpus": 2, "processor": "a processor", "system": "Linux"},
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:05:00+00:00",
        "complete": True,
        "repeat": 5,
        "points": listed,
        "runs": runs,
    }
    return whole | different


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def comes_true(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Waits for the condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class DirectoryTest(unittest.TestCase):
    """A directory of its own for each test."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="inflight-bench-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def file(self, name: str, contents: Any) -> Path:
        """A file of JSON."""
        path = self.directory / name
        path.write_text(json.dumps(contents), encoding="utf-8")
        return path


class FiguresTest(unittest.TestCase):
    """What is made of the runs."""

    def test_percentiles_are_those_that_fio_printed_beside_its_bins(self) -> None:
        clat = json.loads((HERE / "fio_latencies.json").read_text(encoding="utf-8"))["clat_ns"]
        bins = figures.merge_bins([clat["bins"]])
        self.assertEqual(len(clat["percentile"]), 17)
        for percent, value in clat["percentile"].items():
            self.assertEqual(figures.percentile(bins, float(percent)), value, percent)

    def test_percentiles_at_the_edges(self) -> None:
        bins = {10: 1, 20: 98, 30: 1}
        expected = {0: 10, 1: 10, 1.001: 20, 50: 20, 99: 20, 99.001: 30, 100: 30}
        self.assertEqual({percent: figures.percentile(bins, percent) for percent in expected}, expected)
        self.assertIsNone(figures.percentile({}, 50))

    def test_bins_of_several_runs_are_added_and_in_order(self) -> None:
        merged = figures.merge_bins([{"100": 1, "9": 2}, {"9": 5, "10": 1}])
        self.assertEqual(list(merged.items()), [(9, 7), (10, 1), (100, 1)])

    def test_median_and_spread(self) -> None:
        odd = figures.summary([110, 90, 100, 250, 95])
        self.assertEqual((odd.runs, odd.median, odd.least, odd.most), (5, 100, 90, 250))
        self.assertAlmostEqual(odd.spread, 1.6)
        even = figures.summary([4, 1, 3, 2])
        self.assertEqual(even.median, 2.5)
        self.assertAlmostEqual(even.spread, 1.2)
        self.assertEqual(figures.summary([0, 0]).spread, 0)
        self.assertEqual(figures.summary([0, 0, 1]).spread, float("inf"))

    def test_jobs_and_directions_are_one(self) -> None:
        def part(ios: int, iops: float, bins: dict[str, int]) -> dict[str, Any]:
            mean = sum(int(value) * count for value, count in bins.items()) / max(1, sum(bins.values()))
            return {"total_ios": ios, "iops": iops, "bw_bytes": ios * 10, "clat_ns": {"mean": mean, "bins": bins}}

        first = {"jobname": "a", "error": 0, "read": part(3, 30.5, {"10": 3}), "write": part(1, 10, {"50": 1})}
        second = {"jobname": "b", "error": 0, "read": part(6, 60, {"10": 2, "40": 4}), "write": part(0, 0, {})}
        output = {
            "jobs": [job | {"trim": part(0, 0, {})} for job in (first, second)],
            "inflight": {"groups": [{"interrupts_per_io": 0.5, "floor_iops": None}], "boot_to_first_read_ns": 7},
        }
        found = figures.figures_of(output)
        self.assertEqual((found["iops"], found["bandwidth"], found["mean_ns"]), (100.5, 100, 26))
        self.assertEqual((found["p50_ns"], found["p99_ns"]), (10, 50))
        self.assertEqual((found["interrupts_per_io"], found["floor_iops"]), (0.5, None))
        self.assertEqual(found["boot_to_first_read_ns"], 7)
        second["error"] = 5
        output["jobs"][1]["error"] = 5  # type: ignore[index]
        with self.assertRaisesRegex(ValueError, "'b' ended with error 5"):
            figures.figures_of(output)


class SweepTest(DirectoryTest):
    """bench/sweep with a fake ./run."""

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """bench/sweep; its QEMU is one that says a version."""
        words = [str(ROOT / "bench" / "sweep"), "--run", str(FAKE), "--qemu", "true", *arguments]
        return subprocess.Popen(
            [*words, "--output", str(self.directory / "out" / "sweep.json")],
            env=os.environ | dict.fromkeys(("INFLIGHT_FAKE_DIRECTORY", "TMPDIR"), str(self.directory)) | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def sweep(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """As start, to its end."""
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def result(self) -> dict[str, Any]:
        """What it wrote."""
        return json.loads((self.directory / "out" / "sweep.json").read_text(encoding="utf-8"))

    def commands(self) -> list[str]:
        """What it ran."""
        return (self.directory / "commands").read_text(encoding="utf-8").splitlines()

    def test_goes_round_and_round_and_keeps_every_run(self) -> None:
        percents = "0 0 0 0 30 30 30 30 10 10 10 10"
        arguments = ["--depth", "1,8", "--queues", "1,2", "--bs", "4K", "--repeat", "3", "--append", "poll=off"]
        ended = self.sweep(*arguments, INFLIGHT_FAKE_PERCENT=percents)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        found = [
            tuple(re.search(rf"--{name}[ =](\d+)", line)[1] for name in ("iodepth", "queues"))  # type: ignore[index]
            for line in self.commands()
        ]
        self.assertEqual(found, [("1", "1"), ("8", "1"), ("1", "2"), ("8", "2")] * 3)
        self.assertEqual(["--no-build" in line for line in self.commands()], [False] + [True] * 11)
        whole = self.result()
        self.assertTrue(whole["complete"])
        self.assertEqual([run["point"] for run in whole["runs"]], [0, 1, 2, 3] * 3)
        self.assertEqual([run["repetition"] for run in whole["runs"]], [0] * 4 + [1] * 4 + [2] * 4)
        for run in whole["runs"]:
            self.assertEqual((run["error"], len(run["load"]), run["status"]), (None, 3, 0))
        iops = whole["points"][1]["summary"]["iops"]
        self.assertEqual((iops["median"], iops["least"], iops["most"]), (8800, 8000, 10400))
        self.assertAlmostEqual(iops["spread"], 2400 / 8800)
        self.assertEqual(whole["points"][1]["summary"]["p50_ns"]["median"], 80000)
        self.assertEqual(whole["points"][1]["summary"]["p99_ns"]["median"], 160000)
        self.assertEqual(whole["points"][1]["summary"]["notifications_per_io"]["median"], 0.125)
        self.assertEqual(whole["machine"]["cpus"], os.cpu_count())
        head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
        self.assertEqual(whole["commit"]["revision"] or "", head.strip())
        self.assertEqual(whole["points"][3]["conditions"]["append"], "poll=off")
        self.assertIn("8,800", ended.stdout)

    def test_each_hart_has_a_job(self) -> None:
        ended = self.sweep("--depth", "4", "--queues", "1", "--harts", "2", "--bs", "4k", "--repeat", "1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("--numjobs=2 --group_reporting", self.commands()[0])

    def test_an_interrupted_sweep_keeps_its_runs(self) -> None:
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(signal=number):
                for left in ("commands", "out/sweep.json"):
                    (self.directory / left).unlink(missing_ok=True)
                process = self.start("--depth", "1,8", "--queues", "1", "--bs", "4k", INFLIGHT_FAKE_HANG="3")
                try:
                    commands = self.directory / "commands"
                    self.assertTrue(comes_true(lambda: commands.exists() and len(self.commands()) == 4))
                    process.send_signal(number)
                    _, err = process.communicate(timeout=20)
                finally:
                    process.kill()
                self.assertEqual(process.returncode, status, err)
                whole = self.result()
                self.assertEqual([run["point"] for run in whole["runs"]], [0, 1, 0])
                self.assertFalse(whole["complete"])
                self.assertEqual(whole["points"][0]["summary"]["iops"]["runs"], 2)
                hung = int((self.directory / "pid").read_text(encoding="utf-8"))
                self.assertTrue(comes_true(lambda: not is_running(hung)))
                if number != signal.SIGKILL:
                    self.assertIn("interrupted after 3 runs of 10", err)

    def test_a_failed_run_is_told_and_does_not_count(self) -> None:
        ended = self.sweep("--depth", "1,8", "--queues", "1", "--bs", "4k", "--repeat", "2", INFLIGHT_FAKE_FAIL="2")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("failed (exit status 1)", ended.stderr)
        self.assertIn("all is lost", ended.stderr)
        whole = self.result()
        self.assertEqual([run["error"] for run in whole["runs"]], [None, None, "exit status 1", None])
        self.assertEqual([point["summary"]["iops"]["runs"] for point in whole["points"]], [1, 2])

    def test_gives_up_if_the_first_run_fails(self) -> None:
        ended = self.sweep("--depth", "1,8", INFLIGHT_FAKE_FAIL="0 1 2")
        self.assertEqual((ended.returncode, len(self.commands())), (1, 1))
        self.assertFalse((self.directory / "out" / "sweep.json").exists())

    def test_a_dry_run_lists_and_does_nothing(self) -> None:
        ended = self.sweep("--dry-run")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        *lines, last = ended.stdout.splitlines()
        self.assertEqual((len(lines), len(set(lines))), (16, 16))
        self.assertTrue(all(line.startswith("./run bench --rw=randread --bs=") for line in lines))
        self.assertIn("80 runs", last)
        self.assertFalse((self.directory / "commands").exists())

    def test_refuses_in_one_line(self) -> None:
        for arguments, words in (
            (["--depth", "1,1"], "--depth: '1,1'"),
            (["--depth", "0"], "--depth: '0'"),
            (["--bs", "4x"], "--bs: '4x'"),
            (["--rw", "rand"], "--rw: 'rand'"),
            (["--transport", "isa"], "--transport: 'isa'"),
            (["--repeat", "0"], "--repeat: '0'"),
        ):
            with self.subTest(arguments=arguments):
                ended = self.sweep(*arguments)
                self.assertEqual((ended.returncode, ended.stderr.count("\n")), (2, 1))
                self.assertIn(words, ended.stderr)


class HistoryTest(DirectoryTest):
    """bench/history on sweeps whose verdicts were thought out by hand."""

    def history(self, *arguments: str) -> tuple[int, str]:
        """Its exit status, and what it said."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = history.main(["--history", str(self.directory / "history.jsonl"), *arguments])
        return status, said.getvalue()

    def compare(
        self, old: dict[str, list[Any]], new: dict[str, list[Any]], *more: str, **different: Any
    ) -> tuple[int, str]:
        """The verdict on one point."""
        (self.directory / "history.jsonl").unlink(missing_ok=True)
        files = [self.file("old", sweep_of(OLD, {32: old})), self.file("new", sweep_of(NEW, {32: new}, **different))]
        self.assertEqual(self.history("add", *map(str, files))[0], 0)
        return self.history("compare", "aaaa", "bbbb", *more)

    def test_a_line_for_each_point(self) -> None:
        sweep = sweep_of(OLD, {1: {"iops": [10, 30, 20]}, 8: {"iops": [50, 50, 60], "interrupts_per_io": [0.25] * 3}})
        self.assertEqual(self.history("add", str(self.file("sweep", sweep)))[0], 0)
        lines = (self.directory / "history.jsonl").read_text(encoding="utf-8").splitlines()
        first, second = map(json.loads, lines)
        self.assertEqual((first["commit"], first["point"]["depth"], first["runs"]), (OLD, 1, 3))
        self.assertEqual((first["median"], first["spread"], first["exact"]), ({"iops": 20}, {"iops": 1.0}, {}))
        self.assertEqual((second["median"]["iops"], second["exact"]), (50, {"interrupts_per_io": 0.25}))
        self.assertAlmostEqual(second["spread"]["iops"], 0.2)
        status, said = self.history("add", str(self.directory / "sweep"))
        self.assertEqual(status, 2)
        self.assertIn("already", said)
        self.assertIn("aaaaaaaaaaaa", self.history("list")[1])

    def test_worse_and_better_beyond_the_noise(self) -> None:
        before = {"iops": [1000, 1010, 990, 1005, 995], "p99_ns": [500, 505, 500, 510, 500]}
        slower = {"iops": [900, 910, 890, 905, 895], "p99_ns": [500, 505, 500, 510, 500]}
        status, said = self.compare(before, slower)
        self.assertEqual(status, 1)
        self.assertIn("IOPS: worse: 1,000 -> 900 I/O per second, -10.0 %", said)
        self.assertIn("0 better, 1 worse, 1 same, 0 not compared", said)
        status, said = self.compare(slower, before)
        self.assertEqual(status, 0)
        self.assertIn("IOPS: better: 900 -> 1,000 I/O per second, +11.1 %", said)
        status, said = self.compare({"p99_ns": [100, 101, 102, 103, 104]}, {"p99_ns": [120, 121, 122, 123, 124]})
        self.assertEqual(status, 1)  # of latencies, less is better
        self.assertIn("p99: worse", said)

    def test_what_lies_within_the_noise_is_the_same(self) -> None:
        # The ranges touch.
        self.assertEqual(self.compare({"iops": [100, 101, 102, 103, 104]}, {"iops": [104, 105, 106, 107, 108]})[0], 0)
        # They overlap by one, and the medians (100 and 118) are farther apart than a range (10) is wide.
        self.assertEqual(self.compare({"iops": [118, 109, 118, 118, 119]}, {"iops": [100, 100, 110, 100, 105]})[0], 0)
        # They do not touch, but the medians (104 and 106) are nearer than a range (5) is wide.
        status, said = self.compare({"iops": [100, 101, 104, 104, 105]}, {"iops": [106, 106, 106, 110, 111]}, "--all")
        self.assertEqual(status, 0)
        self.assertIn("IOPS: same", said)
        self.assertIn("within the noise", said)

    def test_refuses_what_is_too_noisy(self) -> None:
        noisy = [100, 138, 100, 101, 101]  # 38 around 101
        status, said = self.compare({"iops": noisy}, {"iops": [50, 50, 50, 50, 51]})
        self.assertEqual(status, 2)
        self.assertIn("depth 32", said)
        self.assertIn("IOPS: spread 37.6 % is more than 15 %: not compared", said)
        self.assertIn("0 better, 0 worse, 0 same, 1 not compared", said)
        # The bound itself is none too many.
        self.assertEqual(self.compare({"iops": [100, 100, 100, 100, 115]}, {"iops": [50] * 5})[0], 1)
        self.assertEqual(self.compare({"iops": [100, 100, 100, 100, 116]}, {"iops": [50] * 5})[0], 2)
        # In the other order, too; and with another bound it is compared.
        self.assertEqual(self.compare({"iops": [50, 50, 50, 50, 51]}, {"iops": noisy})[0], 2)
        self.assertEqual(self.compare({"iops": noisy}, {"iops": [50, 50, 50, 50, 51]}, "--noise", "40%")[0], 1)

    def test_refuses_too_few_runs_and_times_of_another_machine(self) -> None:
        status, said = self.compare({"iops": [100] * 4}, {"iops": [50] * 4})
        self.assertEqual(status, 2)
        self.assertIn("4 runs, and 5 are needed: not compared", said)
        other = {"qemu": "QEMU emulator version 9.0.0", "cpus": 2, "processor": "a processor", "system": "Linux"}
        counts = {"iops": [100] * 5, "interrupts_per_io": [0.5] * 5}
        status, said = self.compare(counts, counts | {"iops": [50] * 5}, machine=other)
        self.assertEqual(status, 0)
        self.assertIn("IOPS: measured on different machines or QEMUs: not compared", said)
        self.assertIn("1 same, 1 not compared", said)

    def test_counts_that_never_vary_are_exact(self) -> None:
        name = "guest_instructions_per_io"
        status, said = self.compare({name: [231.36] * 2}, {name: [231.37] * 2})
        self.assertEqual(status, 1)
        self.assertIn("guest instructions per I/O: worse: 231.36 -> 231.37, +0.0 % (exact)", said)
        self.assertEqual(self.compare({"interrupts_per_io": [0.5] * 3}, {"interrupts_per_io": [0.25] * 3})[0], 0)
        self.assertEqual(self.compare({"interrupts_per_io": [0.0] * 3}, {"interrupts_per_io": [0.1] * 3})[0], 1)
        # One that did vary is judged like a time.
        status, said = self.compare({"interrupts_per_io": [0.5] * 4 + [0.501]}, {"interrupts_per_io": [0.501] * 5})
        self.assertEqual((status, "1 same" in said), (0, True))
        # A single run proves nothing.
        self.assertEqual(self.compare({"interrupts_per_io": [0.5]}, {"interrupts_per_io": [0.6]})[0], 2)

    def test_the_last_sweep_of_a_commit_counts_and_dirty_ones_are_others(self) -> None:
        values = {"iops": [100, 101, 102, 100, 101]}
        dirty = sweep_of(OLD, {32: {"iops": [10, 11, 10, 11, 10]}}, started="3")
        dirty["commit"]["dirty"] = True
        sweeps = [
            sweep_of(OLD, {32: {"iops": [50] * 5}}, started="1"),
            sweep_of(OLD, {32: values}, started="2"),
            sweep_of(NEW, {32: values}),
            dirty,
        ]
        files = [str(self.file(f"sweep{number}", sweep)) for number, sweep in enumerate(sweeps)]
        self.assertEqual(self.history("add", *files)[0], 0)
        self.assertEqual(self.history("compare", "aaaaaaa", "bbbbbbb")[0], 0)
        self.assertEqual(self.history("compare", "aaaaaaa", "aaaaaaa-dirty", "--noise", "15")[0], 1)
        status, said = self.history("compare", "aaaaaaa", "cccc")
        self.assertEqual(status, 2)
        self.assertIn("nothing was measured of 'cccc'; there are aaaaaaaaaaaa, bbbbbbbbbbbb, aaaaaaaaaaaa-dirty", said)

    def test_refuses_a_broken_history_and_points_that_differ(self) -> None:
        status, said = self.history("compare", "aaaa", "bbbb")
        self.assertEqual((status, "begins one" in said), (2, True))
        sweeps = [sweep_of(OLD, {32: {"iops": [1] * 5}}), sweep_of(NEW, {8: {"iops": [1] * 5}})]
        self.history("add", *(str(self.file(f"sweep{number}", sweep)) for number, sweep in enumerate(sweeps)))
        status, said = self.history("compare", "aaaa", "bbbb")
        self.assertEqual((status, "no point in common" in said), (2, True))
        with (self.directory / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"commit": "x"}\n')
        status, said = self.history("list")
        self.assertEqual(status, 2)
        self.assertIn("line 3", said)
        self.assertEqual(self.history("add", str(self.directory / "sweep0"))[0], 2)
        (self.directory / "history.jsonl").unlink()
        status, said = self.history("add", str(self.file("other", {"format": "x"})))
        self.assertEqual((status, "is not what bench/sweep writes" in said), (2, True))


class Page(HTMLParser):
    """Checks that every element is closed by its own end, and collects what a page is made of."""

    VOID = {"meta", "br", "path", "use", "rect"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def matplotlib_is_there() -> bool:
    """In one of the Pythons that bench/report tries."""
    for python in ("python3", "/usr/bin/python3"):
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([python, "-c", "import matplotlib"], capture_output=True).returncode == 0:
                return True
    return False


@unittest.skipUnless(matplotlib_is_there(), "python3-matplotlib is not installed")
class ReportTest(DirectoryTest):
    """bench/report on fixed sweeps."""

    def sweep(self, revision: str = OLD, **different: Any) -> dict[str, Any]:
        """Two depths, with everything that can be drawn."""
        columns = {
            depth: {
                "iops": [depth * 1000.0, depth * 1010.0, depth * 990.0],
                "p50_ns": [depth * 10000] * 3,
                "p99_ns": [depth * 20000, depth * 21000, depth * 22000],
                "floor_iops": [depth * 1100.0] * 3,
                "floor_ratio": [0.91, 0.92, 0.9],
                "notifications_per_io": [1 / depth] * 3,
                "interrupts_per_io": [0.0, 0.0, 0.001],
                "guest_instructions_per_io": [231.36] * 3,
            }
            for depth in (1, 32)
        }
        whole = sweep_of(revision, columns, **different)
        for run in whole["runs"]:
            run["bins"] = {"10000": 900, "20000": 90, "90000": 10}
        return whole

    def report(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """bench/report."""
        words = [str(ROOT / "bench" / "report"), *arguments]
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def check_names(self, page: Page) -> None:
        """Names are unique, and references lead to names in the page and nowhere else."""
        names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        self.assertEqual(len(names), len(set(names)))
        for tag, attributes in page.elements:
            self.assertNotIn(tag, ("script", "link", "img", "iframe", "object", "image"))
            self.assertFalse({"src", "xlink:href", "srcset", "data"} & set(attributes), tag)
            targets = re.findall(r"url\(([^)]*)\)", " ".join(filter(None, attributes.values())))
            targets += [attributes["href"]] if "href" in attributes else []
            for target in targets:
                self.assertIn(target, [f"#{name}" for name in names])

    def test_a_page_that_needs_nothing_else(self) -> None:
        sweep = self.sweep()
        sweep["commit"]["subject"] = "<script>alert(1)</script> & more"
        output = self.directory / "page.html"
        ended = self.report(str(self.file("sweep.json", sweep)), "--output", str(output))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        text = output.read_text(encoding="utf-8")
        self.assertNotRegex(text, r"https?:|@import|xmlns")
        page = Page(text)
        self.assertEqual(page.open, [])
        self.check_names(page)
        pictures = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
        plots = ("I/O per second", "Latency by", "Latency distribution", "Costs per I/O", "Ratio to the floor", "Noise")
        for what in plots:
            self.assertEqual(sum(label.startswith(what) for label in pictures if label), 1, what)
        said = "\n".join(page.text)
        # The median of 32000, 32320 and 31680; its spread; p99 in microseconds; the subject as it is.
        for words in ("32,000", "2 %", "672.0", "231.36", "0.0312", "<script>alert(1)</script> & more"):
            self.assertIn(words, said)
        for words in ("./run bench --iodepth=32", "QEMU emulator version 7.2.0", "2 CPUs, a processor", OLD, "99.9 %"):
            self.assertIn(words, said)
        self.assertIn("prefers-color-scheme:dark", text)

    def test_two_sweeps_share_their_plots(self) -> None:
        files = [str(self.file(f"{name[0]}.json", self.sweep(name))) for name in (OLD, NEW)]
        output = self.directory / "page.html"
        self.assertEqual(self.report(*files, "--output", str(output)).returncode, 0)
        page = Page(output.read_text(encoding="utf-8"))
        self.check_names(page)
        # Each commit names a line of the plots, and rows of the table.
        for name in (OLD[:7], NEW[:7]):
            self.assertGreater(page.text.count(name), 3)
        labels = [attributes.get("aria-label") or "" for _, attributes in page.elements]
        self.assertEqual(sum(label.startswith("I/O per second") for label in labels), 1)

    def test_scaling_is_drawn_where_there_is_some(self) -> None:
        sweep = self.sweep()
        sweep["points"][1]["conditions"] = sweep["points"][0]["conditions"] | {"queues": 2}
        output = self.directory / "page.html"
        self.assertEqual(self.report(str(self.file("sweep.json", sweep)), "--output", str(output)).returncode, 0)
        text = output.read_text(encoding="utf-8")
        self.assertIn("Scaling with queues", text)
        self.assertNotIn("Scaling with harts", text)

    def test_a_failed_run_does_not_hinder(self) -> None:
        sweep = self.sweep(complete=False)
        sweep["runs"][1] |= {"figures": None, "bins": None, "error": "exit status 1"}
        output = self.directory / "page.html"
        ended = self.report(str(self.file("sweep.json", sweep)), "--output", str(output))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn("1 failed and do not count; the sweep was interrupted", output.read_text(encoding="utf-8"))

    def comparison(self, bs: str) -> dict[str, Any]:
        """What bench/compare-linux writes, as far as it matters."""
        jobs = [{"jobname": f"deep-{depth}", "job options": {"iodepth": str(depth)}} for depth in (1, 32)]
        figures = (("IOPS", [900, 1000, 1100], [400, 500, 900]), ("p50 us", [1], [2]))
        rows = [
            {"job": "deep-1", "measure": measure, "ours": ours, "linux": linux} for measure, ours, linux in figures
        ] + [{"job": "deep-32", "measure": "IOPS", "ours": [64000], "linux": [500]}]
        return {"rows": rows, "ours": [{"global options": {"rw": "randread", "bs": bs}, "jobs": jobs}]}

    def test_the_plot_for_the_readme(self) -> None:
        linux = self.file("compare.json", self.comparison("4k"))
        picture = self.directory / "plot.svg"
        sweep = str(self.file("sweep.json", self.sweep()))
        ended = self.report(sweep, "--plot", str(picture), "--linux", str(linux))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        told = "depth 32: the comparison with Linux measured 64,000 IOPS of ours, the sweep 32,000: 100 % apart"
        self.assertIn(told, ended.stderr)
        self.assertEqual(ended.stderr.count("\n"), 1)
        text = picture.read_text(encoding="utf-8")
        self.assertLess(len(text.encode()), 60 << 10)
        root = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        self.assertEqual(re.findall(r"https?:[^\"]*", text), ["http://www.w3.org/2000/svg"])
        words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
        self.assertLessEqual({"inflight", "floor", "Linux", "1", "32", "I/O per second: randread 4k on null:1G"}, words)
        self.assertIn("prefers-color-scheme:dark", text)
        self.assertEqual(self.report(sweep, "--plot", str(picture)).returncode, 0)
        self.assertNotIn("Linux", picture.read_text(encoding="utf-8"))

    def test_refuses_in_one_line(self) -> None:
        sweep = str(self.file("sweep.json", self.sweep()))
        plot = str(self.directory / "plot.svg")
        other = str(self.file("other-size", self.comparison("8k")))
        none = self.sweep()
        none["runs"] = []
        for arguments, words in (
            ([str(self.directory / "none")], "No such file"),
            ([str(self.file("other", {}))], "is not what bench/sweep writes"),
            ([str(self.file("empty", none))], "no run of it succeeded"),
            ([sweep, "--linux", other], "--plot"),
            ([sweep, "--plot", plot, "--linux", other], "has no job with rw=randread and bs=4k"),
            ([sweep, "--plot", plot, "--linux", sweep], "is no comparison with Linux"),
        ):
            with self.subTest(arguments=arguments):
                ended = self.report(*arguments)
                self.assertEqual((ended.returncode, ended.stderr.count("\n")), (2, 1), ended.stderr)
                self.assertIn(words, ended.stderr)


class GatesTest(DirectoryTest):
    """The gates of `bench`: bounds as the project states them, written down once more."""

    BOUNDS = {
        (1, "guest_instructions_per_io"): (520.0, 520.01),
        (32, "guest_instructions_per_io"): (200.0, 200.01),
        (128, "notifications_per_io"): (1 / 16, 0.0626),
        (128, "interrupts_per_io"): (1 / 16, 0.0626),
        (32, "boot_to_first_read_ns"): (650_000, 650_001),
    }

    def others(self) -> list[dict[str, Any]]:
        """Runs of the other programs that pass."""
        rows = [{"depth": depth, "ios": 32, "interrupts": 32 // depth, "notifications": 32 // depth} for depth in (1, 32)]
        iops = {"program": "iops", "read_cost_hundredths": 11_083, "read_cost_alone_hundredths": 39_733, "to_first_read_ns": 550_000,
                "allocations": 0, "rows": rows}  # fmt: skip
        steps = ("suspend_resume", "yield", "call", "inbox", "semaphore", "mutex")
        return [{"guest": iops}, {"guest": {"program": "costs"} | {f"{step}_hundredths": 100 for step in steps}}]

    def bench(self, depth: int, **different: Any) -> dict[str, Any]:
        """A run of `bench`."""
        group = {"guest_instructions_per_io": 200.0, "notifications_per_io": 1 / 32, "interrupts_per_io": 1 / 32}
        part = {"total_ios": 100}
        options = {"rw": "randread", "bs": "4k", "iodepth": str(depth)}
        job = {"jobname": "job", "error": 0, "job options": options, "read": part, "write": part, "trim": part}
        whole = {"boot_to_first_read_ns": 560_000}
        for part_of, value in different.items():
            (whole if part_of in whole else group)[part_of] = value
        return {"fio version": "fio-3.33-x", "jobs": [job], "inflight": whole | {"groups": [group]}}

    def judge(self, *bench: dict[str, Any]) -> list[gates.Verdict]:
        """The verdicts with these runs beside the others."""
        kernel = self.directory / "kernel.elf"
        header = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 1)
        kernel.write_bytes(header.ljust(64, b"\0") + struct.pack("<IIQQQQQQ", 1, 0, 0, 0, 0, 4096, 8192, 0))
        return gates.evaluate([*self.others(), *bench], kernel)

    def test_they_are_judged_with_a_run_of_bench_only(self) -> None:
        without = self.judge()
        with_bench = self.judge(self.bench(1), self.bench(32), self.bench(128))
        self.assertEqual(len(with_bench), len(without) + len(self.BOUNDS))
        self.assertTrue(all(verdict.passed for verdict in with_bench))
        self.assertFalse(any(verdict.name.startswith("bench") for verdict in without))

    def test_the_bounds(self) -> None:
        for (depth, field), (at, beyond) in self.BOUNDS.items():
            for value, failed in ((at, 0), (beyond, 1)):
                with self.subTest(field=field, value=value):
                    runs = [self.bench(each, **({field: value} if each == depth else {})) for each in (1, 32, 128)]
                    self.assertEqual(sum(not verdict.passed for verdict in self.judge(*runs)), failed)

    def test_refuses_what_does_not_fit(self) -> None:
        failed = self.bench(32)
        failed["jobs"][0]["error"] = 5
        for runs, words in (
            ([self.bench(1), self.bench(32)], "nothing measured 'bench: notifications"),
            ([self.bench(1), self.bench(32), self.bench(32), self.bench(128)], "one is enough"),
            ([self.bench(1), self.bench(32, guest_instructions_per_io=None), self.bench(128)], "nothing measured 'bench: one 4"),
            ([self.bench(1), failed, self.bench(128)], "error 5"),
        ):
            with self.subTest(words=words), self.assertRaisesRegex(ValueError, words):
                self.judge(*runs)


if __name__ == "__main__":
    unittest.main()
