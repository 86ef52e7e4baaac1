#!/usr/bin/env python3
"""Holds the figures of bench, iops, digest and costs against counts that are not ours.

fio: a job file does as many requests of each kind, and moves as many bytes, as fio does on its null engine. QEMU's trace: the
requests, doorbells, accesses to registers and interrupts of a run, with one to four harts and queues. A plugin of QEMU's
counts the instructions. And where a snapshot takes the clock back, no time is told.
"""

import argparse
import itertools
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from case import ROOT, Image, Outcome, run

sys.path[:0] = [str(ROOT / "bench" / "compare"), str(ROOT / "src" / "launcher")]
import counts  # noqa: E402 (the path is set above)

KINDS = ("read", "write", "trim")
DOORBELL = 0x50
PLIC_CONTEXTS = 0xC200000
EVENTS = ("virtio_blk_handle_read", "virtio_blk_handle_write", "virtio_blk_req_complete", "memory_region_ops_*")
REQUEST = re.compile(r"virtio_blk_handle_(read|write) vdev \S+ req (\S+) sector (\d+) nsectors (\d+)")
COMPLETION = re.compile(r"virtio_blk_req_complete vdev \S+ req (\S+)")
ACCESS = re.compile(r"memory_region_ops_(read|write) .* addr (0x[0-9a-f]+) value (0x[0-9a-f]+) size (\d+) name '([^']*)'")

# What both do alike; sections of a job file, with the options of GLOBAL.
GLOBAL = "[global]\nbs=4k\nsize=1m\ngroup_reporting\nstonewall\n"
JOBS = (
    "rw=read", "rw=read size=1001k", "rw=read offset=100k", "rw=read numjobs=3", "rw=trim", "rw=randtrim io_size=3m",
    # How much: passes, loops, io_size, number_ios.
    "rw=read bs=12k io_size=2m", "rw=randread bs=12k io_size=2m", "rw=randread bs=12k loops=2",
    "rw=read number_ios=100 loops=2", "rw=read number_ios=200 loops=2", "rw=read number_ios=300 loops=3",
    "rw=read io_size=2m loops=3", "rw=read io_size=1500k", "rw=read io_size=512k loops=2", "rw=read io_size=512k loops=6",
    "rw=write io_size=100k", "rw=write bs=8k io_size=12k", "rw=randread bs=8k norandommap size=100k io_size=300k",
    "rw=write bs=8k size=100k io_size=300k loops=2", "rw=randwrite bs=8k norandommap size=100k io_size=300k",
    "rw=write io_size=50%",
    # Two disks, which share it.
    "rw=write filename=vda:vdb io_size=1536k", "rw=read filename=vda:vdb bs=12k", "rw=read filename=vda:vdb bs=12k io_size=3m",
    "rw=trimwrite filename=vda:vdb", "rw=randread filename=vda:vdb io_size=2m",
    # Flushes: before the next request, so none after the last.
    "rw=write fsync=1", "rw=write fsync=3", "rw=write fsync=255", "rw=write fsync=256", "rw=write fsync=1 number_ios=10",
    "rw=write fsync=1 thinktime=10", "rw=read fsync=1", "rw=trim fsync=1", "rw=write fsync=100 loops=3",
    # Each block is trimmed, then written.
    "rw=trimwrite", "rw=trimwrite iodepth=8", "rw=trimwrite io_size=512k", "rw=trimwrite io_size=1536k",
    "rw=trimwrite io_size=2m", "rw=trimwrite io_size=2560k", "rw=trimwrite io_size=5m", "rw=trimwrite number_ios=10",
    "rw=trimwrite number_ios=300", "rw=trimwrite loops=3", "rw=trimwrite bs=12k", "rw=trimwrite numjobs=2",
)  # fmt: skip


