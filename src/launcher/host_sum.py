"""The checksum of a disk's contents as the host's `cksum` sees it, computed while the guest runs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import processes
from disks import Disk, Kind


@dataclass(frozen=True)
class Checksum:
    """What POSIX `cksum` prints: the CRC and the number of bytes."""

    crc: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.crc} {self.bytes}"


class HostSum:
    """The checksum of one disk. Starts at once, except for a URI, whose server may have room for QEMU alone."""

    def __init__(self, disk: Disk, scratch: Path) -> None:
        self._disk = disk
        self._scratch = scratch
        self._command = _command(disk, scratch)
        self._process: "subprocess.Popen[bytes] | None" = None
        self.needs_server = disk.kind is Kind.URI
        if not self.needs_server:
            self._start()

    def result(self) -> Checksum | str:
        """The checksum, waited for; or, in words, why there is none."""
        process = self._process or self._start()
        output, errors = process.communicate()
        if process.returncode != 0:
            return " ".join(errors.decode(errors="replace").split()) or f"exit status {process.returncode}"
        crc, count = output.split()[:2]
        return Checksum(int(crc), int(count))

    def of_first(self, count: int) -> Checksum | str:
        """The same of so many bytes from the beginning. After `result`, which has left a copy where one is needed."""
        if self._disk.kind is Kind.NULL:
            contents = "/dev/zero"
        else:
            contents = self._disk.location if self._disk.is_plain else str(_copy(self._disk, self._scratch))
        words = ["sh", "-c", 'head -c "$1" <"$2" | cksum', "sh", str(count), contents]
        self._process = processes.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self.result()

    def stop(self) -> None:
        """Ends what is still running."""
        if self._process is not None:
            processes.stop(self._process)

    def _start(self) -> "subprocess.Popen[bytes]":
        self._process = processes.start(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self._process


def _command(disk: Disk, scratch: Path) -> list[str]:
    if disk.kind is Kind.NULL:
        script, arguments = 'head -c "$1" /dev/zero | cksum', [str(disk.size)]
    elif disk.is_plain:
        script, arguments = 'cksum <"$1"', [disk.location]
    else:
        # qemu-img writes no stream: a sparse copy of the contents is summed. -U: the guest may have the image open.
        script = 'copy=$1; shift; qemu-img convert -U "$@" "$copy" && cksum <"$copy"'
        arguments = [str(_copy(disk, scratch)), *disk.raw_copy]
    return ["sh", "-c", script, "sh", *arguments]


def _copy(disk: Disk, scratch: Path) -> Path:
    return scratch / f"{disk.name}.copy"
