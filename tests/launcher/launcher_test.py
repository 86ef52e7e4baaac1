"""Tests of the launcher, with a stub in QEMU's place: no kernel, no guest, a few seconds."""

import contextlib
import fcntl
import io
import json
import os
import random
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LAUNCHER = ROOT / "src" / "launcher"
STUB = HERE / "stub_qemu.py"
sys.path.insert(0, str(LAUNCHER))

import console  # noqa: E402 (the path is set above)
import launch  # noqa: E402
import trace_check  # noqa: E402
import trace_json  # noqa: E402
import verify_image  # noqa: E402

PASS = ["say", '@result {"program": "info"}\n']
URI = 'json:{"driver":"null-co","size":65536}'
GOLDEN = 0x9E3779B97F4A7C15


def posix_cksum(data: bytes) -> int:
    """The CRC of POSIX cksum, bit by bit: the polynomial 0x04C11DB7 over the data and its length, complemented."""
    length = len(data)
    tail = length.to_bytes((length.bit_length() + 7) // 8, "little")
    crc = 0
    for byte in data + tail:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if crc >> 31 else crc << 1
    return crc ^ 0xFFFFFFFF


def splitmix64(word: int) -> int:
    """The finaliser of splitmix64, one word at a time."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return word ^ (word >> 31)


def guest_block(seed: int, block: int, generation: int) -> bytes:
    """A block as the guest is to write it, word by word."""
    key = seed ^ block ^ (generation << 32)
    data = bytearray(b"inflight" + struct.pack("<QQLL", seed, block, generation, 0))
    for word in range(507):
        data += splitmix64((key + word * GOLDEN) % 2**64).to_bytes(8, "little")
    data += bytes(4)
    return bytes(data) + zlib.crc32(data).to_bytes(4, "little")


def guest_image(seed: int, blocks: int, discard: bool = True, write_zeroes: bool = True) -> bytearray:
    """An image as a right guest leaves it. Every other discarded block lost its contents."""
    image = bytearray()
    discarded = 0
    for block in range(blocks):
        kind = splitmix64((seed + block * GOLDEN) % 2**64) % 8
        generation = {0: 2, 3: 3 if discard else 1}.get(kind, 1)
        zero = kind == 1 and write_zeroes
        if kind == 2 and discard:
            discarded += 1
            zero = discarded % 2 == 0
        image += bytes(4096) if zero else guest_block(seed, block, generation)
    return image


def blocks_of_kind(seed: int, blocks: int, kinds: set[int]) -> list[int]:
    """The blocks whose fate is one of `kinds`."""
    return [block for block in range(blocks) if splitmix64((seed + block * GOLDEN) % 2**64) % 8 in kinds]


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def comes_true(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Waits for the condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class LauncherTest(unittest.TestCase):
    """A directory of its own for each test, and a kernel that is never booted."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="inflight-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.kernel = self.file("kernel.elf", b"not booted")
        self.pid_file = self.directory / "pid"

    def file(self, name: str, contents: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(contents)
        return path

    def start(
        self, *arguments: str, steps: list[list[Any]] | None = None, stdin: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[str]":
        own = [] if "--qemu" in arguments else ["--qemu", str(STUB)]
        play = json.dumps(steps or [PASS, ["exit", 0]])
        return subprocess.Popen(
            [sys.executable, str(LAUNCHER / "launch.py"), *own, "--kernel", str(self.kernel), *arguments],
            env=os.environ | {"INFLIGHT_STUB_STEPS": play, "INFLIGHT_STUB_PID": str(self.pid_file)},
            cwd=self.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def launch(self, *arguments: str, steps: list[list[Any]] | None = None) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments, steps=steps)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def launch_here(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """As launch, in this process: fast, for what starts nothing."""
        own = [] if "--qemu" in arguments else ["--qemu", str(STUB)]
        out, err, argv, directory = io.StringIO(), io.StringIO(), sys.argv, os.getcwd()
        sys.argv = ["launch.py", *own, "--kernel", str(self.kernel), *arguments]
        os.chdir(self.directory)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = launch.main()
        finally:
            sys.argv = argv
            os.chdir(directory)
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    def stub_pid(self) -> int:
        started = comes_true(lambda: self.pid_file.exists() and self.pid_file.read_text(encoding="utf-8") != "")
        self.assertTrue(started, "the stub did not start")
        return int(self.pid_file.read_text(encoding="utf-8"))


class BadInput(LauncherTest):
    """Every wrong option, value or file is refused in one line that says what is right."""

    def test_refusals(self) -> None:
        self.file("empty", b"")
        self.file("odd", bytes(1000))
        self.file("precious", bytes(8192))
        self.file("truncated.qcow2", b"QFI\xfb\0\0\0\3" + bytes(1016))
        (self.directory / "folder").mkdir()
        os.mkfifo(self.directory / "pipe")
        nine_disks = ["--disk", "1M"] * 9
        table: list[tuple[list[str], str]] = [
            (["bogus"], "unknown program 'bogus'; the programs are demo, info, digest, verify, iops"),
            (["info", "extra"], "one too many"),
            (["--quiet"], "unknown option --quiet"),
            (["--dept", "3"], "did you mean --depth?"),
            (["--depth"], "expected one argument"),
            (["--depth", "0"], "--depth: '0' is wrong; give a whole number of 1 or more"),
            (["--depth", "-3"], "--depth"),
            (["--depth", "many"], "give a whole number"),
            (["--queues", "0"], "from 1 to 1024"),
            (["--queues", "1025"], "from 1 to 1024"),
            (["--queue-size", "2"], "a power of two from 4 to 1024"),
            (["--queue-size", "100"], "a power of two from 4 to 1024"),
            (["--queue-size", "2048"], "a power of two from 4 to 1024"),
            (["--harts", "0"], "from 1 to 64"),
            (["--harts", "65"], "from 1 to 64"),
            (["--memory", "lots"], "--memory: 'lots' is not a size; a size is a number with K, M, G or T"),
            (["--memory", "1M"], "give 32M or more"),
            (["--memory", "33000K"], "in whole M"),
            (["--transport", "usb"], "the transports are mmio, mmio-legacy, pci, pci-legacy"),
            (["--timeout", "0"], "give a number of seconds above 0"),
            (["--timeout", "soon"], "give a number of seconds above 0"),
            (["--device", "event_idx"], "not of the form key=value"),
            (["--device", "=on"], "not of the form key=value"),
            (["--device", "drive=vdz"], "name the disk with --disk"),
            (["--device", "serial=x"], "serial= belongs to ./run"),
            (["--device", "no_such=1"], "has no 'no_such'"),
            (["--append", "poll"], "'poll' is not of the form key=value"),
            (["--append", "poll=off =3"], "not of the form key=value"),
            (["--append", "program=info"], "the program is named without it"),
            (["verify", "--append", "seed=x"], "give a whole number below 2^64"),
            (["verify", "--append", "seed=18446744073709551616"], "give a whole number below 2^64"),
            (["--disk", "nothere.img"], "there is no such file"),
            (["--disk", "64Q"], "a size is written like 64M"),
            (["--disk", "empty"], "the file is empty"),
            (["--disk", "odd"], "1000 bytes are not a multiple of 512; truncate -s 1024 would mend it"),
            (["--disk", "folder"], "this is a directory"),
            (["--disk", "pipe"], "neither a file nor a block device"),
            (["--disk", "truncated.qcow2"], "QEMU cannot open it"),
            (["--disk", "nope://host/disk"], "QEMU cannot open it (Could not open 'nope://host/disk'"),
            (["--disk", "700"], "700 bytes are not a multiple of 512"),
            (["--disk", "0"], "an empty disk"),
            (["--disk", "9999999999T"], "more than QEMU can address"),
            (["--disk", "null:"], "'' is not a size"),
            (["--disk", "null:1X"], "'1X' is not a size"),
            (["--disk", "null:513"], "not a multiple of 512"),
            (nine_disks, "9 disks are too many; the machine has 8 slots"),
            ([*nine_disks[:-2], "--log", "log"], "8 disks take all slots of the machine, and the log needs one"),
            (["--log", "folder"], "'folder' cannot be written"),
            (["--disk", "precious", "--log", "precious"], "'precious' is the image of --disk precious"),
            (["verify", "--disk", "precious"], "would overwrite it"),
            (["verify", "--disk", "nbd://127.0.0.1:1/x"], "would overwrite it"),
            *(([name, "--disk", "precious"], f"{name} would overwrite it") for name in ("soak", "durable", "requests")),
            (["iops", "--disk", "precious", "--append", "rw=randwrite"], "would overwrite it"),
            (["verify", "--disk", "1M", "--read-only"], "leave --read-only out"),
            (["verify", "--disk", "null:1M"], "a disk that keeps what is written"),
            (["soak", "--disk", "null:1M"], "soak needs a disk that keeps what is written"),
            (["verify", "--disk", "3K"], "a disk of 4096 bytes or more"),
            (["--interrupts", "clic"], "'clic' is unknown; give plic, aplic or imsic"),
            (["--qemu-arg", "-machine", "--qemu-arg", "usb=off,aia=aplic-imsic"],
             "'aia=aplic-imsic' contradicts --interrupts plic; give --interrupts imsic"),
            (["--interrupts", "imsic", "--qemu-arg", "-M", "--qemu-arg", "aia=none"],
             "'aia=none' contradicts --interrupts imsic; give --interrupts plic"),
            (["--qemu-arg", "-M", "--qemu-arg", "aia=x"], "'aia=x' contradicts --interrupts plic; leave it out"),
            (["--iothread"], "QEMU before 8.1 cannot serve these disks from a thread; give a newer one"),
            (["--iothreads", "2"], "2 threads have only 1 of a disk's queues to serve; give --queues 2"),
            (["--iothreads", "0", "--queues", "2"], "--iothreads: '0' is wrong"),
            (["--iothreads", "2", "--queues", "2", "--iothread"], "--iothread is one thread for all disks"),
            (["--iothreads", "2", "--queues", "2"], "QEMU before 9.0 cannot serve a disk from several threads; give a newer one"),
            (["--disk", "vhost-user:1M", "--icount"], "the clock of --icount does not wait for another process"),
            (["--disk", "vhost-user:1M", "--iothread"], "--iothread is for disks that QEMU serves"),
            (["--disk", "vhost-user:1M", "--iothreads", "1"], "--iothreads is for disks that QEMU serves"),
            (["--disk", "vhost-user:1M", "--transport", "pci-legacy"], "serves no legacy driver; give --transport pci"),
            (["--disk", "vhost-user:nbd://h/x"], "give a file, a size, null:SIZE, or the socket of a process"),
            (["--disk", "vhost-user:vhost-user:1M"], "give a file, a size, null:SIZE, or the socket of a process"),
            (["--disk", "vhost-user:absent"], "there is no such file"),
            (["verify", "--disk", "vhost-user:precious"], "would overwrite it"),
            (["--qemu", "./no-qemu"], "there is no program './no-qemu'; give the path of a program"),
            (["--qemu", "no-qemu"], "install the package qemu-system-misc"),
            (["--json", "folder"], "'folder' cannot be written"),
            (["--json", "nowhere/result.json"], "name a file in a directory that exists"),
            (["--kernel", "no.elf"], "there is no kernel no.elf"),
            (["--compiler", "icc"], "'icc' is unknown; the compilers are gcc and clang"),
            (["--compiler", "clang"], "--kernel names a kernel that is built already"),
            (["--compiler", "clang", "--trace", "trace.json"], "the kernel with the trace is built by gcc"),
            (["--disk", "precious", "--json", "precious"], "'precious' is the image of --disk precious"),
            (["--disk", "precious", "--trace", "./precious"], "is the image of --disk precious"),
        ]
        for arguments, message in table:
            with self.subTest(arguments=shlex.join(arguments)):
                ended = self.launch_here(*arguments)
                self.assertIn(message, ended.stderr)
                self.assertRegex(ended.stderr, r"\Arun: [^\n]+\n\Z")
                self.assertEqual((ended.returncode, ended.stdout), (2, ""))
                self.assertFalse(self.pid_file.exists(), "QEMU was started all the same")
        self.assertEqual((self.directory / "precious").read_bytes(), bytes(8192))

    @unittest.skipIf(os.geteuid() == 0, "root may read and write everything")
    def test_permissions(self) -> None:
        image = self.file("image", bytes(512))
        image.chmod(0)
        self.assertIn("may not be read", self.launch("--disk", "image").stderr)
        image.chmod(0o400)
        self.assertIn("add --read-only", self.launch("--disk", "image").stderr)
        self.assertEqual(self.launch("info", "--disk", "image", "--read-only").returncode, 0)


class CommandLine(LauncherTest):
    """What QEMU is told, by option."""

    def command(self, *arguments: str) -> list[str]:
        ended = self.launch_here("--dry-run", *arguments)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertFalse(self.pid_file.exists())
        return shlex.split(ended.stdout)

    def value(self, option: str, *arguments: str) -> str:
        words = self.command(*arguments)
        self.assertEqual(words.count(option), 1, f"{option} in {words}")
        return words[words.index(option) + 1]

    def test_machine(self) -> None:
        words = self.command("info")
        for option in (["-machine", "virt"], ["-bios", "default"], ["-serial", "stdio"], ["-monitor", "none"]):
            self.assertIn(" ".join(option), " ".join(words))
        self.assertEqual(words[0], str(STUB))
        self.assertEqual(self.value("-kernel", "info"), str(self.kernel))
        self.assertNotIn("-device", words)
        self.assertEqual(self.value("-smp", "--harts", "3"), "3")
        self.assertEqual(self.value("-smp"), "1,maxcpus=2")  # else QEMU before 8.1 leaves out the guest's fences
        self.assertEqual(self.value("-m", "--memory", "1024M"), "1G")
        self.assertEqual(self.value("-icount", "--icount"), "shift=0,sleep=off")
        self.assertNotIn("-icount", words)

    def test_interrupts(self) -> None:
        self.assertEqual(self.value("-machine", "info"), "virt")
        self.assertEqual(self.value("-machine", "info", "--interrupts", "plic", "--harts", "2"), "virt,aclint=on")
        self.assertEqual(self.value("-machine", "info", "--interrupts", "aplic"), "virt,aia=aplic")
        imsic = ("info", "--interrupts", "imsic")
        self.assertEqual(self.value("-machine", *imsic, "--harts", "2"), "virt,aclint=on,aia=aplic-imsic")
        # The same twice is no contradiction.
        words = self.command(*imsic, "--qemu-arg", "-machine", "--qemu-arg", "aia=aplic-imsic,aia-guests=1")
        self.assertEqual(words.count("-machine"), 2)

    def test_transport(self) -> None:
        self.assertEqual(self.value("-global", "info"), "virtio-mmio.force-legacy=false")
        self.assertNotIn("-global", self.command("info", "--transport", "mmio-legacy"))
        for transport, name in (
            ("mmio", "virtio-blk-device,drive"),
            ("mmio-legacy", "virtio-blk-device,drive"),
            ("pci", "virtio-blk-pci,disable-legacy=on,disable-modern=off,drive"),
            ("pci-legacy", "virtio-blk-pci,disable-legacy=off,disable-modern=on,drive"),
        ):
            self.assertIn(f"{name}=vda", self.value("-device", "info", "--disk=1M", "--transport", transport))
        # With a clock that counts instructions, notifications are served where they are written.
        self.assertIn(",ioeventfd=off", self.value("-device", "info", "--disk=1M", "--transport=pci", "--icount"))
        self.assertNotIn("ioeventfd", self.value("-device", "info", "--disk=1M", "--transport=pci"))

    def test_boot_arguments(self) -> None:
        self.assertEqual(self.value("-append", "info"), "program=info")
        self.assertEqual(self.value("-append", "digest"), "program=digest depth=128")
        self.assertEqual(self.value("-append", "iops"), "program=iops")
        self.assertEqual(self.value("-append", "info", "--queue-size", "64"), "program=info queue_size=64")
        self.assertEqual(self.value("-append", "iops", "--depth", "7"), "program=iops depth=7")
        self.assertEqual(self.value("-append", "info", "--icount"), "program=info icount=1")
        self.assertEqual(
            self.value("-append", "verify", "--append", "seed=9 poll=off", "--append", "bs=512"),
            "program=verify depth=128 seed=9 poll=off bs=512",
        )

    def test_disks(self) -> None:
        self.file("a,b.img", bytes(512))
        given = ["a,b.img", "null:1M", "nbd://h/x", "2M", URI]
        words = self.command("info", *(word for disk in given for word in ("--disk", disk)))
        text = "\n".join(words)
        self.assertIn("\ndriver=file,node-name=vda,discard=unmap,filename=a,,b.img\n", text)
        self.assertIn("\ndriver=null-co,node-name=vdb,size=1048576,read-zeroes=on\n", text)
        self.assertIn("\nif=none,id=vdc,format=raw,discard=unmap,file=nbd://h/x\n", text)
        self.assertRegex(text, r"\ndriver=file,node-name=vdd,discard=unmap,filename=\S*/build/disks/run/vdd.raw\n")
        self.assertIn("\nif=none,id=vde,discard=unmap,file=" + URI.replace(",", ",,") + "\n", text)
        devices = [word for word in words if word.startswith("virtio-blk-device")]
        token = devices[0].split(",")[2].removeprefix("serial=inflight0-")
        self.assertRegex(token, "^[0-9a-f]{8}$")
        self.assertEqual(
            devices,
            [f"virtio-blk-device,drive=vd{'abcde'[i]},serial=inflight{i}-{token},num-queues=1" for i in range(5)],
        )
        again = self.command("info", "--disk", "1M")
        self.assertFalse(any(token in word for word in again), "two runs, and one serial number")

    def test_format_is_probed(self) -> None:
        image = self.directory / "image"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
        self.assertEqual(
            self.value("-blockdev", "info", "--disk", "image"),
            "driver=qcow2,node-name=vda,discard=unmap,file.driver=file,file.filename=image",
        )

    def test_read_only(self) -> None:
        self.file("image", bytes(512))
        for disk, option in (("image", "-blockdev"), ("null:1M", "-blockdev"), ("nbd://h/x", "-drive")):
            self.assertIn(",read-only=on", self.value(option, "info", "--disk", disk, "--read-only"))
            self.assertNotIn("read-only", self.value(option, "info", "--disk", disk))

    def test_device(self) -> None:
        self.assertRegex(
            self.value("-device", "info", "--disk", "null:1M", "--queues", "4", "--queue-size", "64",
                       "--device", "event_idx=off", "--device", "bus=a,b"),
            r"\Avirtio-blk-device,drive=vda,serial=[0-9a-z-]{18},num-queues=4,queue-size=64,event_idx=off,bus=a,,b\Z",
        )

    def test_iothread(self) -> None:
        words = self.command("info", "--disk", "null:1M", "--disk", "null:2M", "--iothread", "--device", "event_idx=off")
        devices = [word for word in words if word.startswith("virtio-blk-device")]
        self.assertEqual([",iothread=io0,event_idx=off" in device for device in devices], [True, True])
        made = words.index("iothread,id=io0")
        self.assertEqual(words[made - 1], "-object")
        self.assertLess(made, words.index(devices[0]))
        self.assertNotIn("iothread", " ".join(self.command("info", "--disk", "null:1M")))

    def test_iothreads(self) -> None:
        words = self.command("info", "--disk", "null:1M", "--disk", "null:2M", "--queues", "2", "--iothreads", "2", "--qemu",
                             str(STUB), "--device", "event_idx=off", "--device", "bus=a,b")  # fmt: skip
        devices = [json.loads(word) for word in words if word.startswith("{")]
        self.assertEqual([device["driver"] for device in devices], ["virtio-blk-device"] * 2)
        self.assertEqual([device["drive"] for device in devices], ["vda", "vdb"])
        for device in devices:
            threads = [f"{device['drive']}-io{number}" for number in range(2)]
            self.assertEqual(device["iothread-vq-mapping"], [{"iothread": thread} for thread in threads])
            self.assertIs(device["event_idx"], False)
            self.assertEqual((device["num-queues"], device["bus"]), (2, "a,b"))
            for thread in threads:
                self.assertEqual(words[words.index(f"iothread,id={thread}") - 1], "-object")

    def test_vhost_user(self) -> None:
        self.file("image", bytes(512))
        with contextlib.redirect_stdout(io.StringIO()) as told:
            launch.launch(["info", "--dry-run", "--qemu", str(STUB), "--disk", "vhost-user:1M", "--disk",
                           f"vhost-user:{self.directory / 'image'}", "--disk", "1M", "--queues", "2"])  # fmt: skip
        *daemons, qemu = map(shlex.split, told.getvalue().splitlines())
        for name, words in zip(("vda", "vdb"), daemons, strict=True):
            export = words[words.index("--export") + 1]
            self.assertRegex(export, rf"\Atype=vhost-user-blk,id={name},node-name={name},.*,num-queues=2,writable=on\Z")
            place = re.search(r"addr\.path=([^,]*)", export)
            assert place is not None
            self.assertIn(f"socket,id={name},path={place[1]},reconnect=1", qemu)
            self.assertIn(f"vhost-user-blk,chardev={name},num-queues=2", qemu)
        self.assertIn("memory-backend-memfd,id=memory,size=256M,share=on", qemu)
        self.assertTrue(any(word.startswith("virtio-blk-device,drive=vdc,") for word in qemu))
        self.assertNotIn("memory-backend", " ".join(self.command("info", "--disk", "1M")))

    def test_vhost_user_daemon(self) -> None:
        """It runs as long as QEMU; whoever kills it is told of, and one that does not start is said so."""
        self.file("image", bytes(1 << 20))
        ended = self.launch("info", "--disk", "vhost-user:image")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.pid_file.unlink()
        process = self.start("info", "--disk", "vhost-user:image", steps=[["sleep", 2], PASS, ["exit", 0]])
        self.assertTrue(comes_true(self.pid_file.exists))
        children = [Path(f"/proc/{each}/comm") for each in
                    Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]  # fmt: skip
        daemon = next(each.parent.name for each in children if each.read_text().startswith("qemu-storage"))
        os.kill(int(daemon), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(err, "run: qemu-storage-daemon, which served vda, has ended (signal 9)\n")
        with open(self.file("short", bytes(512)), "r+b") as held:
            fcntl.lockf(held, fcntl.LOCK_EX)
            ended = self.launch("info", "--disk", "vhost-user:short")
        self.assertEqual(ended.returncode, 2)
        self.assertRegex(ended.stderr, r"\Arun: --disk vhost-user:short: qemu-storage-daemon does not serve it \(.*lock.*\)\n\Z")

    def test_vhost_user_socket(self) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.directory / "disk"))
            refused = self.launch("verify", "--disk", "vhost-user:disk")
            self.assertEqual(refused.returncode, 2)
            self.assertIn("verify would overwrite it", refused.stderr)
            said = '@result {"program": "digest", "disks": [{"name": "vda", "serial": "x", "cksum": 1, "bytes": 512}]}\n'
            ended = self.launch("digest", "--disk", "vhost-user:disk", steps=[["say", said], ["exit", 0]])
            self.assertEqual(ended.returncode, 1)
            self.assertIn("digest: vda is not checked: only its own process can read it, or ./run did not attach", ended.stdout)
            self.assertNotIn("MISMATCH", ended.stdout)

    def test_iothread_and_old_qemu(self) -> None:
        for version, status in (("7.2.22", 2), ("8.0.5", 2), ("8.1.0", 0), ("10.0.2", 0)):
            with self.subTest(version=version):
                answer = unittest.mock.patch("machine.version", lambda _: f"QEMU emulator version {version} (Debian)")
                with answer, unittest.mock.patch("launch.boot", lambda *_: 0):
                    several = self.launch_here("info", "--disk", "null:1M", "--queues", "2", "--iothreads", "2").returncode
                    self.assertEqual(several, 0 if version == "10.0.2" else 2)
                    self.assertEqual(self.launch_here("info", "--disk", "null:1M", "--iothread").returncode, status)
                    self.assertEqual(self.launch_here("info", "--disk", "null:1M").returncode, 0)

    def test_demo_brings_its_disks(self) -> None:
        words = self.command()
        self.assertTrue(any("node-name=vda" in word and word.endswith("/build/disks/demo.ext4") for word in words))
        self.assertTrue(any("null-co,node-name=vdb,size=1073741824" in word for word in words))

    def test_debugger_and_extra_arguments(self) -> None:
        self.assertIn("-S -gdb tcp:127.0.0.1:1234", " ".join(self.command("info", "--gdb")))
        words = self.command("info", "--qemu-arg", "-device", "--qemu-arg", "virtio-rng-device")
        self.assertEqual(words[-2:], ["-device", "virtio-rng-device"])

    def test_log_is_a_console_device_before_the_disks(self) -> None:
        words = self.command("info", "--disk", "null:1M", "--log", "a,b")
        start = words.index("file,id=log,path=a,,b") - 1
        self.assertEqual(words[start], "-chardev")
        self.assertEqual(
            words[start + 2 : start + 6], ["-device", "virtio-serial-device,max_ports=1", "-device", "virtconsole,chardev=log"]
        )
        self.assertLess(start, next(index for index, word in enumerate(words) if word.startswith("virtio-blk-device")))
        self.assertNotIn("virtio-serial", " ".join(self.command("info")))

    def test_writing_is_allowed_to_who_asks_for_it(self) -> None:
        self.file("image", bytes(8192))
        self.command("verify", "--disk", "image", "--destroy")
        self.command("iops", "--disk", "image", "--append", "rw=randread")

    def overwritten(self, *arguments: str) -> list[str]:
        """What the guest is told that it may write to, with 0, 1, … in place of the serial numbers of the disks."""
        words = self.command(*arguments)
        named = re.search(r" overwrite=(\S+)", words[words.index("-append") + 1])
        serials = re.findall(r"^virtio-blk-device,\S*?serial=([^,\n]*)", "\n".join(words), re.MULTILINE)
        places = {serial: str(index) for index, serial in enumerate(serials)}
        return [] if named is None else [places.get(each, each) for each in named[1].split(",")]

    def test_the_guest_is_told_what_it_may_write_to(self) -> None:
        self.file("image", bytes(8192))
        disks = ("--disk", "1M", "--disk", "image")
        self.assertEqual(self.overwritten("verify", *disks, "--destroy"), ["0", "1"])
        self.assertEqual(self.overwritten("verify", "--disk", "1M", "--append", "overwrite=a%2c,b"), ["0", "a%2c", "b"])
        self.assertEqual(self.overwritten("iops", *disks, "--append", "rw=randwrite", "--destroy"), ["0", "1"])
        self.assertEqual(self.overwritten("bench", "--rw=trim", "--disk", "1M"), ["0"])
        # A program that reads may write to nothing, whatever it does.
        for program in ("info", "digest", "iops", "demo"):
            self.assertEqual(self.overwritten(program, *disks), [])
        self.assertEqual(self.overwritten("bench", "--rw=read", *disks), [])
        self.assertEqual(self.overwritten("iops", *disks, "--append", "overwrite=a"), ["a"])
        # A disk that ./run did not attach is none of these.
        foreign = ("--qemu-arg", "-device", "--qemu-arg", "virtio-blk-device,drive=x,serial=x")
        self.assertEqual(self.overwritten("verify", "--disk", "1M", *foreign)[-1:], ["1"])


class Protocol(LauncherTest):
    """Lines, progress, results, exit status."""

    def test_lines_and_results(self) -> None:
        report = self.directory / "result.json"
        ended = self.launch(
            "info", "--json", str(report),
            steps=[
                ["say", "\nOpenSBI v1.1\n   ____\nBoot HART ID : 0\nBoot HART MEDELEG         : 0x1\n\n"],
                ["say", "inflight\r\nsplit "],
                ["sleep", 0.2],
                ["say", "line\n@progress 1 of 9\n@progress 2 of 9\n"],
                ["say", '@result {"program": "info", "disks": [{"name": "vda"}]}\n'],
                ["say", '@result {"program": "info", "disks": [{"name": "vdb"}], "answer": 42}\n'],
                ["complain", "a warning of QEMU"],
                ["say", "no newline"],
                ["exit", 0],
            ],
        )  # fmt: skip
        self.assertEqual(ended.stdout, "inflight\nsplit line\nno newline\n")
        # Not a terminal: a progress line every five seconds, so none in this short time.
        self.assertEqual(ended.stderr, "a warning of QEMU\n")
        self.assertEqual(ended.returncode, 0)
        written = json.loads(report.read_text(encoding="utf-8"))
        self.assertEqual(written["program"], "info")
        self.assertEqual(written["qemu"], "QEMU emulator version 0.0 (stub)")
        self.assertEqual(written["command"][0], str(STUB))
        self.assertEqual(written["exit_status"], 0)
        self.assertEqual(written["guest"]["disks"], [{"name": "vda"}, {"name": "vdb"}])
        self.assertEqual(written["guest"]["answer"], 42)
        self.assertEqual(len(written["results"]), 2)
        self.assertEqual(written["host"], {"checks": []})
        self.assertEqual([path.name for path in self.directory.iterdir() if "result" in path.name], ["result.json"])

    def test_results_of_several_programs(self) -> None:
        report = self.directory / "result.json"
        steps: list[list[Any]] = [PASS, ["say", '@result {"program": "iops", "table": [1]}\n'], ["exit", 0]]
        self.assertEqual(self.launch("info", "--json", str(report), steps=steps).returncode, 0)
        guest = json.loads(report.read_text(encoding="utf-8"))["guest"]
        self.assertEqual(guest, {"info": {"program": "info"}, "iops": {"program": "iops", "table": [1]}})

    def test_progress_elsewhere_comes_now_and_then(self) -> None:
        now = 100.0
        clock = unittest.mock.patch("console.time.monotonic", lambda: now)
        with contextlib.redirect_stderr(io.StringIO()) as shown, clock:
            line = console.ProgressLine()
            for step in range(12):
                line.show(f"after {step} s")
                now += 1
            line.clear()
        self.assertEqual(shown.getvalue(), "after 5 s\nafter 10 s\n")

    def test_progress_on_a_terminal(self) -> None:
        steps: list[list[Any]] = [["say", "@progress one\n@progress two\nlasting\n"], PASS, ["exit", 0]]
        environment = {"INFLIGHT_STUB_STEPS": json.dumps(steps), "INFLIGHT_STUB_PID": str(self.pid_file)}
        launcher = [sys.executable, str(LAUNCHER / "launch.py")]
        command = [*launcher, "info", "--qemu", str(STUB), "--kernel", str(self.kernel)]
        ours, theirs = os.openpty()
        process = subprocess.Popen(command, env=os.environ | environment, stdout=theirs, stderr=theirs, close_fds=True)
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # the other side is closed
            pass
        os.close(ours)
        self.assertEqual(process.wait(10), 0)
        self.assertEqual(shown, b"\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Klasting\r\n")

    def test_guest_failure_is_the_exit_status(self) -> None:
        report = self.directory / "result.json"
        ended = self.launch("info", "--json", str(report), steps=[["say", "panic: it broke\n"], ["exit", 7]])
        self.assertEqual((ended.returncode, ended.stdout), (7, "panic: it broke\n"))
        self.assertEqual(json.loads(report.read_text(encoding="utf-8"))["exit_status"], 7)

    def test_broken_result(self) -> None:
        for text in ('{"program": ', "[1]", "7"):
            ended = self.launch("info", steps=[["say", f"@result {text}\n"], ["exit", 0]])
            self.assertEqual(ended.returncode, 3)
            self.assertIn("run: the kernel reported a result that is no JSON object", ended.stderr)

    def test_no_result(self) -> None:
        ended = self.launch("info", steps=[["say", "hello\n"], ["exit", 0]])
        self.assertEqual((ended.returncode, ended.stderr), (3, "run: the kernel ended well but reported no result\n"))

    def test_banner_is_shown_if_the_kernel_never_speaks(self) -> None:
        ended = self.launch("info", steps=[["say", "OpenSBI v1.1\nBoot HART ID : 0\n"], ["exit", 5]])
        self.assertEqual((ended.returncode, ended.stdout), (5, "OpenSBI v1.1\nBoot HART ID : 0\n"))

    def test_backtrace_is_resolved(self) -> None:
        code = b'void deep(void) {\n    __asm__ volatile("nop");\n}\nvoid _start(void) { deep(); }\nint object[2] = {1, 2};\n'
        source = self.file("crash.c", code)
        flags = ["-g", "-O0", "-nostdlib", "-static", "-Wl,-Ttext=0x80200000"]
        compiler = ["riscv64-linux-gnu-gcc", *flags, str(source), "-o", str(self.kernel)]
        built = subprocess.run(compiler, capture_output=True)
        self.assertEqual(built.returncode, 0, built.stderr)
        symbols = subprocess.run(["riscv64-linux-gnu-nm", str(self.kernel)], capture_output=True, text=True).stdout
        address = re.search(r"^0*([0-9a-f]+) T deep$", symbols, re.MULTILINE)
        data = re.search(r"^0*([0-9a-f]+) D object$", symbols, re.MULTILINE)
        assert address is not None and data is not None
        inside = int(address[1], 16) + 2
        within = int(data[1], 16) + 7
        text = f"panic: x\n  pc {within:#x}\n  to {within:#x}\n  to {within + 1:#x}\n  at {inside:#x}\n  at 0x10\n"
        ended = self.launch("info", steps=[["say", text], ["exit", 1]])
        self.assertRegex(
            ended.stdout,
            r"  pc 0x[0-9a-f]+  object\n  to 0x[0-9a-f]+  object\n  to 0x[0-9a-f]+\n"
            r"  at 0x[0-9a-f]+  deep \(.*crash\.c:1\)\n  at 0x10\n",
        )

    def test_qemu_that_does_not_start(self) -> None:
        ended = self.launch("info", steps=[["complain", "qemu: no such bus"], ["exit", 9]])
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr, "qemu: no such bus\nrun: QEMU did not start (exit status 9)\n")

    def test_only_a_guest_that_asks_hears_standard_input(self) -> None:
        for program, heard in (("requests", "read 0 8\n"), ("info", "")):
            with self.subTest(program=program):
                process = self.start(program, steps=[PASS, ["echo"], ["exit", 0]], stdin=subprocess.PIPE)
                out, _ = process.communicate("read 0 8\n", timeout=60)
                self.assertEqual((process.returncode, out), (0, heard))


class Endings(LauncherTest):
    """However the launcher ends, QEMU ends with it."""

    def test_timeout(self) -> None:
        ended = self.launch("info", "--timeout", "0.5", steps=[["say", "almost\n"]])
        self.assertEqual(ended.returncode, 124)
        self.assertIn('run: no progress for 0.5 s: last output: "almost"; QEMU was killed\n', ended.stderr)
        self.assertFalse(is_running(self.stub_pid()))

    def test_timeout_in_the_reset_of_a_disk(self) -> None:
        reset, works = "note: vdb is being reset\n", "note: vdb works again\n"
        blocked = 'run: no progress for 0.5 s: QEMU has not ended the reset of vdb; last output: "note: vdb is being reset"'
        for said, expected in (
            (reset + works + reset, blocked),
            (reset + works, 'run: no progress for 0.5 s: last output: "note: vdb works again"'),
            (reset + "note: vdb is lost: x\n", 'run: no progress for 0.5 s: last output: "note: vdb is lost: x"'),
        ):
            with self.subTest(said=said):
                ended = self.launch("info", "--timeout", "0.5", steps=[["say", said]])
                self.assertEqual(ended.returncode, 124)
                self.assertIn(expected, ended.stderr)
                self.assertEqual("see whether the storage" in ended.stderr, expected is blocked)

    def test_timeout_of_a_qemu_that_ignores_the_request_to_end(self) -> None:
        ended = self.launch("info", "--timeout", "0.5", steps=[["deaf"], ["say", "stubborn\n"]])
        self.assertEqual(ended.returncode, 124)
        self.assertFalse(is_running(self.stub_pid()))

    def test_progress_puts_the_timeout_off(self) -> None:
        steps: list[list[Any]] = [["say", "@progress x\n"], ["sleep", 0.4]] * 4 + [PASS, ["exit", 0]]
        self.assertEqual(self.launch("info", "--timeout", "1", steps=steps).returncode, 0)

    def test_signals(self) -> None:
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)):
            with self.subTest(signal=number.name):
                self.pid_file.unlink(missing_ok=True)
                process = self.start("info", "--disk", "1M", steps=[["say", "here\n"]])
                assert process.stdout is not None and process.stderr is not None
                self.assertEqual(process.stdout.readline(), "here\n")
                process.send_signal(number)
                self.assertEqual(process.wait(10), status)
                self.assertTrue(comes_true(lambda: not is_running(self.stub_pid())))
                process.stdout.close()
                process.stderr.close()

    def test_the_next_run_deletes_what_a_killed_one_left(self) -> None:
        process = self.start("info", "--disk", "1M", steps=[["say", "here\n"]])
        assert process.stdout is not None and process.stderr is not None
        self.assertEqual(process.stdout.readline(), "here\n")
        command = Path(f"/proc/{self.stub_pid()}/cmdline").read_text(encoding="utf-8")
        image = re.search(r"node-name=vda[^\0]*filename=([^\0]+)", command)
        assert image is not None
        self.assertEqual(self.launch("info").returncode, 0)
        self.assertTrue(Path(image[1]).exists(), "deleted under the feet of a run")
        process.kill()
        process.communicate()
        self.assertTrue(Path(image[1]).exists())
        self.assertEqual(self.launch("info").returncode, 0)
        self.assertFalse(Path(image[1]).parent.exists())

    def test_reader_that_goes_away(self) -> None:
        process = self.start("info", steps=[["say", "here\n"], ["sleep", 0.3], ["say", "more\n"]])
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.wait(10), 1)
        self.assertEqual(process.stderr.read(), "")
        process.stderr.close()
        self.assertFalse(is_running(self.stub_pid()))

    def test_images_made_for_a_run_are_deleted_unless_kept(self) -> None:
        def image(json_name: str) -> Path:
            command = json.loads((self.directory / json_name).read_text(encoding="utf-8"))["command"]
            place = re.search(r"node-name=vda\S*filename=(\S+)", " ".join(command))
            assert place is not None
            return Path(place[1])

        self.assertEqual(self.launch("info", "--disk", "1M", "--json", "gone").returncode, 0)
        self.assertFalse(image("gone").parent.exists())
        ended = self.launch("info", "--disk", "1M", "--json", "kept", "--keep")
        kept = re.search(r"--disk 1M is kept as (\S+)", ended.stdout)
        assert kept is not None
        path = Path(kept[1])
        try:
            self.assertEqual(path.stat().st_size, 1 << 20)
            self.assertFalse(image("kept").parent.exists())
            # It is ours, so verify may overwrite it.
            self.assertEqual(self.launch("verify", "--dry-run", "--disk", str(path)).returncode, 0)
        finally:
            path.unlink()
            path.parent.rmdir()


