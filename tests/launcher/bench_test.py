"""Tests of the launcher's part in `bench`: the job on its way to the guest, and the guest's result as fio's report."""

import csv
import json
import os
import random
import re
import shlex
import shutil
import statistics
import subprocess
import unittest
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from launcher_test import LauncherTest  # sets the path to the launcher's modules

import bench_result
import fio_output
import job_file

FIO = shutil.which("fio")
NO_FIO = "fio is not installed"
CLAT2CSV = shutil.which("fio_jsonplus_clat2csv")
SYSTEM_PYTHON = "/usr/bin/python3"  # for which the packages of the distribution are
NOW = 1_700_000_000.25
Raw = dict[str, Any]


def latencies(values: list[int]) -> Raw:
    """What a guest that has buckets of one tick says of these times."""
    bins = [[value, values.count(value)] for value in sorted(set(values))]
    least, most = (min(values), max(values)) if values else (0, 0)
    return {"count": len(values), "min": least, "max": most, "sum": sum(values), "bins": bins}


def samples(values: list[int], squares: str = "sum_squares", unit: int = 1) -> Raw:
    """What the guest says of means over half a second."""
    least, most = (min(values), max(values)) if values else (0, 0)
    total = sum((value // unit) ** 2 for value in values)
    return {"count": len(values), "min": least, "max": most, "sum": sum(values), squares: total}


def direction(values: list[int], runtime: int, size: int = 4096, rates: tuple[int, ...] = ()) -> Raw:
    """One direction of a job; `rates` are I/Os per second."""
    return {
        "ios": len(values),
        "bytes": len(values) * size,
        "runtime": runtime if values else 0,
        "clat": latencies(values),
        "bw_samples": samples([rate * size for rate in rates], "sum_squares_kib", 1024),
        "iops_samples": samples(list(rates)),
    }


def job(name: str, **different: Any) -> Raw:
    """A job of ten milliseconds that does nothing, but for what is different."""
    nothing = direction([], 0)
    return {
        "name": name, "clone": 0, "group": 0, "hart": 0, "disks": ["vda"], "rw": "randread", "bs": [4096, 4096, 4096],
        "iodepth": 4, "group_reporting": False, "error": 0, "error_text": "", "elapsed": 100_000, "started": 5_000_000,
        "percentile_list": [], "options": {"rw": "randread"}, "read": nothing, "write": nothing, "trim": nothing,
        "sync": {"ios": 0, "clat": latencies([])}, "depth_at_submission": [0] * 7, "batch_submitted": [0] * 7,
        "batch_completed": [0] * 7,
    } | different  # fmt: skip


def group(number: int = 0, **different: Any) -> Raw:
    """A group of ten milliseconds on one hart that slept for a quarter of them."""
    hart = {"hart": 0, "asleep": 25_000, "sleeps": 7, "rounds": 30, "resumptions": 90}
    queue = {"disk": "vda", "queue": 0, "requests": 100, "notifications": 20, "interrupts": 10}
    return {
        "group": number, "elapsed": 100_000, "ios": 100, "notifications": 20, "interrupts": 10, "mmio_accesses": 40,
        "instructions": 80_000, "floor_ios": 1000, "floor_elapsed": 800_000, "harts": [hart], "queues": [queue],
    } | different  # fmt: skip


def result(jobs: list[Raw], groups: list[Raw], **different: Any) -> Raw:
    """The merged result of a guest whose clock ticks every 100 ns."""
    return {
        "program": "bench", "version": 1, "ticks_per_second": 10_000_000, "icount": False,
        "boot_to_first_read": 123_450, "memory_kib": 640, "jobs": jobs, "groups": groups,
    } | different  # fmt: skip


def canned() -> Raw:
    """A job that reads, two clones of one that writes and flushes, and after a stonewall one that trims on two disks."""
    reads = [10] * 60 + [20] * 30 + [500] * 9 + [30_000]
    writes = [job(
        "log", clone=clone, hart=clone, rw="randwrite", iodepth=1, group_reporting=True,
        options={"rw": "randwrite", "fsync": "2"}, elapsed=100_000 + clone * 50_000,
        write=direction([40 + clone] * 20, 100_000 + clone * 50_000),
        sync={"ios": 10, "clat": latencies([2000] * 10)}, depth_at_submission=[20, 0, 0, 0, 0, 0, 0],
        batch_submitted=[0, 20, 0, 0, 0, 0, 0], batch_completed=[0, 20, 0, 0, 0, 0, 0],
    ) for clone in (0, 1)]  # fmt: skip
    trims = job(
        "gone", group=1, rw="randtrim", disks=["vda", "vdb"], options={"rw": "randtrim", "bs": "64k"}, error=5,
        error_text="Input/output error", trim=direction([7] * 50, 50_000, 65536, (1000, 3000)),
    )  # fmt: skip
    reader = job(
        "rand", read=direction(reads, 100_000, 4096, (9000, 12000)), depth_at_submission=[1, 2, 97, 0, 0, 0, 0],
        batch_submitted=[0, 25, 0, 0, 0, 0, 0], batch_completed=[10, 10, 5, 0, 0, 0, 0],
        options={"rw": "randread", "bs": "4k"},
    )  # fmt: skip
    return result([reader, *writes, trims], [group(), group(1, floor_elapsed=0, floor_ios=0)])


def console_text(whole: Raw) -> str:
    """As the guest prints it: one line for what is said once, one for each job and group."""
    once: Raw = {key: value for key, value in whole.items() if key not in ("jobs", "groups")}
    lines = [once, *({"program": "bench", key: [one]} for key in ("jobs", "groups") for one in whole[key])]
    return "".join(f"@result {json.dumps(line)}\n" for line in lines)


def report(whole: Raw, with_bins: bool = False, options: dict[str, str] | None = None) -> Raw:
    """Our JSON, through a reader of JSON."""
    made = fio_output.to_json(bench_result.parse(whole), options or {}, NOW, with_bins)
    read: Raw = json.loads(fio_output.dump(made))
    return read


def text(whole: Raw) -> list[str]:
    """Our summary."""
    return fio_output.to_text(bench_result.parse(whole), NOW).splitlines()


class Arguments(LauncherTest):
    """What `./run bench` takes, and what it refuses in one line."""

    JOB = b"[job]\nrw=randread\n"

    def test_refusals(self) -> None:
        self.file("a.fio", self.JOB)
        self.file("write.fio", b"[a]\nrw=read\n[b]\n  ReadWrite = randrw\n")
        self.file("empty.fio", b" \n")
        self.file("binary.fio", b"[a]\n\0\n")
        self.file("latin.fio", b"[a]\n\xff\n")
        self.file("large.fio", self.JOB + b"\n" * (1 << 20))
        self.file("image", bytes(8192))
        (self.directory / "folder").mkdir()
        os.mkfifo(self.directory / "pipe")
        table: list[tuple[list[str], str]] = [
            ([], "there is no job; ./run bench JOB.fio, or one job in words: ./run bench --rw=randread"),
            (["none.fio"], "there is no such file"),
            (["folder"], "this is no file"),
            (["pipe"], "this is no file"),
            (["empty.fio"], "the file is empty"),
            (["binary.fio"], "this is no text"),
            (["latin.fio"], "this is no text"),
            (["large.fio"], "too large for a job file"),
            (["a.fio", "--rw=read"], "--rw belongs into the file; under [global] it is meant for all its jobs"),
            (["--time_based", "a.fio"], "--time_based belongs into the file"),
            (["a.fio", "b.fio"], "'b.fio' is one too many"),
            (["--rw=read", "--name=a", "--name=b"], "several are sections of a job file"),
            (["--rw=read", "--name="], "cannot name a job"),
            (["--rw=read", "--name=a]"], "cannot name a job"),
            (["--rw=read", "--name=global"], "cannot name a job"),
            (["--rw=read", "--bs=4k\nrw=write"], "a value is one line"),
            (["--rw=read", "--no-buld"], "unknown option --no-buld; did you mean --no-build?"),
            (["a.fio", "--depth", "4"], "iodepth=N"),
            (["a.fio", "--output-format=xml"], "'xml' is unknown; the formats are normal, json, json+"),
            (["a.fio", "--output-format=json,"], "'' is unknown"),
            (["a.fio", "--output=folder"], "'folder' cannot be written"),
            (["a.fio", "--output=nowhere/x"], "name a file in a directory that exists"),
            (["write.fio", "--disk", "image"], "bench would overwrite it"),
            (["write.fio", "--disk", "1M", "--read-only"], "leave --read-only out"),
            (["--rw=randtrim", "--disk", "image"], "bench would overwrite it"),
        ]
        others: list[tuple[list[str], str]] = [
            (["iops", "--output-format=json"], "--output-format: only bench reports as fio does"),
            (["info", "--output", "x"], "--output: only bench"),
            (["info", "a.fio"], "'a.fio' is one too many"),
            (["--rw=read", "bench"], "unknown option --rw"),
            (["iops", "--rw=read"], "unknown option --rw"),
        ]
        for arguments, message in [(["bench", *words], said) for words, said in table] + others:
            with self.subTest(arguments=shlex.join(arguments)):
                ended = self.launch_here(*arguments)
                self.assertIn(message, ended.stderr)
                self.assertRegex(ended.stderr, r"\Arun: [^\n]+\n\Z")
                self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertEqual((self.directory / "image").read_bytes(), bytes(8192))

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_permissions(self) -> None:
        self.file("a.fio", self.JOB).chmod(0)
        self.assertIn("may not be read", self.launch_here("bench", "a.fio").stderr)

    def words(self, *arguments: str) -> list[str]:
        ended = self.launch_here("bench", "--dry-run", *arguments)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return shlex.split(ended.stdout)

    def test_command(self) -> None:
        self.file("a.fio", self.JOB)
        words = self.words("--harts", "2", "a.fio", "--append", "poll=off", "--queues=2", "--icount")
        self.assertEqual(words[words.index("-initrd") + 1], "a.fio")
        self.assertEqual(words[words.index("-append") + 1], "program=bench icount=1 poll=off")
        self.assertEqual(words[words.index("-smp") + 1], "2")
        self.assertIn("driver=null-co,node-name=vda,size=1073741824,read-zeroes=on", words)
        words = self.words("--rw", "randread", "--disk", "1M")
        self.assertTrue(words[words.index("-initrd") + 1].endswith("/build/disks/run/job.fio"))
        self.assertFalse(any("null-co" in word for word in words))
        self.assertNotIn("-initrd", self.launch_here("info", "--dry-run").stdout)

    def test_reading_jobs_need_no_leave(self) -> None:
        self.file("image", bytes(8192))
        self.file("a.fio", b"# rw=write\n[a]\n;rw=write\nrw=randread\nrwmixread=5\n[b]\nbs=4k\n")
        self.words("a.fio", "--disk", "image")
        self.words("a.fio", "--disk", "image", "--read-only")
        self.words("--rw=write", "--disk", "image", "--destroy")
        self.words("--rw=write", "--disk", "1M", "--disk", "null:1M")

    def job_of(self, *arguments: str) -> str:
        """What the guest gets: QEMU's stand-in copies it."""
        copy = self.directory / "copy"
        steps: list[list[Any]] = [["copy", "-initrd", str(copy)], ["say", console_text(canned())], ["exit", 0]]
        ended = self.launch("bench", *arguments, steps=steps)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return copy.read_text(encoding="utf-8")

    def test_job_in_words(self) -> None:
        made = self.job_of(
            "--name=big one", "--rw=randread", "--bs", "4k", "--time_based", "--harts", "2", "--iodepth", "32",
            "--stonewall", "--offset", "-1", "--runtime=10",
        )  # fmt: skip
        self.assertEqual(
            made, "[big one]\nrw=randread\nbs=4k\ntime_based\niodepth=32\nstonewall\noffset=-1\nruntime=10\n"
        )
        self.assertEqual(self.job_of("--rw=read", "--no_such", "--icount"), "[job]\nrw=read\nno_such\n")

    def test_job_file_is_not_changed(self) -> None:
        contents = "; a comment\r\n[global]\n\trw = randread\n[ä]\n\n"
        self.file("a.fio", contents.encode())
        with open(self.directory / "a.fio", "rb") as file:
            before = file.read()
        self.job_of("a.fio")
        self.assertEqual((self.directory / "copy").read_bytes(), before)

    def test_global_options(self) -> None:
        file = job_file.JobFile("[global]\nbs=4k\n; x=y\n time_based\n[a]\nrw=read\n[global]\nbs = 8k\n[b]\n", None)
        self.assertEqual(file.global_options(), {"bs": "8k", "time_based": ""})


class Results(LauncherTest):
    """From the guest's lines to fio's report, through the launcher."""

    def bench(self, whole: Raw, *arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
        steps: list[list[Any]] = [
            ["say", "inflight on 1 hart\n@progress bench: Jobs: 1 (f=1)\n" + console_text(whole)],
            ["exit", status],
        ]
        return self.launch("bench", "--rw=randread", "--bs=4k", *arguments, steps=steps)

    def test_text_on_standard_output(self) -> None:
        ended = self.bench(canned())
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"\Ainflight on 1 hart\nrand: \(g=0\): rw=randread")
        self.assertIn("\nRun status group 1 (all jobs):\n", ended.stdout)

    def test_json_alone_is_for_a_pipe(self) -> None:
        ended = self.bench(canned(), "--output-format=json", "--disk", "1M", "--keep")
        self.assertEqual(ended.returncode, 0)
        self.assertRegex(ended.stderr, r"\Ainflight on 1 hart\nrun: --disk 1M is kept as .*\n\Z")
        shutil.rmtree(Path(ended.stderr.split()[-1]).parent)
        made = json.loads(ended.stdout)
        self.assertEqual([one["jobname"] for one in made["jobs"]], ["rand", "log", "gone"])

    def test_file_of_several_formats(self) -> None:
        ended = self.bench(canned(), "--output-format=normal,json+", "--output", "report")
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (0, "inflight on 1 hart\n", ""))
        written = (self.directory / "report").read_text(encoding="utf-8")
        made, end = json.JSONDecoder().raw_decode(written)
        self.assertIn("bins", made["jobs"][0]["read"]["clat_ns"])
        self.assertIn("Run status group 0 (all jobs):", written[end:])

    def test_options_of_a_job_are_its_own(self) -> None:
        self.file("a.fio", b"[global]\nbs=4k\n[rand]\nrw=randread\n")
        steps: list[list[Any]] = [["say", console_text(canned())], ["exit", 0]]
        made = json.loads(self.launch("bench", "a.fio", "--output-format=json", steps=steps).stdout)
        self.assertEqual(made["global options"], {"bs": "4k"})
        self.assertEqual(made["jobs"][0]["job options"], {"rw": "randread"})
        self.assertEqual(made["jobs"][2]["job options"], {"rw": "randtrim", "bs": "64k"})

    def test_guest_that_failed_is_reported_all_the_same(self) -> None:
        ended = self.bench(canned(), status=1)
        self.assertEqual((ended.returncode, ended.stderr), (1, ""))
        self.assertIn("gone: (groupid=1, jobs=1): err= 5 (Input/output error):", ended.stdout)
        steps: list[list[Any]] = [["say", "bench: line 2: unknown option\n"], ["exit", 2]]
        ended = self.launch("bench", "--x=1", steps=steps)
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (2, "bench: line 2: unknown option\n", ""))

    def test_result_that_lacks_something(self) -> None:
        """Whatever is taken out or made wrong is noticed, not passed over."""
        whole = canned()
        unused = {"program", "version", "clone"}

        def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
            if isinstance(value, list):
                return [found for i, one in enumerate(value[:1]) for found in places(one, (*place, i))]
            if isinstance(value, dict) and place[-1:] != ("options",):
                if value.get("count") == 0:
                    return [(*place, "count")]  # of nothing, there is nothing else to say
                below = [found for key, one in value.items() for found in places(one, (*place, key))]
                return [(*place, key) for key in value if key not in unused] + below
            return []

        self.assertGreater(len(places(whole)), 80)
        for place in places(whole):
            for wrong in (None, "x", -1):
                broken = json.loads(json.dumps(whole))
                inside = broken
                for step in place[:-1]:
                    inside = inside[step]
                if isinstance(inside[place[-1]], str) and wrong == "x":
                    continue
                inside[place[-1]] = wrong
                if wrong is None:
                    del inside[place[-1]]
                with self.subTest(place=place, wrong=wrong), self.assertRaises(bench_result.BrokenResult):
                    bench_result.parse(broken)
        ended = self.bench(whole | {"jobs": []})
        self.assertEqual(ended.returncode, 3)
        self.assertRegex(ended.stderr, r"\Arun: the kernel's result of bench is broken: [^\n]+\n\Z")
        lost = json.loads(json.dumps(whole))
        lost["jobs"][0]["read"]["clat"]["bins"].pop()
        with self.assertRaisesRegex(bench_result.BrokenResult, "99 of 100"):
            bench_result.parse(lost)
        with self.assertRaisesRegex(bench_result.BrokenResult, r"groups lacks \[1\]"):
            bench_result.parse(whole | {"groups": [group()]})


