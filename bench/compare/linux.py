"""The Linux guest: assembled from the distribution's packages, and booted like our kernel."""

import json
import lzma
import math
import os
import re
import selectors
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cpio
import elf
import packages
import processes
from values import Refusal

SUITE = "trixie"
ARCHITECTURE = "riscv64"
WANTED = ("linux-image-riscv64", "fio", "busybox-static")
MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk")
HERE = Path(__file__).resolve().parent
COMPILER = "riscv64-linux-gnu-gcc"

# fio's arguments before the job file: they set what a job leaves open, so that both guests run the same file. Requests
# go in batches, because fio otherwise makes a system call for each, which took 2 to 3 times as long at depth 32.
FIO_DEFAULTS = (
    "--ioengine=io_uring",
    "--direct=1",
    "--thread=1",
    "--fixedbufs=1",
    "--registerfiles=1",
    "--iodepth_batch_submit=16",
    "--iodepth_batch_complete_min=1",
    "--iodepth_batch_complete_max=128",
    "--randrepeat=1",
    "--lat_percentiles=1",
    # fio 3.39 reports correct seeds and write numbers as wrong, with any engine and depth. Checksums are still checked.
    "--verify_header_seed=0",
    "--verify_write_sequence=0",
    "--filename=vda",
)
# Under /sys/block/vda/queue.
QUEUE_SETTINGS = {"scheduler": "none", "nomerges": "2", "rq_affinity": "2", "iostats": "0", "add_random": "0"}
BOOT_ARGUMENTS = "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off audit=0 rdinit=/init"


def fio_defaults(job_text: str) -> str:
    """FIO_DEFAULTS for this job file. With flushes, --fixedbufs is left out: fio's io_uring then leaves the number of a
    registered buffer in a flush, which Linux refuses."""
    flushes = re.search(r"^\s*f(data)?sync\s*=", job_text, re.MULTILINE) is not None
    return " ".join(word for word in FIO_DEFAULTS if not (flushes and word == "--fixedbufs=1"))


def settings(job_text: str) -> str:
    """All settings of Linux, in words."""
    queue = ", ".join(f"{key}={value}" for key, value in QUEUE_SETTINGS.items())
    return f"Linux: fio {fio_defaults(job_text)}; queue {queue}; booted with {BOOT_ARGUMENTS}"


def is_wanted(package: str) -> bool:
    """Whether the guest needs this package, among those that fio, the kernel and busybox depend on."""
    if package.startswith("libpython"):
        return False
    return package in ("fio", "busybox-static", "zlib1g") or re.match(r"lib|linux-image-[0-9]", package) is not None


@dataclass(frozen=True)
class Guest:
    """What is booted."""

    kernel: Path
    archive: Path  # the first file system, without the job
    release: str
    unpacked: int  # bytes of memory that the first file system takes

    @staticmethod
    def load(directory: Path) -> "Guest":
        """Loads the guest that was assembled in the directory."""
        said = json.loads((directory / "guest.json").read_text(encoding="utf-8"))
        return Guest(directory / "kernel", directory / "root.cpio", said["release"], said["unpacked"])


def guest(cache: Path, say: Callable[[str], None]) -> Guest:
    """The guest, from the cache if it is there."""

    def make(directory: Path) -> None:
        if shutil.which(COMPILER) is None:
            raise Refusal("assembling the Linux guest needs a compiler: install the package g++-riscv64-linux-gnu")
        say("fetching the packages of the Linux guest (about 160 MB, once)")
        repository = packages.Repository(directory, ARCHITECTURE, (SUITE,), knows_installed=False)
        repository.update()
        wanted = {name: version for name, version in repository.closure(WANTED).items() if is_wanted(name)}
        say(f"assembling the Linux guest from {len(wanted)} packages")
        _assemble(directory, repository.fetch(wanted))

    return Guest.load(packages.cached(cache / "-".join(("linux", SUITE, *MODULES)), make))


