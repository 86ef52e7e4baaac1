"""Tests of bench/compare-linux as far as they take no guest and no network: a few seconds."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bench" / "compare-linux"
sys.path[:0] = [str(ROOT / "bench" / "compare"), str(ROOT / "src" / "launcher")]

import counts  # noqa: E402 (the path is set above)
import cpio  # noqa: E402
import elf  # noqa: E402
import jobs  # noqa: E402
import linux  # noqa: E402
import measure  # noqa: E402
import packages  # noqa: E402
import table  # noqa: E402
from values import Refusal  # noqa: E402

JOB = """; a comment
[global]
filename=vda
bs=4k
time_based
runtime=3

[one]
rw=randread
iodepth=32
stonewall

[big]
bs=128k
rw=write
"""


def read_newc(data: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    """The entries of an archive, as the format is documented (Linux: driver-api/early-userspace/buffer-format)."""
    found = []
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        body = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found.append((name, mode, data[body : body + size], (fields[9], fields[10])))
        at = (body + size + 3) // 4 * 4


class Cpio(unittest.TestCase):
    """The first file system."""

    ENTRIES = {
        "init": cpio.file(b"#!/bin/sh\n", executable=True),
        "lib/deep/er/x.so": cpio.file(b"abc"),
        "dev/console": cpio.character_device(5, 1),
        "empty": cpio.file(b""),
        "tmp": cpio.directory(),
    }

    def test_what_is_in_it(self) -> None:
        made = cpio.archive(self.ENTRIES)
        entries = read_newc(made)
        names = [name for name, _, _, _ in entries]
        for name in names:  # a directory comes before what is in it
            if "/" in name:
                self.assertLess(names.index(name.rpartition("/")[0]), names.index(name))
        by_name = {name: rest for name, *rest in entries}
        self.assertEqual(by_name.keys(), {*self.ENTRIES, "lib", "lib/deep", "lib/deep/er", "dev"})
        self.assertEqual(by_name["init"], [stat.S_IFREG | 0o755, b"#!/bin/sh\n", (0, 0)])
        self.assertEqual(by_name["lib/deep/er/x.so"], [stat.S_IFREG | 0o644, b"abc", (0, 0)])
        self.assertEqual(by_name["dev/console"], [stat.S_IFCHR | 0o600, b"", (5, 1)])
        self.assertEqual(by_name["lib"][0], stat.S_IFDIR | 0o755)
        self.assertEqual(len(made) % 512, 0)

    @unittest.skipIf(shutil.which("cpio") is None, "there is no cpio here")
    def test_cpio_agrees(self) -> None:
        made = cpio.archive(self.ENTRIES)
        listed = subprocess.run(["cpio", "-t"], input=made, capture_output=True, check=True).stdout
        self.assertEqual(set(listed.decode().split()), {*self.ENTRIES, "lib", "lib/deep", "lib/deep/er", "dev"})


class Packages(unittest.TestCase):
    """Where packages come from, and which are taken."""

    def test_sources(self) -> None:
        one_line = "# deb http://a/x bookworm main\n"
        one_line += "deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib\n"
        found = list(packages.parse_sources(one_line + "deb-src http://m/debian bookworm main\n"))
        expected = packages.Source("http://m/debian", "bookworm", ("main", "contrib"), (("Signed-By", "/k.gpg"),))
        self.assertEqual(found, [expected])
        deb822 = (
            "Types: deb deb-src\n# a comment\nURIs: http://m/debian\nSuites: bookworm bookworm-updates\n"
            "Components: main\n"
            "Signed-By:\n -----BEGIN\n .\n xyz\n\nTypes: deb-src\nURIs: http://n\nSuites: bookworm\n\n"
            "Types: deb\nEnabled: no\nURIs: http://o\nSuites: bookworm\nComponents: main\n"
        )
        found = list(packages.parse_sources(deb822))
        self.assertEqual([(source.uri, source.suite) for source in found],
                         [("http://m/debian", "bookworm"), ("http://m/debian", "bookworm-updates")])  # fmt: skip
        again = list(packages.parse_sources(found[0].deb822("riscv64")))
        self.assertEqual(again, [found[0]])
        self.assertIn("Architectures: riscv64\n", found[0].deb822("riscv64"))

    def test_choice(self) -> None:
        listed = (
            "'http://m/pool/login.defs_1%3a4.17_all.deb' login.defs_1%3a4.17.4-2_all.deb 186124 MD5Sum:1\n"
            "'http://m/pool/libc6_2.41_riscv64.deb' libc6_2.41-12_riscv64.deb 100 \n"
            "'http://m/pool/l/libstdc%2b%2b6_14_riscv64.deb' libstdc++6_14.2.0-19_riscv64.deb 100 \nReading\n"
        )
        expected = {"login.defs": "1:4.17.4-2", "libc6": "2.41-12", "libstdc++6": "14.2.0-19"}
        self.assertEqual(packages.parse_uris(listed), expected)
        for name in ("fio", "busybox-static", "libc6", "zlib1g", "librados2", "linux-image-6.12.107+deb13-riscv64"):
            self.assertTrue(linux.is_wanted(name), name)
        for name in ("linux-image-riscv64", "python3", "libpython3.13-stdlib", "udev", "adduser"):
            self.assertFalse(linux.is_wanted(name), name)

    def test_complaints(self) -> None:
        said = "W: GPG error: http://m trixie InRelease: NO_PUBKEY 6ED0E7B82643E131\nE: The repository is not signed.\n"
        self.assertRegex(packages.apt_complaint(said), r"NO_PUBKEY.*debian-archive-keyring is older than the suite")
        self.assertEqual(packages.apt_complaint("E: Failed to fetch x\nE: more\n"), "Failed to fetch x")

    def test_half_done_is_done_again(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory) / "made"

            def fail(half: Path) -> None:
                (half / "a").write_text("half")
                raise Refusal("no network")

            with self.assertRaises(Refusal):
                packages.cached(place, fail)
            self.assertFalse(place.exists())
            packages.cached(place, lambda half: (half / "b").touch())
            self.assertEqual([path.name for path in packages.cached(place, fail).iterdir()], ["b"])


class Guest(unittest.TestCase):
    """What the Linux guest is made of, and what it says."""

    def test_modules(self) -> None:
        needs = {"blk": ["ring", "core"], "ring": ["core"], "core": [], "mmio": []}
        self.assertEqual(linux.load_order(("mmio", "blk"), needs), ["mmio", "core", "ring", "blk"])
        with self.assertRaises(Refusal):
            linux.load_order(("other",), needs)
        builtin = linux.builtin_modules("kernel/drivers/core/core.ko\nkernel/drivers/other-one.ko\n")
        self.assertEqual(linux.load_order(("mmio", "blk", "other_one"), needs, builtin), ["mmio", "ring", "blk"])
        self.assertEqual(linux.depends(b"x\0depends=virtio-ring,core\0name=blk\0"), ["virtio_ring", "core"])
        self.assertEqual(linux.depends(b"x\0depends=\0name=blk\0"), [])

    def test_libraries(self) -> None:
        python = Path(sys.executable).resolve().read_bytes()
        if struct.unpack_from("<B", python, 4)[0] != 2:
            self.skipTest("this Python is no program of 64 bits")
        listed = subprocess.run(["readelf", "-dl", str(Path(sys.executable).resolve())], capture_output=True, text=True)
        for name in elf.needed(python):
            self.assertIn(name, listed.stdout)
        self.assertEqual(listed.stdout.count("(NEEDED)") + listed.stdout.count("Requesting"), len(elf.needed(python)))

    def test_command(self) -> None:
        ours = ["qemu", "-machine", "virt", "-m", "256M", "-kernel", "x.elf", "-append", "program=x", "-smp", "1"]
        guest = linux.Guest(Path("/k"), Path("/r"), "6", 0)
        theirs = linux.command(ours, guest, Path("/i"), None)
        changed = [(a, b) for a, b in zip(ours, theirs) if a != b]
        self.assertEqual(changed, [("x.elf", "/k"), ("program=x", linux.BOOT_ARGUMENTS)])
        self.assertEqual(theirs[len(ours) :], ["-initrd", "/i"])
        self.assertEqual(linux.command(ours, guest, Path("/i"), "1G")[4], "1G")

    def test_protocol(self) -> None:
        said = linux.parse_said(["noise", "@mark a 10 ff", "@begin fio", "{", '"jobs": [1]}', "@end", "noise"])
        self.assertEqual((said.mark("a").uptime_ns, said.mark("a").ticks), (16, 255))
        self.assertEqual(said.fio("fio"), {"jobs": [1]})
        with self.assertRaisesRegex(Refusal, "did not reach 'b'"):
            said.mark("b")
        with self.assertRaisesRegex(Refusal, "fio did not do its jobs: fio: bad option"):
            linux.parse_fio("fio: bad option")

    def test_interrupts(self) -> None:
        lines = ["           CPU0       CPU1", " 14:     145655         5  SiFive PLIC   8 Edge      virtio0",
                 " 12:         24         0  SiFive PLIC  10 Edge      ttyS0"]  # fmt: skip
        self.assertEqual(measure.disk_interrupts(lines), 145660)
        by_message = [" 15:          1         0  PCI-MSIX-0000:00:01.0   0 Edge      virtio0-config",
                      " 16:       6982         2  PCI-MSIX-0000:00:01.0   1 Edge      virtio0-req.0"]  # fmt: skip
        self.assertEqual(measure.disk_interrupts(by_message), 6985)

    def test_a_guest_that_hangs_is_ended(self) -> None:
        with self.assertRaisesRegex(Refusal, "was not done after 0.5 s .its last line: 'here'"):
            linux.run(["sh", "-c", "echo here; exec sleep 60"], 0.5)
        with self.assertRaisesRegex(Refusal, "ended with status 3: broken"):
            linux.run(["sh", "-c", "echo broken >&2; exit 3"], 20)
        with self.assertRaisesRegex(Refusal, "the Linux guest: no disk"):
            linux.run(["sh", "-c", "echo @begin failure; echo no disk; echo @end"], 20)

    def test_marks_wait_for_the_host(self) -> None:
        seen: list[str] = []
        said = linux.run(["sh", "-c", "echo @wait a; read x; echo @mark b 1 2; echo @wait c; read x"], 20, seen.append)
        self.assertEqual((seen, [mark.name for mark in said.marks]), (["a", "c"], ["b"]))


class Jobs(unittest.TestCase):
    """Job files."""

    def test_reading(self) -> None:
        read = jobs.parse(JOB, "x.fio")
        self.assertEqual(list(read.jobs), ["one", "big"])
        self.assertEqual((read.kind("one"), read.depth("one"), read.block_size("one")), ("randread", 32, 4096))
        self.assertEqual((read.kind("big"), read.depth("big"), read.block_size("big")), ("write", 1, 131072))
        self.assertTrue(read.writes())
        self.assertFalse(jobs.parse("[a]\nrw=randread\n", "x").writes())

    def test_one_alone(self) -> None:
        alone = jobs.parse(JOB, "x").alone("one", 500)
        self.assertEqual(alone, "[one]\nfilename=vda\nbs=4k\nrw=randread\niodepth=32\nnumber_ios=500\n")

    def test_refusals(self) -> None:
        for text in ("", "[global]\nbs=4k\n", "bs=4k\n[a]\n", "[a]\n[global]\n", "[a]\n[a]\n", "[a;b]\n"):
            with self.subTest(text=text), self.assertRaises(Refusal):
                jobs.parse(text, "x")

    def test_ours(self) -> None:
        ours = jobs.parse((ROOT / "bench" / "jobs" / "compare.fio").read_text(encoding="utf-8"), "compare.fio")
        self.assertEqual([ours.depth(job) for job in ours.jobs][:3], [1, 32, 128])


class Counts(unittest.TestCase):
    """What is read off QEMU's trace."""

    LINES = [
        "memory_region_ops_write cpu 0 mr 0x55 addr 0x10008050 value 0x0 size 4 name 'virtio-mmio'",
        "memory_region_ops_read cpu 0 mr 0x55 addr 0xc201004 value 0x8 size 4 name 'riscv.sifive.plic'",
        "memory_region_ops_read cpu 0 mr 0x55 addr 0x10008060 value 0x1 size 4 name 'virtio-mmio'",
        "memory_region_ops_write cpu 0 mr 0x55 addr 0x10008064 value 0x1 size 4 name 'virtio-mmio'",
        "memory_region_ops_write cpu 0 mr 0x55 addr 0xc201004 value 0x8 size 4 name 'riscv.sifive.plic'",
        "memory_region_ops_read cpu 0 mr 0x55 addr 0xc201004 value 0x0 size 4 name 'riscv.sifive.plic'",
        "memory_region_ops_read cpu 0 mr 0x55 addr 0xc201004 value 0xa size 4 name 'riscv.sifive.plic'",
        "memory_region_ops_write cpu 0 mr 0x55 addr 0x10000000 value 0x2 size 1 name 'serial'",
        "something else",
    ]

    def test_accesses(self) -> None:
        self.assertEqual(counts.accesses(self.LINES), counts.Accesses(7, doorbells=1, claims=1))

    def test_accesses_on_pci(self) -> None:
        lines = [
            "memory_region_ops_write cpu 0 mr 0x55 addr 0x400003000 value 0x0 size 2 name 'virtio-pci-notify-virtio-blk'",
            "memory_region_ops_read cpu 0 mr 0x55 addr 0xc201004 value 0x21 size 4 name 'riscv.sifive.plic'",
            "memory_region_ops_read cpu 0 mr 0x55 addr 0x400001000 value 0x1 size 1 name 'virtio-pci-isr-virtio-blk'",
            "memory_region_ops_write cpu 0 mr 0x55 addr 0xc201004 value 0x21 size 4 name 'riscv.sifive.plic'",
        ]
        self.assertEqual(counts.accesses(lines), counts.Accesses(4, doorbells=1, claims=1))

    def test_file_that_grows(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "trace"
            file.write_text("\n".join(self.LINES) + "\n", encoding="utf-8")
            trace = counts.Trace(file, iothread=False)
            first = trace.so_far()
            with open(file, "a", encoding="utf-8") as more:
                more.write(self.LINES[0] + "\n")
            self.assertEqual(trace.so_far().since(first), counts.Accesses(1, 1, 0))

    def test_per_request(self) -> None:
        counted = measure.per_request(counts.Accesses(10000, 5000, 2500), 5000, 600000, 4000)
        self.assertEqual(counted, measure.Counted(150.0, 2.0, 1.0, 0.5))
        with self.assertRaises(Refusal):
            measure.per_request(counts.Accesses(), 0, 1, 1)

    def test_difference_below_0(self) -> None:
        """Adaptive polling leaves few interrupts, and the longer run can see fewer of them: that is no number of interrupts."""
        accesses = counts.Accesses(900, 800, 5).since(counts.Accesses(100, 100, 9))
        counted = measure.per_request(accesses, 100, -1, 100)
        self.assertEqual(counted, measure.Counted(None, 8.0, 7.0, None))
        rows = measure.rows(jobs.parse("[one]\nrw=randread\n", "x"), [canned(1)], [], {"one": counted}, {}, {}, False)
        cells = {row.measure: table.render([row]).splitlines()[2].split("|")[3].strip() for row in rows}
        self.assertEqual([cells[name + " per I/O"] for name in ("instructions", "notifications", "interrupts")], ["-", "7.00", "-"])


def canned(iops: float) -> dict[str, Any]:
    """What our kernel writes of a job file."""
    percentiles = {"50.000000": 10000, "99.000000": 40000}
    read = {"iops": iops, "total_ios": 1000, "clat_ns": {"percentile": percentiles}}
    inflight = {"boot_to_first_read_ns": 4200000, "memory_kib": 2048}
    return {"jobs": [{"jobname": "one", "read": read, "write": {"iops": 0, "total_ios": 0}}], "inflight": inflight}


class Table(unittest.TestCase):
    """The table."""

    def test_latency_with_the_submission(self) -> None:
        job = canned(1)["jobs"][0]
        self.assertEqual(table.latency_of(job, "50.000000"), 10)
        job["read"]["lat_ns"] = {"percentile": {"50.000000": 30000}}
        self.assertEqual(table.latency_of(job, "50.000000"), 30)
        self.assertIsNone(table.latency_of(job, "12.000000") or table.latency_of({"read": {}}, "50.000000"))

    def test_rows(self) -> None:
        job_file = jobs.parse("[one]\nrw=randread\n", "x")
        linux_runs = [measure.LinuxRun(canned(iops), 2 * 10**9, 3 * 10**9, 102400, 5) for iops in (100, 300, 200)]
        ours = [canned(iops) for iops in (1000, 4000, 2000)]
        counted = {"one": measure.Counted(150.0, 2.0, 1.0, 0.5)}, {"one": measure.Counted(15000.0, 7.0, 1.0, 1.0)}
        rows = measure.rows(job_file, ours, linux_runs, *counted, {"one": 9000.0}, False)
        text = table.render(rows)
        self.assertEqual(len({len(line) for line in text.splitlines()}), 1)
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
        self.assertEqual(cells[2], ["one", "IOPS", "2,000 (1,000 - 4,000)", "200 (100 - 300)", "10.0", "9,000"])
        by_measure = {row[1]: row for row in cells}
        self.assertEqual(by_measure["instructions per I/O"][2:5], ["150", "15,000", "0.0100"])
        self.assertEqual(by_measure["notifications per I/O"][2:5], ["1.00", "1.00", "1.00"])
        unseen = measure.rows(job_file, ours, linux_runs, *counted, {}, True)
        self.assertEqual({row.measure for row in rows} - {row.measure for row in unseen}, {"notifications per I/O"})
        self.assertEqual(by_measure["boot to first I/O, ms"][0], "all")
        self.assertEqual(by_measure["memory, MiB"][2:4], ["2.00 (2.00 - 2.00)", "100 (100 - 100)"])

    def test_one_side_only(self) -> None:
        text = table.render([table.Row("one", "IOPS", [], [5.0])])
        self.assertIn("|    - |        5.00 |            - |", text)


class Script(unittest.TestCase):
    """The whole, with a stub in the place of ./run."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="inflight-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        (self.directory / "job.fio").write_text("[one]\nrw=randread\nruntime=1\n", encoding="utf-8")

    def compare(self, stub: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        run = self.directory / "run"
        run.write_text(f"#!{sys.executable}\nimport sys, pathlib\n{stub}\n", encoding="utf-8")
        run.chmod(0o755)
        command = [sys.executable, str(SCRIPT), str(self.directory / "job.fio"), "--run", str(run), "--only", "ours"]
        command += ["--no-counts", "--qemu", str(ROOT / "tests" / "launcher" / "stub_qemu.py"), "--repeat", "2"]
        command += arguments
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    def test_ours(self) -> None:
        (self.directory / "canned.json").write_text(json.dumps(canned(2500)), encoding="utf-8")
        stub = (
            f"given = {str(self.directory / 'given')!r}\n"
            "if '--dry-run' in sys.argv: print('qemu -kernel x'); sys.exit()\n"
            "pathlib.Path(given).write_text('\\n'.join(sys.argv[1:]))\n"
            "output = pathlib.Path(sys.argv[sys.argv.index('--output') + 1])\n"
            f"output.write_text(pathlib.Path({str(self.directory / 'canned.json')!r}).read_text())\n"
        )
        result = self.directory / "table.json"
        ended = self.compare(stub, "--harts", "2", "--queues", "2", "--append", "poll=off", "--json", str(result))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(ended.stdout, r"\| one +\| IOPS +\| +2,500 \(2,500 - 2,500\) \| +- \| +- \| +[0-9,]+ \|")
        given = (self.directory / "given").read_text(encoding="utf-8").split("\n")
        self.assertEqual(given[0], "bench")
        for words in (["--harts", "2"], ["--append", "poll=off"], ["--output-format=json"], ["--queues", "2"]):
            self.assertIn("\n".join(words), "\n".join(given))
        rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
        self.assertEqual(rows[0]["ours"], [2500, 2500])

    def test_failures_are_one_line(self) -> None:
        fine = "if '--dry-run' in sys.argv: print('qemu'); sys.exit()\n"
        table_of = [
            ("print('run: no such transport', file=sys.stderr); sys.exit(2)", [], "no such transport"),
            (fine + "print('run: unknown'); sys.exit(2)", [], "./run bench ended with status 2: unknown"),
            (fine, [], "./run bench wrote no JSON with jobs in it"),
            (
                fine + "import time; time.sleep(60)",
                ["--timeout", "0.5"],
                "./run bench was not done after 0.5 s; see --timeout",
            ),
            (fine, ["--disk", "64M"], "--disk 64M: both need the same disk: give null:SIZE, or an image that exists"),
            (fine, ["--repeat", "0"], "--repeat: give a whole number of 1 or more"),
        ]
        for stub, arguments, said in table_of:
            with self.subTest(said=said):
                ended = self.compare(stub, *arguments)
                last = ended.stderr.strip().splitlines()[-1]
                self.assertEqual((ended.returncode, ended.stdout, last), (2, "", f"compare-linux: {said}"))

    def test_disk_of_the_user(self) -> None:
        (self.directory / "job.fio").write_text("[one]\nrw=randwrite\n", encoding="utf-8")
        image = self.directory / "image"
        image.write_bytes(bytes(4096))
        ended = self.compare("", "--disk", str(image))
        self.assertIn("the jobs would overwrite it; give null:SIZE, or add --destroy", ended.stderr)


class Scaling(unittest.TestCase):
    """bench/scaling, without a guest."""

    def test_refusals(self) -> None:
        stub = Path(__file__).resolve().parent / "stub_qemu.py"
        for arguments, message in (
            (["--harts", "1"], "--harts: '1' is wrong"),
            (["--transport", "isa"], "--transport: 'isa' is unknown; give mmio or pci"),
            (["--poll", "always"], "--poll: 'always' is unknown; give adaptive or off"),
            (["--iothreads", "3"], "3 threads have only 2 of a disk's queues"),
            ([], "--iothreads: QEMU before 9.0 cannot serve a disk from several threads"),
        ):
            with self.subTest(arguments=arguments):
                words = [sys.executable, "-B", str(ROOT / "bench" / "scaling"), "--qemu", str(stub), *arguments]
                ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
                self.assertEqual((ended.returncode, ended.stdout), (2, ""))
                self.assertIn(message, ended.stderr)

    def test_table(self) -> None:
        loader = importlib.machinery.SourceFileLoader("scaling", str(ROOT / "bench" / "scaling"))
        specification = importlib.util.spec_from_loader("scaling", loader)
        assert specification is not None
        scaling = importlib.util.module_from_spec(specification)
        with unittest.mock.patch("sys.dont_write_bytecode", True):
            loader.exec_module(scaling)
        runs = [{"transport": "pci", "who": "poll=off", "one": one, "all": 2.0 * one, "ratio": 2.0, "asleep": 50.0}
                for one in (100.0, 300.0, 200.0)]  # fmt: skip
        runs.append({"transport": "pci", "who": "Linux", "one": 40.0, "all": 50.0})
        with contextlib.redirect_stdout(io.StringIO()) as told:
            scaling.show(runs, 2)
        self.assertEqual(told.getvalue().splitlines()[2:], [
            "| pci | poll=off | 200 (100 - 300) | 400 (200 - 600) | 2.00 (2.00 - 2.00) | 50 % | 8.00 |",
            "| pci | Linux | 40.0 | 50.0 | 1.25 | - | - |",
        ])  # fmt: skip


if __name__ == "__main__":
    unittest.main()
