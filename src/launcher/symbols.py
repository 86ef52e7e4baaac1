"""What lies at an address of the kernel, as its debug information says."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A function, and where its line is."""

    function: str
    line: str

    @property
    def short_name(self) -> str:
        """The name alone: without arguments, without unnamed namespaces, and without what a compiler made of it."""
        return re.sub(r"\(anonymous namespace\)::", "", self.function).split("(")[0].split(" [clone")[0]


def object_at(kernel: Path, address: int) -> str | None:
    """The name of the variable or constant that holds the address."""
    program = shutil.which("riscv64-linux-gnu-nm")
    if program is None or not kernel.exists():
        return None
    command = [program, "-CS", "--defined-only", str(kernel)]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace").stdout
    for begin, size, name in re.findall(r"^([0-9a-f]+) ([0-9a-f]+) [bBdDgGrRsSuV] (.+)$", listed, re.MULTILINE):
        if int(begin, 16) <= address < int(begin, 16) + int(size, 16):
            return str(name)
    return None


def places(kernel: Path, addresses: Sequence[int]) -> dict[int, Place]:
    """The places of those addresses that have one."""
    program = shutil.which("riscv64-linux-gnu-addr2line")
    if program is None or not kernel.exists() or not addresses:
        return {}
    command = [program, "-Cfe", str(kernel)]
    ended = subprocess.run(
        command, input="\n".join(map(hex, addresses)), capture_output=True, text=True, errors="replace"
    )
    lines = ended.stdout.splitlines()
    if ended.returncode != 0 or len(lines) != 2 * len(addresses):
        return {}
    found = zip(addresses, lines[::2], lines[1::2], strict=True)
    return {address: Place(function, line) for address, function, line in found if function != "??"}