def _assemble(directory: Path, fetched: Sequence[Path]) -> None:
    root = directory / "unpacked"
    modules: dict[str, bytes] = {}
    builtin: set[str] = set()
    release = ""
    for package in fetched:
        if not package.name.startswith("linux-image-"):
            packages.unpack(package, root)
            continue
        # Only the kernel and some modules are read, because all modules take half a gigabyte.
        for name, contents in _files_of(package):
            if (found := re.search(r"/boot/vmlinu[xz]-(\S+)$", name)) is not None:
                release = found[1]
                (directory / "kernel").write_bytes(contents)
            elif name.endswith("/modules.builtin"):
                builtin = builtin_modules(contents.decode())
            elif (found := re.search(r"/([^/]+)\.ko(\.xz)?$", name)) is not None:
                modules[found[1].replace("-", "_")] = lzma.decompress(contents) if found[2] else contents
    if not release:
        raise Refusal("the kernel's package holds no /boot/vmlinux-…: its layout has changed")
    order = load_order(MODULES, {name: depends(image) for name, image in modules.items()}, builtin)
    entries = {f"modules/{index:02}-{name}.ko": cpio.file(modules[name]) for index, name in enumerate(order)}
    entries |= {name: cpio.directory() for name in ("dev", "proc", "sys", "tmp", "job")}
    entries["dev/console"] = cpio.character_device(5, 1)
    entries["bin/busybox"] = cpio.file(_find(root, "busybox"), executable=True)
    entries["bin/sh"] = cpio.Entry(0o120777, b"busybox")
    entries["bin/fio"] = cpio.file(_find(root, "fio"), executable=True)
    entries["bin/probe"] = cpio.file(_probe(directory), executable=True)
    for name, image in _libraries(root, entries["bin/fio"].contents).items():
        entries[f"lib/{name}"] = cpio.file(image, executable=True)
    (directory / "root.cpio").write_bytes(cpio.archive(entries))
    unpacked = sum(math.ceil(len(entry.contents) / 4096) * 4096 for entry in entries.values())
    description = {"release": release, "unpacked": unpacked, "packages": [package.name for package in fetched]}
    (directory / "guest.json").write_text(json.dumps(description, indent=2), encoding="utf-8")
    for done_with in ("unpacked", "packages", "apt"):
        shutil.rmtree(directory / done_with)


def _files_of(package: Path) -> "list[tuple[str, bytes]]":
    wanted = re.compile(
        r"\./boot/vmlinu[xz]-|\./(usr/)?lib/modules/[^/]+/(kernel/drivers/(virtio|block)/[^/]+\.ko|modules\.builtin$)"
    )
    found = []
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpacking:
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            for member in archive:
                if member.isfile() and wanted.match(member.name):
                    contents = archive.extractfile(member)
                    assert contents is not None
                    found.append((member.name, contents.read()))
    if unpacking.returncode != 0:
        raise Refusal(f"{package} cannot be unpacked")
    return found


def depends(module: bytes) -> list[str]:
    """The modules that a module says it needs."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [] if match is None or not match[1] else match[1].decode().replace("-", "_").split(",")


def builtin_modules(text: str) -> set[str]:
    """The modules that are part of the kernel, from its list modules.builtin."""
    return {Path(line).stem.replace("-", "_") for line in text.split()}


def load_order(
    wanted: Sequence[str], needs: Mapping[str, Sequence[str]], builtin: Collection[str] = ()
) -> list[str]:  # fmt: skip
    """The wanted modules and their dependencies, each after those that it needs, without those that the kernel has anyway."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name in builtin:
            return
        if name not in needs:
            raise Refusal(f"the kernel's package holds no module {name}")
        for needed in needs[name]:
            add(needed)
        order.append(name)

    for name in wanted:
        add(name)
    return order


def _probe(directory: Path) -> bytes:
    made = directory / "probe"
    flags = ["-march=rv64gc", "-mabi=lp64d", "-nostdlib", "-static", "-s", "-Wl,--build-id=none"]
    command = [COMPILER, *flags, "-o", str(made), str(HERE / "probe.S")]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if ended.returncode != 0:
        raise Refusal(f"bench/compare/probe.S cannot be assembled: {' '.join(ended.stderr.split())}")
    return made.read_bytes()


def _find(root: Path, name: str) -> bytes:
    for folder, _, files in os.walk(root):
        if name in files and Path(folder).name in ("bin", "sbin"):
            return (Path(folder) / name).read_bytes()
    raise Refusal(f"the packages hold no program {name}")


def _libraries(root: Path, program: bytes) -> dict[str, bytes]:
    """The shared libraries that the program needs, directly or not, by name."""
    places: dict[str, Path] = {}
    for folder, _, files in os.walk(root / "usr" / "lib"):
        for name in files:
            if ".so" in name:
                places.setdefault(name, Path(folder) / name)
    found: dict[str, bytes] = {}
    waiting = elf.needed(program)
    while waiting:
        name = Path(waiting.pop()).name
        if name in found:
            continue
        if name not in places:
            raise Refusal(f"the packages hold no {name}, which fio needs")
        found[name] = places[name].read_bytes()  # follows symbolic links
        waiting += elf.needed(found[name])
    return found