@dataclass
class Traced:
    """What QEMU's trace says of the guest's requests and accesses, behind the read that bench and iops do before they measure
    anything: requests and doorbells from the next doorbell on, accesses from the end of the next interrupt on. Before that
    read they ask for the serial numbers of disks that they write to."""

    requests: dict[str, int] = field(default_factory=lambda: {"read": 0, "write": 0})
    bytes: dict[str, int] = field(default_factory=lambda: {"read": 0, "write": 0})
    from_the_start: int = 0  # all that completed
    completed: int = 0
    others: int = 0  # completed that are neither a read nor a write
    doorbells: int = 0
    of_queue: dict[int, int] = field(default_factory=dict)  # doorbells
    accesses: int = 0
    claims: int = 0
    writes_after: list[tuple[int, int]] = field(default_factory=list)  # sector, and others completed before

    @classmethod
    def read(cls, file: Path) -> "Traced":
        """Reads a trace."""
        found = cls()
        first_read = measured = False
        ends = 0
        known: set[str] = set()
        with open(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if match := ACCESS.search(line):
                    address, value = int(match[2], 16), int(match[3], 16)
                    is_disk, is_plic = match[5].startswith("virtio-mmio"), match[5].startswith("riscv.sifive.plic")
                    rings = is_disk and match[1] == "write" and address & 0xFFF == DOORBELL
                    is_claim = is_plic and address >= PLIC_CONTEXTS and address & 0xFFF == 4
                    measured = measured or (rings and first_read)
                    if ends and match[4] == "4" and (is_disk or is_plic):
                        found.accesses += 1
                        found.claims += is_claim and match[1] == "read" and value != 0
                    ends += first_read and is_claim and match[1] == "write"
                    if measured and rings:
                        found.doorbells += 1
                        found.of_queue[value] = found.of_queue.get(value, 0) + 1
                found.from_the_start += COMPLETION.search(line) is not None
                if match:
                    continue
                request = REQUEST.search(line)
                first_read = first_read or (request is not None and request[1] == "read")
                if not measured:
                    continue
                if match := request:
                    known.add(match[2])
                    found.requests[match[1]] += 1
                    found.bytes[match[1]] += 512 * int(match[4])
                    if match[1] == "write":
                        found.writes_after.append((int(match[3]), found.others))
                elif match := COMPLETION.search(line):
                    found.completed += 1
                    found.others += match[1] not in known
                    known.discard(match[1])
        return found


class Figures(unittest.TestCase):
    """Runs of the kernel."""

    kernel: Path
    scratch: Path
    all: bool

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(dir=self.scratch, prefix="figures-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def start(self, *arguments: str, status: int = 0) -> Outcome:
        """Runs ./run."""
        outcome = run(arguments, self.kernel, self.directory, 120)
        self.assertEqual(outcome.status, status, outcome.explain([]))
        return outcome

    def bench(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """What bench reports."""
        output = self.directory / "bench.json"
        output.unlink(missing_ok=True)
        self.start("bench", *arguments, "--output-format=json", f"--output={output}", status=status)
        report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return report

    def tracing(self) -> list[str]:
        """Arguments with which QEMU traces. A doorbell that rings in an event is not traced."""
        file = self.directory / "trace"
        file.unlink(missing_ok=True)
        words = ["-global", "virtio-mmio.ioeventfd=off", "-D", str(file)]
        words += [word for event in EVENTS for word in ("-trace", event)]
        return [word for argument in words for word in ("--qemu-arg", argument)]

    def traced(self) -> Traced:
        """What the run before has traced."""
        return Traced.read(self.directory / "trace")

    # ---- against fio ----

    def test_jobs_do_what_fio_does(self) -> None:
        if shutil.which("fio") is None:
            self.skipTest("fio is not installed")
        sections = [job if "filename" in job else f"filename=vda {job}" for job in JOBS]
        file = self.directory / "jobs.fio"
        file.write_text(GLOBAL + "".join(f"[{i}]\n{job}\n".replace(" ", "\n") for i, job in enumerate(sections)))
        command = ["fio", "--ioengine=null", "--output-format=json", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, cwd=self.directory, timeout=60, check=True).stdout
        theirs = json.loads(said[said.index("{") :])["jobs"]
        disks = ["--disk=null:64M", "--disk=null:64M", "--device=discard=on"]
        ours = self.bench(str(file), *disks, "--harts=1", "--append=floor=off")["jobs"]
        self.assertEqual((len(ours), len(theirs)), (len(JOBS), len(JOBS)))
        for job, their, our in zip(JOBS, theirs, ours):
            with self.subTest(job=job):
                done = [{kind: (each[kind]["total_ios"], each[kind]["io_bytes"]) for kind in KINDS}
                        | {"sync": each["sync"]["total_ios"]} for each in (their, our)]  # fmt: skip
                if "loops" in job and "fsync" in job:  # fio flushes once more, or not, at the beginning of a loop
                    self.assertLessEqual(abs(done[0].pop("sync") - done[1].pop("sync")), 2)
                self.assertEqual(done[1], done[0])

    # ---- against QEMU's trace ----

    def test_bench_counts_what_qemu_sees(self) -> None:
        job = ["--rw=randrw", "--bs=4k", "--iodepth=8", "--number_ios=300", "--fsync=7", "--group_reporting"]
        every = itertools.product(range(1, 5), range(1, 5))
        some = ((1, 1), (1, 4), (2, 1), (2, 2), (3, 2), (3, 3), (4, 1), (4, 4))
        machines = [(harts, queues, "off") for harts, queues in (every if self.all else some)]
        for harts, queues, poll in [*machines, (1, 1, "adaptive"), (4, 4, "adaptive")]:
            with self.subTest(harts=harts, queues=queues, poll=poll):
                machine = ["--disk=8M", f"--harts={harts}", f"--queues={queues}", f"--append=floor=off poll={poll}"]
                machine += ["--device=request-merging=off"]
                report = self.bench(*machine, *job, f"--numjobs={harts}", *self.tracing())
                seen = self.traced()
                done, group = report["jobs"][0], report["inflight"]["groups"][0]
                for kind in ("read", "write"):
                    self.assertEqual((done[kind]["total_ios"], done[kind]["io_bytes"]), (seen.requests[kind], seen.bytes[kind]))
                self.assertEqual(done["sync"]["total_ios"], seen.others)
                self.assertEqual(group["total_ios"], 300 * harts)
                self.assertEqual(sum(queue["requests"] for queue in group["queues"]), seen.completed)
                self.assertEqual(group["notifications"], seen.doorbells)
                for queue in group["queues"]:
                    self.assertEqual(queue["notifications"], seen.of_queue.get(queue["queue"], 0))
                if poll == "off":
                    self.assertEqual(group["interrupts"], seen.claims)
                    # The driver's watch reads a register now and then, behind the first interrupt and before the group, too.
                    self.assertIn(seen.accesses - group["mmio_accesses"], (0, 1))
                else:  # the first interrupt may come late, and so may the last, behind the figures
                    self.assertLessEqual(abs(seen.claims - group["interrupts"]), queues + 1)
                    self.assertLessEqual(abs(seen.accesses - group["mmio_accesses"]), 5 * (queues + 1))
                for name in ("notifications", "interrupts", "mmio_accesses"):
                    self.assertAlmostEqual(group[f"{name}_per_io"], group[name] / group["total_ios"], 5)

    def test_times_hold_together(self) -> None:
        """Latencies add up to the time of all requests in flight (Little's law), and the time is what the host sees pass."""
        job = ["--rw=randread", "--bs=4k", "--iodepth=4", "--runtime=1", "--time_based", "--disk=null:64M", "--harts=1"]
        began = time.monotonic()
        report = self.bench(*job, "--append=floor=off")
        took = time.monotonic() - began
        read, group = report["jobs"][0]["read"], report["inflight"]["groups"][0]
        in_flight = read["clat_ns"]["mean"] * read["total_ios"] / group["elapsed_ns"]
        self.assertTrue(2 < in_flight <= 4.01, in_flight)
        self.assertTrue(1 <= group["elapsed_ns"] / 1e9 <= took, (group["elapsed_ns"], took))
        self.assertAlmostEqual(read["iops"] * read["runtime"] / 1000 / read["total_ios"], 1, 2)
        self.assertAlmostEqual(read["bw_bytes"] / 4096 / read["iops"], 1, 2)

    def test_block_is_trimmed_before_it_is_written(self) -> None:
        job = ["--rw=trimwrite", "--bs=4k", "--size=1m", "--iodepth=8"]
        machine = ["--disk=null:64M", "--device=discard=on", "--harts=1", "--queues=1", "--append=floor=off"]
        report = self.bench(*job, *machine, *self.tracing())
        seen = self.traced()
        self.assertEqual([report["jobs"][0][kind]["total_ios"] for kind in KINDS], [0, 256, 256])
        self.assertEqual((seen.requests["write"], seen.others), (256, 256))
        for sector, trimmed in seen.writes_after:
            self.assertGreaterEqual(trimmed, sector // 8 + 1)

    def test_all_that_trimwrite_wrote_is_verified(self) -> None:
        job = ["--rw=trimwrite", "--bs=4k", "--size=1m", "--iodepth=8", "--verify=crc32c"]
        report = self.bench(*job, "--disk=8M", "--device=discard=on", "--append=floor=off")
        self.assertEqual([report["jobs"][0][kind]["total_ios"] for kind in KINDS], [256, 256, 256])

    def test_iops_counts_what_qemu_sees(self) -> None:
        """One depth; the bare path and the floor do as many requests again."""
        for harts, queues in ((1, 1), (2, 2), (3, 2), (2, 4)):
            with self.subTest(harts=harts, queues=queues):
                words = ["iops", "--disk=null:64M", f"--harts={harts}", f"--queues={queues}", "--append=ios=2500 depth=8 poll=off"]
                guest = self.start(*words, *self.tracing()).report["guest"]
                seen = self.traced()
                row = guest["rows"][0]
                driven = sum(queue["requests"] for queue in guest["queues"]) - 1  # the first read
                self.assertEqual(row["ios"], 2500)
                self.assertEqual(driven, 2 * 2500)
                floor = seen.requests["read"] - driven
                # A hart without a queue leaves its part of the floor out.
                self.assertGreaterEqual(floor, 2500 if harts <= queues else 1)
                self.assertEqual(seen.completed, seen.requests["read"])
                self.assertLessEqual(sum(queue["notifications"] for queue in guest["queues"]) - 1, seen.doorbells)
                self.assertTrue(0 < row["notifications"] <= seen.doorbells)
                self.assertTrue(0 < row["interrupts"] <= seen.claims)
                self.assertNotIn("instructions", row)

    def test_digest_counts_what_qemu_sees(self) -> None:
        image = Image("image", (1 << 20) + 512 * 3).make(self.directory)
        blocks = ["--device=logical_block_size=4096", "--device=physical_block_size=4096"]
        for harts, queues, size, device, readable in (
            (1, 1, 512, [], 2051 * 512), (2, 2, 512, [], 2051 * 512), (4, 3, 12288, [], 2051 * 512),
            (1, 1, 4096, blocks, 1 << 20), (3, 4, 8192, blocks, 1 << 20),
        ):  # fmt: skip
            with self.subTest(harts=harts, queues=queues, size=size):
                words = [f"--disk={image}", f"--harts={harts}", f"--queues={queues}", f"--append=bs={size}", *device]
                outcome = self.start("digest", *words, "--device=request-merging=off", *self.tracing())
                said = "\n".join(outcome.lines)
                self.assertRegex(said, rf" IOPS of {f'{size // 1024} KiB' if size % 1024 == 0 else f'{size} bytes'}, depth 128, ")
                self.assertIn("digest: vda matches the host (cksum", said)
                self.assertEqual("without the last 1536 bytes" in said, bool(device))
                disk = outcome.report["guest"]["disks"][0]
                self.assertEqual(disk["bytes"], readable)
                requests = -(-readable // size)
                self.assertAlmostEqual(disk["iops"] * disk["seconds_e9"] / 1e9, requests, delta=2)
                counted = sum(queue["requests"] for queue in disk["queues"])
                seen = self.traced()
                self.assertEqual(counted, seen.from_the_start)
                self.assertGreaterEqual(counted, requests)
                self.assertLessEqual(counted, requests + 2)  # a serial number may have been asked for

    # ---- against a plugin ----

    def test_instructions_are_those_of_the_machine(self) -> None:
        """Of two runs, the longer one's surplus: a plugin counts the whole machine, from its first instruction on."""
        plugin = counts.plugin("qemu-system-riscv64", self.directory)
        counter = counts.Instructions(plugin, self.directory / "count")
        for harts, queues, depth in ((1, 1, 1), (2, 1, 4), (2, 2, 32), (4, 4, 8)):
            with self.subTest(harts=harts, queues=queues, depth=depth):
                seen = []
                for number in (500, 3500):
                    words = ["--disk=null:64M", f"--harts={harts}", f"--queues={queues}", "--icount"]
                    words += ["--append=floor=off poll=off", "--rw=randread", "--bs=4k", f"--iodepth={depth}"]
                    words += [f"--numjobs={harts}", f"--number_ios={number}", "--group_reporting"]
                    counter = counts.Instructions(plugin, self.directory / "count")
                    words += [word for argument in counter.arguments() for word in ("--qemu-arg", argument)]
                    group = self.bench(*words)["inflight"]["groups"][0]
                    seen.append((group["total_ios"], group["guest_instructions"], counter.so_far()))
                ios, guest, machine = (after - before for before, after in zip(*seen))
                self.assertEqual(ios, 3000 * harts)
                # Runs differ by how completions fall together.
                self.assertAlmostEqual(guest / machine, 1, delta=0.15, msg=f"{guest / ios:.1f} {machine / ios:.1f} an I/O")
                self.assertNotIn("guest_instructions", group["harts"][0])

    def test_iops_counts_instructions_of_the_machine_once(self) -> None:
        rows = []
        for harts in (1, 4):
            words = ["iops", "--disk=null:64M", f"--harts={harts}", "--queues=4", "--icount", "--append=ios=5000 depth=32 poll=off"]
            guest = self.start(*words).report["guest"]
            rows.append(guest["rows"][0]["instructions"] / guest["rows"][0]["ios"])
            self.assertEqual("read_cost_hundredths" in guest, harts == 1)
            self.assertEqual("floor_instructions" in guest["rows"][0], harts == 1)
        self.assertLess(rows[1], 2 * rows[0])

    def test_costs_are_those_of_the_first_hart(self) -> None:
        alone, beside = (self.start("costs", "--icount", f"--harts={harts}").report["guest"] for harts in (1, 4))
        self.assertEqual(beside, alone)

    # ---- a clock that steps back ----

    def test_clock_that_steps_back(self) -> None:
        """A snapshot that is loaded takes QEMU's clock back, below 0 even."""
        image = Image("image", 8 << 20, qcow2=True).make(self.directory)
        qmp = self.directory / "qmp"
        output = self.directory / "bench.json"
        words = ["bench", f"--disk={image}", "--harts=1", "--append=floor=off", "--rw=randread", "--bs=4k", "--iodepth=8"]
        words += ["--runtime=20", "--time_based", "--output-format=json", f"--output={output}"]
        words += ["--qemu-arg", "-qmp", "--qemu-arg", f"unix:{qmp},server=on,wait=off"]
        command = ["./run", *words, "--no-build", "--kernel", str(self.kernel)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "@progress" in line or "Jobs: 1" in line:
                    break
            time.sleep(2)
            with Monitor(qmp) as monitor:
                monitor.human("savevm one")
                time.sleep(1)
                monitor.human("loadvm one")
            said += process.communicate(timeout=40)[0]
        finally:
            process.kill()
            process.wait()
        self.assertRegex(said, r"job 'job' \(line \d+\): the clock stepped back by \d+ ms or more")
        self.assertEqual(process.returncode, 1, said)
        job = json.loads(output.read_text(encoding="utf-8"))
        self.assertNotRegex(json.dumps(job), r"\d{16}")
        group = job["inflight"]["groups"][0]
        self.assertEqual((group["elapsed_ns"], group["iops"], group["idle_share"]), (None, None, None))
        self.assertEqual((job["jobs"][0]["error"], job["jobs"][0]["read"]["iops"]), (34, 0))
        self.assertGreater(job["jobs"][0]["read"]["total_ios"], 0)


class Monitor:
    """QEMU's monitor, by QMP."""

    def __init__(self, place: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(place))
        self._file = self._socket.makefile("rw", encoding="utf-8")

    def __enter__(self) -> "Monitor":
        self._file.readline()
        self._ask("qmp_capabilities")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def human(self, line: str) -> None:
        """A command of the monitor for people, which has to say nothing."""
        answer = self._ask("human-monitor-command", **{"command-line": line})
        if answer != "":
            raise AssertionError(f"{line}: {answer}")

    def _ask(self, command: str, **arguments: str) -> Any:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline())
            if "event" not in answer:
                return answer["return"]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--all", action="store_true", help="every number of harts with every number of queues")
    parser.add_argument("tests", nargs="*", help="these only: Figures.test_…")
    given = parser.parse_args()
    Figures.kernel = given.kernel.resolve()
    Figures.scratch = given.scratch.resolve()
    Figures.all = given.all
    ended = unittest.main(argv=[sys.argv[0], "--verbose", *given.tests], exit=False).result
    return 0 if ended.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