class Digest(LauncherTest):
    """The guest's checksums against those of the host."""

    def run_digest(self, disk: str, crc: int, count: int, *more: str) -> "subprocess.CompletedProcess[str]":
        result = {"program": "digest", "disks": [{"name": "vda", "serial": "SERIAL0", "cksum": crc, "bytes": count}]}
        steps: list[list[Any]] = [["say", f"@result {json.dumps(result)}\n"], ["exit", 0]]
        return self.launch("digest", "--disk", disk, *more, steps=steps)

    def test_check_value(self) -> None:
        self.assertEqual(posix_cksum(b"123456789"), 930766865)  # the check value of POSIX cksum in the literature

    def test_raw_file(self) -> None:
        data = random.Random(1).randbytes(5120)
        self.file("image", data)
        crc = posix_cksum(data)
        ended = self.run_digest("image", crc, 5120, "--json", "result.json")
        self.assertEqual(ended.stdout, f"digest: vda matches the host (cksum {crc} 5120)\n")
        self.assertEqual(ended.returncode, 0)
        checks = json.loads((self.directory / "result.json").read_text(encoding="utf-8"))["host"]["checks"]
        self.assertEqual(checks, [{"check": "digest", "disk": "vda", "passed": True, "cksum": crc, "bytes": 5120}])
        for wrong in ((crc ^ 1, 5120), (crc, 5121)):
            ended = self.run_digest("image", *wrong)
            self.assertEqual(ended.returncode, 1)
            self.assertIn("digest: vda MISMATCH", ended.stdout)

    def test_zeroes_without_an_image(self) -> None:
        crc = posix_cksum(bytes(65536))
        self.assertEqual(self.run_digest("null:64K", crc, 65536).returncode, 0)
        self.assertEqual(self.run_digest("64K", crc, 65536).returncode, 0)
        self.assertEqual(self.run_digest("null:32K", crc, 65536).returncode, 1)

    def test_other_formats_are_read_through_qemu(self) -> None:
        data = random.Random(2).randbytes(65536)
        raw = self.file("raw", data)
        command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(self.directory / "image")]
        subprocess.run(command, check=True)
        self.assertEqual(self.run_digest("image", posix_cksum(data), 65536).returncode, 0)
        self.assertEqual(self.run_digest("image", posix_cksum(data) ^ 1, 65536).returncode, 1)
        uri = "json:" + json.dumps({"driver": "file", "filename": str(raw)})
        self.assertEqual(self.run_digest(uri, posix_cksum(data), 65536).returncode, 0)

    def test_server_that_is_gone(self) -> None:
        ended = self.run_digest("nbd://127.0.0.1:1/x", 0, 0)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("digest: vda is not checked: the host cannot read it", ended.stdout)

    def test_disk_that_the_guest_left_out(self) -> None:
        ended = self.run_digest("null:64K", posix_cksum(bytes(65536)), 65536, "--disk", "null:1M")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("digest: --disk null:1M MISMATCH: the guest reported no checksum of it", ended.stdout)