class Figures(unittest.TestCase):
    """The numbers, against others that are found in other ways."""

    def test_golden_text(self) -> None:
        golden = Path(__file__).with_name("bench_golden.txt").read_text(encoding="utf-8").splitlines()
        with unittest.mock.patch("fio_output.time.ctime", lambda now: f"after {now} s"):
            made = text(canned())
        self.assertEqual(made, golden)

    def test_latencies_against_all_of_them_sorted(self) -> None:
        seed = random.SystemRandom().randrange(1 << 32)
        chance = random.Random(seed)
        with self.subTest(seed=seed):
            for size in (1, 2, 3, 10, 99, 100, 101, 1000, 1237):
                values = [int(chance.lognormvariate(6, 2)) for _ in range(size)]
                wanted = sorted(chance.sample(range(1, 100_000_001), 18)) + [50_000_000, 100_000_000]
                one = job("a", read=direction(values, 100_000), percentile_list=wanted)
                found = report(result([one], [group()]))["jobs"][0]["read"]["clat_ns"]
                nanoseconds = sorted(value * 100 for value in values)
                self.assertEqual((found["min"], found["max"]), (nanoseconds[0], nanoseconds[-1]))
                self.assertAlmostEqual(found["mean"], statistics.fmean(nanoseconds), 5)
                deviation = statistics.stdev(nanoseconds) if size > 1 else 0
                self.assertAlmostEqual(found["stddev"], deviation, delta=1e-5 + deviation * 1e-9)
                for percentile in wanted:
                    rank = -(-percentile * size // 100_000_000)  # so many are at or below it
                    self.assertEqual(found["percentile"][f"{percentile / 1e6:f}"], nanoseconds[rank - 1])

    def test_clones_that_report_together(self) -> None:
        """Two halves say what the whole says."""
        chance = random.Random(5)
        values = [chance.randrange(1, 3000) for _ in range(500)]
        halves = [
            job("half", clone=i, hart=i, group_reporting=True,
                read=direction(values[i::2], 100_000, 4096, (1000, 2000)), depth_at_submission=[i, 1, 0, 0, 0, 0, 250 - i])
            for i in (0, 1)
        ]  # fmt: skip
        read = direction(values, 100_000, 4096, (2000, 4000))
        whole = job("half", read=read, depth_at_submission=[1, 2, 0, 0, 0, 0, 499])
        harts = [group()["harts"][0] | {"hart": i} for i in (0, 1)]
        together = report(result(halves, [group(harts=harts)]), True)
        alone = report(result([whole], [group()]), True)
        self.assertEqual(len(together["jobs"]), 1)
        made, right = together["jobs"][0], alone["jobs"][0]
        self.assertEqual(made["read"]["bw_samples"], 4)
        for of in (made, right):
            for sample in ("bw_samples", "iops_samples", "bw_dev", "iops_stddev"):
                del of["read"][sample]
        self.assertEqual((made.pop("job_runtime"), right.pop("job_runtime")), (20, 10))
        self.assertEqual((made.pop("ctx"), right.pop("ctx")), (14, 7))
        self.assertEqual(made, right)
        said = "\n".join(text(result(halves, [group(harts=harts)])))
        self.assertIn("half: (groupid=0, jobs=2): err= 0: hart=0,1:", said)
        apart: list[Raw] = [{"group_reporting": False}, {"group": 1}]
        for difference in apart:
            jobs = [halves[0], halves[1] | difference]
            self.assertEqual(len(report(result(jobs, [group(), group(1)]))["jobs"]), 2)

    def test_what_fio_cannot_tell(self) -> None:
        found = report(canned())["inflight"]
        self.assertEqual((found["notifications"], found["interrupts"], found["mmio_accesses"]), (40, 20, 80))
        self.assertEqual((found["guest_instructions"], found["asleep_share"]), (None, 0.25))
        self.assertEqual((found["boot_to_first_read_ns"], found["memory_kib"]), (12_345_000, 640))
        first, second = found["groups"]
        self.assertEqual(first["notifications_per_io"], 0.2)
        self.assertEqual(first["interrupts_per_io"], 0.1)
        self.assertEqual(first["mmio_accesses_per_io"], 0.4)
        self.assertIsNone(first["guest_instructions_per_io"])
        self.assertEqual((first["iops"], first["floor_iops"], first["floor_ratio"]), (10_000, 12_500, 0.8))
        self.assertEqual((second["floor_iops"], second["floor_ratio"]), (None, None))
        counted = report(canned() | {"icount": True})["inflight"]
        self.assertEqual(counted["guest_instructions"], 160_000)
        self.assertEqual(counted["groups"][0]["guest_instructions_per_io"], 800)

    def test_clock_that_stepped_back(self) -> None:
        """The guest tells no time then, and so nothing is made of one: neither a rate, nor a share of it."""
        untimed = direction([], 0) | {"ios": 10, "bytes": 40960}
        stepped = job("one", read=untimed, elapsed=0, error=34, error_text="the clock stepped back")
        clones = [job("two", clone=i, group_reporting=True, read=read, elapsed=0)
                  for i, read in enumerate((direction([5] * 10, 100_000), untimed))]  # fmt: skip
        whole = result([stepped, *clones], [group(elapsed=0, ios=30)], boot_to_first_read=0)
        found = report(whole)
        for each, ios in zip(found["jobs"], (10, 20)):
            self.assertEqual((each["read"]["total_ios"], each["read"]["iops"], each["read"]["bw_bytes"]), (ios, 0, 0))
        of_group = found["inflight"]["groups"][0]
        for name in ("elapsed_ns", "iops", "idle_share"):
            self.assertIsNone(of_group[name], name)
        self.assertIsNone(of_group["harts"][0]["idle_share"])
        self.assertEqual((found["inflight"]["asleep_share"], found["inflight"]["boot_to_first_read_ns"]), (None, None))
        said = "\n".join(text(whole))
        self.assertIn("one: (groupid=0, jobs=1): err=34 (the clock stepped back):", said)
        self.assertIn("\n  read: IOPS and BW not measured (40.0KiB)\n", said)
        self.assertIn("\n   READ: bw not measured\n", said)
        self.assertIn("idle=not measured", said)
        self.assertIn("boot to first read=not measured", said)

    def test_instructions_of_several_harts(self) -> None:
        """They share one counter: what it counted is told once, for all I/O, and no hart has a part of it."""
        hart = group()["harts"][0]
        harts = [hart | {"hart": i} for i in range(4)]
        found = report(result([job("one")], [group(harts=harts)], icount=True))["inflight"]
        self.assertEqual((found["guest_instructions"], found["groups"][0]["guest_instructions_per_io"]), (80_000, 800))
        self.assertNotIn("guest_instructions", found["groups"][0]["harts"][0])

    def test_latencies_of_many_seconds(self) -> None:
        """fio's histogram ends at 17 s; beyond it, its tools would never end."""
        one = job("slow", read=direction([200_000_000, 300_000_000], 400_000_000))
        found = report(result([one], [group()]), True)["jobs"][0]["read"]["clat_ns"]
        self.assertEqual((found["max"], found["bins"]), (30_000_000_000, {"17112760320": 2}))

    def test_what_is_rare_is_seen(self) -> None:
        """fio shows no share below 0.1 % of depths, and 0.01 % of latencies, if there is anything at all."""
        read = direction([10] * 99_999 + [30_000], 100_000)
        made = report(result([job("rare", read=read, depth_at_submission=[1, 0, 4999, 0, 0, 0, 0])], [group()]))["jobs"][0]
        self.assertEqual(made["iodepth_level"], dict(zip(made["iodepth_level"], [0.1, 0.0, 99.98, 0.0, 0.0, 0.0, 0.0])))
        self.assertEqual((made["latency_us"]["2"], made["latency_ms"]["4"], made["latency_ms"]["2"]), (99.999, 0.01, 0.0))

    def test_how_long_it_took(self) -> None:
        """In whole seconds from the first beginning to the last end, begun ones included."""
        jobs = [job("a", started=70_000_000), job("b", started=50_000_000, elapsed=40_000_001)]
        self.assertEqual([one["elapsed"] for one in report(result(jobs, [group()]))["jobs"]], [5, 5])
        jobs[1]["elapsed"] = 40_000_000
        self.assertEqual(report(result(jobs, [group()]))["jobs"][0]["elapsed"], 4)
        self.assertEqual(report(result(jobs, [group()]))["jobs"][1]["job_runtime"], 4000)

    def test_a_run_of_less_than_a_millisecond(self) -> None:
        one = job("short", read=direction([10] * 5, 5_000))
        found = report(result([one], [group()]))["jobs"][0]["read"]
        self.assertEqual((found["runtime"], found["iops"], found["bw_bytes"]), (1, 10_000, 40_960_000))


def raw_of_fio(made: Raw) -> Raw:
    """What a guest with a clock of nanoseconds would have said of what fio measured (json+, without slat)."""

    def latencies_of(of: Raw) -> Raw:
        bins = [[int(value), count] for value, count in of.get("bins", {}).items()]
        return {"count": of["N"], "min": of["min"], "max": of["max"], "sum": round(of["mean"] * of["N"]), "bins": bins}

    def samples_of(of: Raw, name: str, deviation: str, squares: str, unit: int) -> Raw:
        count, mean = of[f"{name}_samples"], of[f"{name}_mean"]
        total = round(of[deviation] ** 2 * (count - 1) + count * mean**2) if count else 0
        least, most = of[f"{name}_min"] * unit, of[f"{name}_max"] * unit
        return {"count": count, "min": least, "max": most, "sum": round(mean * unit * count), squares: total}

    def direction_of(of: Raw) -> Raw:
        return {
            "ios": of["total_ios"], "bytes": of["io_bytes"], "runtime": of["runtime"] * 1_000_000,
            "clat": latencies_of(of["clat_ns"]),
            "bw_samples": samples_of(of, "bw", "bw_dev", "sum_squares_kib", 1024),
            "iops_samples": samples_of(of, "iops", "iops_stddev", "sum_squares", 1),
        }  # fmt: skip

    def counts(of: Raw) -> list[int]:
        return [round(share * 1e6) for share in of.values()]

    jobs = [
        job(
            one["jobname"], group=one["groupid"], options=made["global options"] | one["job options"],
            rw=one["job options"]["rw"], iodepth=one["latency_depth"], elapsed=one["job_runtime"] * 1_000_000,
            started=0,
            **{name: direction_of(one[name]) for name in ("read", "write", "trim")},
            sync={"ios": one["sync"]["total_ios"], "clat": latencies_of(one["sync"]["lat_ns"])},
            depth_at_submission=counts(one["iodepth_level"]), batch_submitted=counts(one["iodepth_submit"]),
            batch_completed=counts(one["iodepth_complete"]),
        )
        for one in made["jobs"]
    ]  # fmt: skip
    groups = [group(number) for number in sorted({one["group"] for one in jobs})]
    return result(jobs, groups, ticks_per_second=1_000_000_000)


@unittest.skipIf(FIO is None, NO_FIO)
class BesideFio(unittest.TestCase):
    """One run of the real fio: told again by us, it reads as fio told it."""

    # Two jobs side by side, one after them; reads, writes, trims, flushes; longer than two samples of half a second.
    JOBS = """[global]
bs=4k
size=1m
disable_slat=1
[mix]
rw=randrw
ioengine=psync
filename=data
fsync=32
thinktime=100
runtime=1
time_based
[deep]
rw=randread
ioengine=null
iodepth=16
runtime=1
time_based
thinktime=50
[gone]
stonewall
size=64m
rw=randtrim
ioengine=null
iodepth=3
"""
    # What is not the guest's to say, or differs by nature: fio's processor time, and a `lat` that is more than `clat`.
    DIFFERENT = {"fio version", "eta", "elapsed", "sys_cpu", "usr_cpu", "ctx", "majf", "minf", "lat_ns", "disk_util"}
    fio: Raw
    fio_text: list[str]
    ours: Raw
    ours_text: list[str]

    @classmethod
    def setUpClass(cls) -> None:
        with TemporaryDirectory(prefix="inflight-test-") as directory:
            Path(directory, "job.fio").write_text(cls.JOBS, encoding="utf-8")
            command = [str(FIO), "job.fio", "--output-format=normal,json+"]
            ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, timeout=60)
        start = ended.stdout.index("{\n")
        cls.fio, end = json.JSONDecoder().raw_decode(ended.stdout, start)
        cls.fio_text = ended.stdout[end:].splitlines()
        for one in cls.fio["jobs"]:
            # fio counts the depth at a flush but not the flush, and so gets beyond 100 %.
            depths = one["iodepth_level"]
            one["iodepth_level"] = {depth: share * 100 / sum(depths.values()) for depth, share in depths.items()}
        raw = raw_of_fio(cls.fio)
        cls.ours = report(raw, True, cls.fio["global options"])
        cls.ours_text = text(raw)

    def test_the_run_had_all_kinds(self) -> None:
        mix, deep, gone = self.fio["jobs"]
        for part in (mix["read"], mix["write"], mix["sync"], deep["read"], gone["trim"]):
            self.assertGreater(part["total_ios"], 0)
        self.assertGreater(mix["read"]["bw_samples"], 0)

    def compare(self, fio: Any, ours: Any, place: str) -> None:
        """The same keys in the same order, the same types, and where we know it the same values."""
        self.assertIs(type(ours), type(fio), place)
        if isinstance(fio, dict):
            self.assertEqual([key for key in ours if key != "inflight"], list(fio), place)
            for key in fio:
                self.compare(fio[key], ours[key], f"{place}.{key}")
        elif isinstance(fio, list):
            if place != ".disk_util":
                self.assertEqual(len(ours), len(fio), place)
            for i, (one, other) in enumerate(zip(fio, ours)):
                self.compare(one, other, f"{place}[{i}]")
        elif self.DIFFERENT & set(re.split(r"[.\[]", place)) and ".sync." not in place:
            pass
        elif "stddev" in place:
            # From the buckets here, from all values there.
            self.assertAlmostEqual(ours, fio, delta=0.02 * fio + 0.02, msg=place)
        elif match := re.match(r"\.jobs\[(\d+)\]\.latency_[num]s\.", place):
            self.assertAlmostEqual(ours, fio, delta=0.01 + self.share_at_an_edge(int(match[1])), msg=place)
        elif ".iodepth_" in place:
            self.assertAlmostEqual(ours, fio, delta=0.01 + 0.01 * fio, msg=place)  # fio shows no less than 0.1 %
        elif ".percentile." in place:
            self.assertTrue(ours == fio or self.is_tie(place), f"{place}: {ours}, fio: {fio}")
        elif isinstance(fio, float):
            self.assertAlmostEqual(ours, fio, delta=1e-4 * abs(fio) + 2e-6, msg=place)
        elif not place.startswith(".time"):
            self.assertEqual(ours, fio, place)

    def share_at_an_edge(self, number: int) -> float:
        """How many percent are in buckets that may lie in two ranges at once."""
        edges = {edge * unit for unit in (1, 1_000, 1_000_000) for edge in (2, 4, 10, 20, 50, 100, 250, 500, 750, 1000)}
        edges.add(2_000_000_000)
        at_an_edge, all_of_them = 0, 0
        for name in ("read", "write", "trim"):
            for value, count in self.fio["jobs"][number][name]["clat_ns"].get("bins", {}).items():
                all_of_them += count
                at_an_edge += count * any(abs(int(value) - edge) <= edge / 64 for edge in edges)
        return 100 * at_an_edge / all_of_them

    def is_tie(self, place: str) -> bool:
        """A bucket ends on the very percentile: fio's floating point may take it for less or not."""
        match = re.fullmatch(r"\.jobs\[(\d+)\]\.(\w+)\.(\w+)\.percentile\.(.+)", place)
        assert match is not None
        inside = self.fio["jobs"][int(match[1])][match[2]][match[3]]
        seen = 0
        for count in inside["bins"].values():
            seen += count
            if seen * 100_000_000 == round(float(match[4]) * 1_000_000) * inside["N"]:
                return True
        return False

    def test_json(self) -> None:
        self.compare(self.fio, self.ours, "")

    def test_version(self) -> None:
        ours = re.fullmatch(r"(fio-[0-9]+\.[0-9]+)-inflight", self.ours["fio version"])
        theirs = re.match(r"fio-[0-9]+\.[0-9]+", self.fio["fio version"])
        assert ours is not None and theirs is not None
        self.assertEqual(ours[1], "fio-3.33")

    def test_the_comparison_sees_what_is_wrong(self) -> None:
        changes: list[Callable[[Raw], Any]] = [
            lambda made: made["jobs"][0].pop("ctx"),
            lambda made: made["jobs"][0]["read"].update(short_ios=0.0),
            lambda made: made["jobs"][0]["read"]["clat_ns"].update(new=1),
            lambda made: made["jobs"][2]["trim"].update(total_ios=made["jobs"][2]["trim"]["total_ios"] + 1),
            lambda made: made["jobs"].pop(),
        ]
        for change in changes:
            wrong = json.loads(json.dumps(self.ours))
            change(wrong)
            with self.assertRaises(AssertionError):
                self.compare(self.fio, wrong, "")

    def test_text(self) -> None:
        def comparable(lines: list[str]) -> list[str]:
            begin = next(i for i, line in enumerate(lines) if "(groupid=0" in line)
            ends = ("Disk stats (read/write):", "inflight:")
            end = next((i for i, line in enumerate(lines) if line in ends), len(lines))
            kept = [line for line in lines[begin:end] if not re.match(r" +lat \(|  cpu  ", line)]
            for old, new in (
                (r"(hart=[0-9,]+|pid=\d+): .*", "who: when"),
                ("; 0 zone resets", ""),
                ("fsync/fdatasync/sync_file_range", "fsync/fdatasync"),
            ):
                kept = [re.sub(old, new, line) for line in kept]
            return kept

        def shape(line: str) -> str:
            return re.sub(r" *[0-9.]+", "#", line)

        ours, fio = comparable(self.ours_text), comparable(self.fio_text)
        found = []
        for made in (self.fio, self.ours):
            parts = [one[name] for one in made["jobs"] for name in ("read", "write", "trim", "sync")]
            found.append([of.get("percentile") for part in parts for of in part.values() if isinstance(of, dict)])
        ties = found[0] != found[1]
        self.assertEqual(list(map(shape, ours)), list(map(shape, fio)))
        for line, right in zip(ours, fio):
            if "th=[" in right and ties:
                continue  # compared in the JSON
            if right.startswith("  IO depths    : 1=10") and "1=100.0%" in line:
                continue  # a depth for each flush; as above
            if "stdev" not in right:
                self.assertEqual(line, right)
            for number, expected in zip(re.findall(r"[0-9.]+", line), re.findall(r"[0-9.]+", right)):
                self.assertAlmostEqual(float(number), float(expected), delta=0.02 * float(expected) + 0.02, msg=right)

    def test_text_of_the_ranges(self) -> None:
        """Those of the JSON, which was compared, in fio's layout."""

        def expected(made: Raw) -> list[str]:
            lines = []
            for one in made["jobs"]:
                for unit in ("nsec", "usec", "msec"):
                    shares = [f"{key}={share:.2f}%" for key, share in one[f"latency_{unit[0]}s"].items() if share]
                    while shares:
                        lines.append(f"  lat ({unit})   : {', '.join(shares[:5])}")
                        del shares[:5]
            return lines

        for made, lines in ((self.fio, self.fio_text), (self.ours, self.ours_text)):
            self.assertEqual([line for line in lines if re.match(r"  lat \(", line)], expected(made))

    def test_latencies_as_csv(self) -> None:
        """Debian's package of fio brings one tool that reads its JSON."""
        if CLAT2CSV is None or not Path(SYSTEM_PYTHON).exists():
            self.skipTest("Debian's package of fio is not installed")
        if subprocess.run([SYSTEM_PYTHON, "-c", "import six"], capture_output=True).returncode != 0:
            self.skipTest("python3-six is not installed")
        with TemporaryDirectory(prefix="inflight-test-") as directory:
            source, target = Path(directory, "ours.json"), Path(directory, "ours.csv")
            made = fio_output.to_json(bench_result.parse(canned()), {}, NOW, True)
            source.write_text(fio_output.dump(made), encoding="utf-8")
            command = [SYSTEM_PYTHON, CLAT2CSV, str(source), str(target)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            checked = subprocess.run([*command, "--validate"], check=True, capture_output=True, text=True, timeout=60)
            self.assertEqual(checked.stdout.count(" validated\n"), 3)
            tables = []
            for number in range(3):
                with open(Path(directory, f"ours_job{number}.csv"), encoding="utf-8") as file:
                    rows = csv.DictReader(file, skipinitialspace=True)
                    tables.append(list(rows))
        reads = [
            (int(row["nsec"]), int(row["read_clat_ns_count"]), int(row["read_clat_ns_cumulative"])) for row in tables[0]
        ]
        self.assertEqual(reads, [(1000, 60, 60), (2000, 30, 90), (50_000, 9, 99), (3_000_000, 1, 100)])
        self.assertEqual([float(row["read_clat_ns_percentile"]) for row in tables[0]], [0.6, 0.9, 0.99, 1.0])
        writes = [(row["nsec"], row["write_clat_ns_cumulative"]) for row in tables[1]]
        self.assertEqual(writes, [("4000", "20"), ("4100", "40")])
        self.assertEqual([(row["nsec"], row["trim_clat_ns_cumulative"]) for row in tables[2]], [("700", "50")])


if __name__ == "__main__":
    unittest.main()
