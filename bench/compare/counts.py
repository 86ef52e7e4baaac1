"""Counts from outside a guest, with the same tools for our kernel and for Linux: accesses of its harts to devices by
QEMU's trace, and instructions by a plugin (instructions.c)."""

import re
import shutil
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from values import Refusal, parse_size

TRACE_EVENTS = "memory_region_ops_*"
_ACCESS = re.compile(r"memory_region_ops_(read|write) .* addr (0x[0-9a-f]+) value (0x[0-9a-f]+) .* name '([^']*)'")
# The disk, the interrupt controller, and the ACLINT, by which harts interrupt each other. The console is no part of an
# I/O.
_COUNTED = ("virtio-mmio", "virtio-pci-", "riscv.sifive.plic", "riscv.aclint")
_PLIC_CONTEXTS = 0xC200000
_DISK_SOURCES = (*range(1, 9), *range(32, 36))  # MMIO slots, and the pins of PCI
_DOORBELL = 0x50
_INTERFACES = (1, 2)  # QEMU up to 8.2; QEMU from 9.0 on


@dataclass(frozen=True)
class Accesses:
    """Accesses to the counted devices; among them, notifications of the disk and claims of its interrupt."""

    all: int = 0
    doorbells: int = 0
    claims: int = 0

    def since(self, before: "Accesses") -> "Accesses":
        """The accesses since an earlier count."""
        return Accesses(self.all - before.all, self.doorbells - before.doorbells, self.claims - before.claims)


def accesses(lines: Iterable[str]) -> Accesses:
    """Counts the lines of a trace."""
    whole = doorbells = claims = 0
    for line in lines:
        match = _ACCESS.search(line)
        if match is None or not match[4].startswith(_COUNTED):
            continue
        whole += 1
        address, value = int(match[2], 16), int(match[3], 16)
        if match[4].startswith("virtio-mmio"):
            doorbells += match[1] == "write" and address & 0xFFF == _DOORBELL
        elif match[4].startswith("virtio-pci-"):
            doorbells += match[1] == "write" and match[4].startswith("virtio-pci-notify")
        elif match[1] == "read" and address >= _PLIC_CONTEXTS and address & 0xFFF == 4:
            claims += value in _DISK_SOURCES
    return Accesses(whole, doorbells, claims)


class Trace:
    """A trace of accesses, in a file."""

    def __init__(self, file: Path, iothread: bool) -> None:
        self._file = file
        self._iothread = iothread
        self._read = 0
        self._so_far = Accesses()

    def arguments(self) -> list[str]:
        """What QEMU has to be told."""
        # QEMU does not trace a notification that goes to another thread (ioeventfd). An I/O thread needs ioeventfd.
        rings_here = [] if self._iothread else ["-global", "virtio-mmio.ioeventfd=off", "-global", "virtio-pci.ioeventfd=off"]
        return [*rings_here, "-trace", TRACE_EVENTS, "-D", str(self._file)]

    def so_far(self) -> Accesses:
        """The counts so far. The guest must not access a counted device meanwhile."""
        with open(self._file, encoding="utf-8", errors="replace") as file:
            file.seek(self._read)
            new = accesses(file)
            self._read = file.tell()
        before = self._so_far
        self._so_far = Accesses(before.all + new.all, before.doorbells + new.doorbells, before.claims + new.claims)
        return self._so_far


class Instructions:
    """The plugin, and the file with its count."""

    def __init__(self, plugin: Path, file: Path) -> None:
        self._plugin = plugin
        self._file = file
        file.write_bytes(bytes(8))

    def arguments(self) -> list[str]:
        """What QEMU has to be told."""
        return ["-plugin", f"file={self._plugin},count={self._file}"]

    def so_far(self) -> int:
        """The count so far."""
        (count,) = struct.unpack("<Q", self._file.read_bytes())
        return int(count)


def plugin(qemu: str, directory: Path) -> Path:
    """Compiles the plugin for the interface of this QEMU."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Refusal("a QEMU plugin counts instructions, and there is no C compiler to build it: install gcc")
    source = Path(__file__).resolve().parent / "instructions.c"
    place = directory / "instructions"
    place.mkdir(parents=True, exist_ok=True)
    count = place / "count"
    said = ""
    for interface in _INTERFACES:
        made = place / f"interface-{interface}.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-DINTERFACE={interface}"]
        command += ["-o", str(made), str(source)]
        built = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if built.returncode != 0:
            raise Refusal(f"bench/compare/instructions.c cannot be compiled: {' '.join(built.stderr.split())[:300]}")
        trial = [qemu, *Instructions(made, count).arguments(), "-machine", "virt", "-bios", "none", "-S"]
        trial += ["-nodefaults", "-display", "none", "-monitor", "stdio"]
        try:
            ended = subprocess.run(trial, input="quit\n", capture_output=True, text=True, errors="replace", timeout=30)
        except subprocess.TimeoutExpired as error:
            raise Refusal(f"{qemu} does not answer within 30 s") from error
        if ended.returncode == 0:
            return made
        said = ended.stderr
    raise Refusal(f"{qemu} does not load the plugin: {' '.join(said.split())[-200:]}")


def kibibytes(size: str) -> int:
    """A size in KiB, from the form that `./run` takes and prints."""
    return parse_size(size, "a size") // 1024