class WrongDisk(LauncherTest):
    """The guest's disks are known by serial number: names and order are those of its slots, some of which are not ours."""

    DATA = random.Random(4).randbytes(4096)

    def run_guest(
        self, program: str, disks: list[dict[str, Any]], *arguments: str, status: int = 0
    ) -> "subprocess.CompletedProcess[str]":
        said = f"@result {json.dumps({'program': program, 'disks': disks})}\n"
        steps: list[list[Any]] = [["say", said], ["exit", status]]
        return self.launch(program, *arguments, steps=steps)

    def right(self, name: str, serial: Any) -> dict[str, Any]:
        return {"name": name, "serial": serial, "cksum": posix_cksum(self.DATA), "bytes": len(self.DATA)}

    def test_a_disk_in_front_of_ours(self) -> None:
        self.file("image", self.DATA)
        report = self.directory / "r.json"
        foreign = {"name": "vda", "serial": "theirs\x1b[2J", "cksum": 1, "bytes": 512}
        ended = self.run_guest(
            "digest", [foreign, self.right("vdb", "SERIAL0")], "--disk", "image", "--json", str(report)
        )
        self.assertEqual(
            ended.stdout,
            f"digest: vdb matches the host (cksum {posix_cksum(self.DATA)} 4096)\n"
            "digest: vda is not checked: ./run did not attach it (its serial number is 'theirs\\x1b[2J')\n",
        )
        self.assertEqual(ended.returncode, 1)
        checks = json.loads(report.read_text(encoding="utf-8"))["host"]["checks"]
        self.assertEqual([(each["disk"], each["passed"]) for each in checks], [("vdb", True), ("vda", False)])

    def test_order_does_not_matter(self) -> None:
        self.file("image", self.DATA)
        zeroes = {"name": "vda", "serial": "SERIAL1", "cksum": posix_cksum(bytes(512)), "bytes": 512}
        disks = ("--disk", "image", "--disk", "512")
        self.assertEqual(self.run_guest("digest", [zeroes, self.right("vdb", "SERIAL0")], *disks).returncode, 0)
        self.assertEqual(self.run_guest("digest", [zeroes | {"serial": "SERIAL0"}, self.right("vdb", "SERIAL1")],
                                        *disks).returncode, 1)

    def test_what_cannot_be_told_apart_is_not_checked(self) -> None:
        self.file("image", self.DATA)
        for serials, reason in (
            (["SERIAL0", "SERIAL0"], "2 disks have the serial number"),
            ([None], "it does not report its serial number"),
            ([""], "its serial number is ''"),
            ([7], "it does not report its serial number"),
            (["inflight0"], "its serial number is 'inflight0'"),
            (["SERIAL0 "], "its serial number is 'inflight0-"),
        ):
            with self.subTest(serials=serials):
                disks = [self.right("vda", serial) for serial in serials]
                ended = self.run_guest("digest", disks, "--disk", "image")
                self.assertEqual(ended.returncode, 1)
                self.assertEqual(ended.stdout.count("digest: vda is not checked: "), len(serials))
                self.assertIn(reason, ended.stdout)
                self.assertNotIn("matches", ended.stdout)

    def test_verify_vouches_for_ours_alone(self) -> None:
        written = self.file("written", bytes(guest_image(1, 8)))
        fates = {"discard": True, "write_zeroes": True, "passed": True}
        for serial, status, said in (
            ("SERIAL0", 0, "verify: the host agrees: vdb, 8 blocks"),
            ("theirs", 1, "verify: vdb is not checked: ./run did not attach it"),
        ):
            result = {"program": "verify", "disks": [fates | {"name": "vdb", "serial": serial}]}
            play: list[list[Any]] = [["write", str(written)], ["say", f"@result {json.dumps(result)}\n"], ["exit", 0]]
            ended = self.launch("verify", "--disk", "32K", steps=play)
            self.assertEqual(ended.returncode, status)
            self.assertIn(said, ended.stdout)
            self.assertEqual("the host agrees" in ended.stdout, status == 0)
            self.assertEqual("--disk 32K FAILED: the guest reported nothing of it" in ended.stdout, status == 1)

    def test_a_guest_that_failed_is_checked_where_it_reports_no_fault(self) -> None:
        self.file("image", self.DATA)
        disks = ("--disk", "image", "--disk", "1M")
        ended = self.run_guest("digest", [self.right("vda", "SERIAL0")], *disks, status=1)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("vda matches the host", ended.stdout)
        self.assertNotIn("vdb", ended.stdout)
        fates = {"name": "vda", "serial": "SERIAL0", "discard": True, "write_zeroes": True}
        ended = self.run_guest("verify", [fates | {"passed": False}], "--disk", "32K", status=1)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""))

    def test_what_a_terminal_might_obey_is_shown_as_text(self) -> None:
        said = "before\x1b[2J\x9b1m\x07\ttab\u202eafter ä\n@progress \x1b]0;x\x07\n"
        ended = self.launch("info", steps=[["say", said], PASS, ["exit", 0]])
        self.assertEqual(ended.stdout, "before\\x1b[2J\\x9b1m\\x07\ttab\\u202eafter ä\n")
        ended = self.launch("info", "--timeout", "0.5", steps=[["say", "\x1b[2Jlast"]])
        self.assertIn('last output: "\\x1b[2Jlast";', ended.stderr)
        self.assertNotIn("\x1b", ended.stdout + ended.stderr)