def command(ours: Sequence[str], guest_: Guest, initrd: Path, memory: str | None) -> list[str]:
    """QEMU's command for the Linux guest: ours, as `./run --dry-run` prints it, with another system to boot."""
    words = list(ours)
    for option, value in (("-kernel", str(guest_.kernel)), ("-append", BOOT_ARGUMENTS), ("-m", memory)):
        if value is not None:
            words[words.index(option) + 1] = value
    return [*words, "-initrd", str(initrd)]


def initrd(guest_: Guest, place: Path, script: str, jobs: Mapping[str, str]) -> Path:
    """Writes the initial file system, with a script to run and job files."""
    entries = {f"job/{name}": cpio.file(text.encode()) for name, text in jobs.items()}
    entries["job/settings"] = cpio.file("".join(f"{key} {value}\n" for key, value in QUEUE_SETTINGS.items()).encode())
    entries["init"] = cpio.file((HERE / "init.sh").read_bytes(), executable=True)
    entries["job/run"] = cpio.file(script.encode())
    made = place / "linux.cpio"
    with open(made, "wb") as file, open(guest_.archive, "rb") as base:
        shutil.copyfileobj(base, file)
        file.write(cpio.archive(entries))
    return made


@dataclass(frozen=True)
class Mark:
    """A mark that the guest printed: a name, and the clocks that `probe` read."""

    name: str
    uptime_ns: int
    ticks: int  # of the time CSR, since the machine was switched on


@dataclass
class Said:
    """The parsed output of the guest."""

    marks: list[Mark]
    texts: dict[str, list[str]]

    def mark(self, name: str) -> Mark:
        """The mark of this name."""
        for mark in self.marks:
            if mark.name == name:
                return mark
        raise Refusal(f"the Linux guest did not reach '{name}'")

    def fio(self, name: str) -> dict[str, Any]:
        """fio's JSON under this name."""
        return parse_fio("\n".join(self.texts.get(name, [])))


def parse_fio(text: str) -> dict[str, Any]:
    """Parses fio's JSON, which other output may precede."""
    begin = text.find("{")
    try:
        value = json.loads(text[begin:]) if begin >= 0 else None
    except ValueError:
        value = None
    if not isinstance(value, dict) or not value.get("jobs"):
        raise Refusal(f"fio did not do its jobs: {' '.join(text.split())[:300] or 'it said nothing'}")
    return value


def parse_said(lines: Sequence[str]) -> Said:
    """Parses the protocol of init.sh: `@mark NAME NUMBERS`, and texts between `@begin NAME` and `@end`."""
    said = Said([], {})
    text: list[str] | None = None
    for line in lines:
        words = line.split()
        if words[:1] == ["@mark"] and len(words) == 4:
            said.marks.append(Mark(words[1], *(int(word, 16) for word in words[2:])))
        elif words[:1] == ["@begin"] and len(words) == 2:
            text = said.texts.setdefault(words[1], [])
        elif words == ["@end"]:
            text = None
        elif text is not None:
            text.append(line)
    return said


def run(words: Sequence[str], timeout: float, at_mark: Callable[[str], None] | None = None) -> Said:
    """Boots the guest, and stops it after `timeout` seconds. Calls `at_mark` whenever the guest waits for the host."""
    lines: list[str] = []
    complaints = b""
    partial = b""
    pipe = subprocess.PIPE
    process = processes.start(words, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    end = time.monotonic() + timeout
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                if time.monotonic() > end:
                    last = lines[-1] if lines else ""
                    late = f"the Linux guest was not done after {timeout:g} s (its last line: '{last}'); see --timeout"
                    raise Refusal(late)
                for key, _ in selector.select(0.2):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        complaints += data
                    else:
                        *whole, partial = (partial + data).split(b"\n")
                        for raw in whole:
                            line = raw.decode("utf-8", errors="replace").rstrip("\r")
                            lines.append(line)
                            if at_mark is not None and line.startswith("@wait "):
                                at_mark(line.split()[1])
                                process.stdin.write(b"\n")
                                process.stdin.flush()
        status = process.wait()
    finally:
        processes.stop(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    if status != 0:
        complaint = " ".join(complaints.decode("utf-8", errors="replace").split())
        raise Refusal(f"the Linux guest ended with status {status}: {complaint or ' '.join(lines[-3:])}")
    said = parse_said(lines)
    if "failure" in said.texts:
        raise Refusal(f"the Linux guest: {' '.join(said.texts['failure'])}")
    return said