class Trace(LauncherTest):
    """From the text of a trace to the picture of it, which trace_check.py looks at on its own."""

    # Ticks of 100 ns. Two requests of one coroutine's submission, notified together; the hart sleeps, is interrupted, and
    # resumes the coroutine. Another hart interrupts it, also in a handler, and takes a message.
    TEXT = """inflight on 2 harts
@trace hart 0 10000000 0 0
@trace main 0 64p ar1000 0x8020 as20001 0s6020001 at 14n20001 aq
@trace main 0 b4v ay 64z 0w ap au20001 0g1000 au6020001 ar1000 0l9000 at aq ak
@trace interrupts 0 118i20000 aj20000
@trace hart 1 10000000 7 0
@trace main 1 96p 1h0 1m1000 aq
@trace interrupts 1 98i20000 1h0 1j20000
@trace name 9000 the reader
@trace end
""".splitlines()

    def picture(self, lines: list[str]) -> list[dict[str, Any]]:
        made = trace_json.convert(trace_json.parse(lines))
        self.assertEqual(trace_check.complaints(json.loads(json.dumps(made))), [])
        events: list[dict[str, Any]] = made["traceEvents"]
        return events

    def test_golden(self) -> None:
        events = self.picture(self.TEXT)
        slices = {
            (event["tid"], event["name"], round(event["ts"] * 10), round((event["ts"] + event["dur"]) * 10))
            for event in events
            if event["ph"] == "X"
        }
        # In ticks since the first record. What shares a tick with others is spread over it.
        self.assertEqual(
            slices,
            {
                (0, "round", 0, 60), (0, "0x8020", 10, 30), (0, "idle", 80, 191), (0, "sleep", 90, 190),
                (0, "interrupt of disk 2", 180, 190), (0, "round", 200, 250), (0, "the reader", 230, 240),
                (1, "round", 50, 62), (1, "interrupt of disk 2", 52, 54),
            },
        )  # fmt: skip
        instants = [(event["tid"], event["name"]) for event in events if event["ph"] == "i"]
        self.assertEqual(
            instants,
            [(0, "notify disk 2 queue 1"), (1, "interrupt hart 0"), (1, "message"), (1, "interrupt hart 0"), (0, "counters")],
        )
        ways: dict[int, list[tuple[str, int]]] = {}
        for event in events:
            if event["ph"] in "stf":
                ways.setdefault(event["id"], []).append((event["ph"], int(event["ts"] * 10 + 1e-9)))
        first, second = sorted(ways.values())
        # submit, notify, interrupt, used, and the resumption for the one that made the coroutine ready
        self.assertEqual(second, [("s", 20), ("t", 50), ("t", 180), ("t", 210), ("f", 230)])
        self.assertEqual(first, [("s", 20), ("t", 50), ("t", 180), ("f", 220)])
        requests = [(event["ph"], event["pid"], event["name"], event["args"]) for event in events if event["ph"] in "be"]
        used = ("e", 102, "queue 1", {"outcome": "used"})
        begun = [("b", 102, "queue 1", {"slot": slot}) for slot in (0, 6)]
        self.assertEqual(requests, [*begun, used, used])

    def test_an_interrupt_between_a_used_element_and_what_it_makes_ready(self) -> None:
        changes = {"au20001 0g1000": "au20001 4g1000", "aj20000": "aj20000 15i20000 1h1 1j20000"}
        text = "\n".join(self.TEXT)
        for before, after in changes.items():
            self.assertEqual(text.count(before), 1)
            text = text.replace(before, after)
        events = self.picture(text.splitlines())
        (resumed,) = (event["ts"] for event in events if event["ph"] == "X" and event["name"] == "the reader")
        last = {event["id"]: event["ts"] for event in events if event["ph"] == "f"}
        self.assertEqual(len(last), 2)
        self.assertIn(resumed, last.values())

    def test_what_was_lost_is_left_out(self) -> None:
        """A ring that was overwritten begins anywhere: the ends of what it does not show, and requests of nowhere."""
        words = [word for line in self.TEXT if line.startswith("@trace main 0") for word in line.split()[3:]]
        for lost in range(len(words) + 1):
            lines = ["@trace hart 0 10000000 9 0", f"@trace main 0 {' '.join(words[lost:])}".rstrip(), *self.TEXT[4:]]
            with self.subTest(lost=lost):
                self.picture(lines)

    def test_random_histories(self) -> None:
        """Many requests on two harts that end in any order: each is shown once, and resumes who waits for it."""
        seed = random.SystemRandom().randrange(1 << 32)
        chance = random.Random(seed)
        lines = []
        requests = 0
        for hart in (0, 1):
            words = []
            flying: list[int] = []
            for _ in range(200):
                words.append(f"{chance.randrange(3):x}p")
                for slot in range(64):
                    if slot in flying and chance.random() < 0.3:
                        flying.remove(slot)
                        words += [f"{chance.randrange(2):x}u{slot << 24 | hart:x}", f"0g{0x1000 + slot:x}"]
                    elif slot not in flying and chance.random() < 0.1:
                        flying.append(slot)
                        words += [f"0r{0x1000 + slot:x}", "0x8020", f"{chance.randrange(3):x}s{slot << 24 | hart:x}", "0t"]
                        requests += 1
                words += [f"0n{hart:x}", "0q"]
            lines += [f"@trace hart {hart} 10000000 0 0"]
            lines += [f"@trace main {hart} " + " ".join(["5p", "0q"])]  # the first of a line counts from 0
            lines += [f"@trace main {hart} 10p 0q " + " ".join(words)]
        with self.subTest(seed=seed):
            events = self.picture([*lines, "@trace end"])
            self.assertEqual(sum(event["ph"] == "b" for event in events), requests)

    def test_the_check_sees_what_is_wrong(self) -> None:
        right = trace_json.convert(trace_json.parse(self.TEXT))
        events = right["traceEvents"]
        for index, event in enumerate(events):
            if event["ph"] in "besf":
                without = {"traceEvents": events[:index] + events[index + 1 :]}
                self.assertNotEqual(trace_check.complaints(without), [], event)
            if event["ph"] == "X" and event["name"] != "round" and event["name"] != "idle":
                longer = {"traceEvents": [*events[:index], event | {"dur": event["dur"] + 5}, *events[index + 1 :]]}
                self.assertNotEqual(trace_check.complaints(longer), [], event)
        self.assertNotEqual(trace_check.complaints({"traceEvents": events[::-1]}), [])

    def test_broken_text(self) -> None:
        for line in ("@trace main 0 64", "@trace main 7 64p", "@trace hart 0", "@trace what 0 64p", "@trace main 0 64ä"):
            with self.subTest(line=line), self.assertRaises(trace_json.BrokenTrace):
                trace_json.parse([self.TEXT[1], line, "@trace end"])
        with self.assertRaises(trace_json.BrokenTrace):
            trace_json.parse(self.TEXT[:-1])

    def test_script(self) -> None:
        command = [sys.executable, str(LAUNCHER / "trace_json.py")]
        text = "\n".join(self.TEXT)
        ended = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        self.assertEqual(json.loads(ended.stdout), trace_json.convert(trace_json.parse(self.TEXT)))
        self.assertEqual(subprocess.run(command, input="hello", capture_output=True, text=True).returncode, 1)

    def test_through_the_launcher(self) -> None:
        file = self.directory / "trace.json"
        steps: list[list[Any]] = [["say", "\r\n".join(self.TEXT) + "\r\n"], PASS, ["exit", 0]]
        ended = self.launch("info", "--trace", str(file), steps=steps)
        self.assertEqual((ended.returncode, ended.stdout), (0, "inflight on 2 harts\n"), ended.stderr)
        self.assertEqual(trace_check.complaints(json.loads(file.read_text(encoding="utf-8"))), [])
        file.unlink()
        ended = self.launch("info", "--trace", str(file))
        self.assertEqual((ended.returncode, ended.stderr), (3, "run: --trace: the trace has no end\n"))
        self.assertFalse(file.exists())
        self.assertEqual(self.launch("info", "--trace", str(self.directory / "no" / "file")).returncode, 2)

    def test_kernel_of_its_own(self) -> None:
        for arguments, directory in ((["--trace", "t.json"], "riscv64-trace"), ([], "riscv64")):
            command = [sys.executable, str(LAUNCHER / "launch.py"), "info", "--dry-run", *arguments]
            ended = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=True)
            self.assertIn(f"-kernel {ROOT}/build/{directory}/inflight.elf", ended.stdout)


class Verify(LauncherTest):
    """The host's own look at what the guest wrote."""

    BLOCKS = 96
    SEED = 0x1234567890ABCDEF

    def check(self, image: bytes, discard: bool = True, write_zeroes: bool = True) -> verify_image.Verdict:
        return verify_image.check(self.file("image", image), self.SEED, discard, write_zeroes)

    def assert_wrong(self, image: bytes, block: int, *said: str, wrong_blocks: int = 1) -> None:
        verdict = self.check(image)
        self.assertEqual(verdict.wrong_blocks, wrong_blocks)
        first = verdict.wrong[0]
        self.assertEqual(first.block, block)
        for text in (f"block {block} (sector {block * 8})", *said):
            self.assertIn(text, str(first))

    RIGHT = bytes(guest_image(SEED, BLOCKS))

    def image(self) -> bytearray:
        return bytearray(self.RIGHT)

    def of_kind(self, *kinds: int) -> list[int]:
        blocks = blocks_of_kind(self.SEED, self.BLOCKS, set(kinds))
        self.assertGreaterEqual(len(blocks), 2)
        return blocks

    def test_right_images(self) -> None:
        for discard in (False, True):
            for write_zeroes in (False, True):
                verdict = self.check(guest_image(self.SEED, self.BLOCKS, discard, write_zeroes), discard, write_zeroes)
                self.assertEqual((verdict.blocks, verdict.wrong_blocks), (self.BLOCKS, 0))

    def test_every_bit_counts(self) -> None:
        block = self.of_kind(4, 5, 6, 7)[1]
        source = random.Random(3)
        edges = [0, 8, 16, 24, 28, 31, 32, 4087, 4088, 4091, 4092, 4095]
        for offset in edges + [source.randrange(4096) for _ in range(20)]:
            image = self.image()
            image[block * 4096 + offset] ^= 1 << source.randrange(8)
            self.assert_wrong(image, block, "expected generation 1")

    def test_where_a_bit_is_wrong(self) -> None:
        block = self.of_kind(4, 5, 6, 7)[0]
        image = self.image()
        image[block * 4096 + 1000] ^= 0x10
        self.assert_wrong(image, block, "with a wrong byte 1000")

    def test_swapped_blocks(self) -> None:
        one, other = self.of_kind(4, 5, 6, 7)[:2]
        image = self.image()
        a, b = slice(one * 4096, one * 4096 + 4096), slice(other * 4096, other * 4096 + 4096)
        image[a], image[b] = image[b], image[a]
        self.assert_wrong(image, one, f"found block {other}, generation 1", wrong_blocks=2)

    def put(self, block: int, contents: bytes) -> bytearray:
        image = self.image()
        image[block * 4096 : block * 4096 + 4096] = contents
        return image

    def test_stale_generations(self) -> None:
        rewritten, discarded_and_rewritten = self.of_kind(0)[0], self.of_kind(3)[0]
        image = self.put(rewritten, guest_block(self.SEED, rewritten, 1))
        self.assert_wrong(image, rewritten, "expected generation 2, found generation 1")
        image = self.put(discarded_and_rewritten, guest_block(self.SEED, discarded_and_rewritten, 1))
        self.assert_wrong(image, discarded_and_rewritten, "expected generation 3, found generation 1")
        discarded = self.of_kind(2)[0]
        image = self.put(discarded, guest_block(self.SEED, discarded, 2))
        self.assert_wrong(image, discarded, "expected zeroes or generation 1, found generation 2")

    def test_zeroes(self) -> None:
        plain, zeroed = self.of_kind(4)[0], self.of_kind(1)[0]
        self.assert_wrong(self.put(plain, bytes(4096)), plain, "expected generation 1, found zeroes")
        image = self.put(zeroed, guest_block(self.SEED, zeroed, 1))
        self.assert_wrong(image, zeroed, "expected zeroes, found generation 1")

    def test_foreign_blocks(self) -> None:
        block = self.of_kind(4)[0]
        self.assert_wrong(self.put(block, guest_block(1, block, 1)), block, "the seed 1 instead of")
        self.assert_wrong(self.put(block, b"\xa5" * 4096), block, "no block of ours (it begins with a5 a5")

    def run_verify(self, image: bytes, result: dict[str, Any], *more: str) -> "subprocess.CompletedProcess[str]":
        written = self.file("written", image)
        steps: list[list[Any]] = [["write", str(written)], ["say", f"@result {json.dumps(result)}\n"], ["exit", 0]]
        return self.launch("verify", "--disk", str(len(image)), *more, steps=steps)

    def test_through_the_launcher(self) -> None:
        result = {"program": "verify", "disks": [{"name": "vda", "serial": "SERIAL0", "discard": True, "write_zeroes": True}]}
        image = guest_image(1, 8) + bytes(512)
        ended = self.run_verify(image, result)
        self.assertEqual(ended.returncode, 0, ended.stdout)
        self.assertIn("verify: the host agrees: vda, 8 blocks (seed 1, with discards and write-zeroes)\n", ended.stdout)
        self.assertEqual(self.run_verify(image, result, "--append", "seed=2").returncode, 1)
        self.assertEqual(self.run_verify(guest_image(2, 8), result, "--append", "seed=2").returncode, 0)

        image[7 * 4096 + 5] ^= 1
        ended = self.run_verify(image, result)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("vda FAILED: 1 of 8 blocks are wrong", ended.stdout)
        image[7 * 4096 + 5] ^= 1

        image[-1] = 1
        ended = self.run_verify(image, result)
        self.assertEqual((ended.returncode, "the tail after block 7 was written" in ended.stdout), (1, True))
        self.assertEqual(self.run_verify(bytes(8192), {"program": "verify"}).returncode, 1)

    def test_features_that_the_guest_says_of_all_disks(self) -> None:
        result = {"program": "verify", "discard": False, "write_zeroes": False, "disks": [{"name": "vda", "serial": "SERIAL0"}]}
        self.assertEqual(self.run_verify(bytes(guest_image(1, 16, False, False)), result).returncode, 0)

    def test_other_formats(self) -> None:
        raw = self.file("raw", bytes(guest_image(1, 16)))
        convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(self.directory / "image")]
        subprocess.run(convert, check=True)
        result = {"program": "verify", "discard": True, "write_zeroes": True, "disks": [{"name": "vda", "serial": "SERIAL0"}]}
        steps: list[list[Any]] = [["say", f"@result {json.dumps(result)}\n"], ["exit", 0]]
        ended = self.launch("verify", "--disk", "image", "--destroy", steps=steps)
        self.assertEqual(ended.returncode, 0, ended.stdout)


if __name__ == "__main__":
    unittest.main()
