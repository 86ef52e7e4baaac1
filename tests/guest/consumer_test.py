#!/usr/bin/env python3
"""Takes the driver into a kernel of somebody else as docs/embedding.md says (tests/consumer), builds and boots that, and has it read and
write a disk. It has an arch/arch.hpp of its own, and finds a trap in place of each header of ours that is included by a name
that another kernel may have, too.
"""

import argparse
import json
import random
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from case import ROOT

CONSUMER = ROOT / "tests/consumer"
SECTORS = 100
OURS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", "-fno-omit-frame-pointer")
HOT = ("-fomit-frame-pointer", "-ffixed-s0")
QEMU = (
    "qemu-system-riscv64 -machine virt -bios none -nodefaults -display none -serial stdio -monitor none -no-reboot "
    "-global virtio-mmio.force-legacy=false"
)  # fmt: skip


def run(words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs a command, for two minutes at the most; what it says on either stream is its output."""
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )


def set_traps(directory: Path) -> None:
    """A header that must not be included, by the name of each that a user may include, and of our own sources."""
    for folder in ("arch", "async", "drivers", "src", "bench"):
        for header in (ROOT / folder).rglob("*.hpp"):
            name = header.relative_to(ROOT)
            if not (CONSUMER / name).exists():
                trap = directory / name
                trap.parent.mkdir(parents=True, exist_ok=True)
                trap.write_text(f'#error "{name} of another kernel was included"\n')


def configure(build: Path, *more: str, source: Path = CONSUMER) -> "subprocess.CompletedProcess[str]":
    """Configures the kernel as its user would."""
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={CONSUMER / 'toolchain.cmake'}"
    return run(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), toolchain, *more])


def wrong_flags(build: Path) -> list[str]:
    """What is wrong with the commands of the compiler."""
    commands = {
        Path(each["file"]): shlex.split(each["command"])
        for each in json.loads((build / "compile_commands.json").read_text())
    }
    complaints = []
    theirs, hot = commands[CONSUMER / "kernel.cpp"], commands[ROOT / "drivers/block/queue.cpp"]
    complaints += [f"{word} was given to a file of the user's" for word in OURS + HOT if word in theirs]
    complaints += [f"{word} was not given to the driver" for word in HOT if word not in hot]
    complaints += [f"-I{ROOT} was given to a file of the user's" for word in theirs if word == f"-I{ROOT}"]
    return complaints


def refusals(directory: Path) -> list[str]:
    """What is not said of a port that is missing, at once and in a sentence."""
    complaints = []
    nobody = directory / "nobody"
    nobody.mkdir()
    for name, setting, expected in (
        ("unset", "", "INFLIGHT_ARCH_HEADER is not set: name the header of your port"),
        ("missing", 'set(INFLIGHT_ARCH_HEADER "port/nothing.hpp")', "there is no port/nothing.hpp: name a file"),
    ):
        (nobody / "CMakeLists.txt").write_text(
            f"cmake_minimum_required(VERSION 3.25)\nproject(nobody CXX)\n{setting}\nadd_subdirectory({ROOT} inflight)\n"
        )
        ended = configure(directory / name, source=nobody)
        said = " ".join(ended.stdout.split())
        if ended.returncode == 0 or expected not in said:
            complaints.append(f"without a port ({name}): expected '{expected}', found:\n{ended.stdout}")
    # On its own, with a port that is not ours: only the libraries.
    alone = configure(directory / "alone", f"-DINFLIGHT_ARCH_HEADER={CONSUMER / 'port/machine.hpp'}", source=ROOT)
    if alone.returncode != 0:
        complaints.append(f"on its own with a port of another kernel:\n{alone.stdout}")
    return complaints


def boot(kernel: Path, image: Path) -> list[str]:
    """What is wrong with a run of the kernel."""
    contents = random.Random(20).randbytes(SECTORS * 512)
    image.write_bytes(contents)
    ended = run([*QEMU.split(), "-kernel", str(kernel), "-drive", f"if=none,id=a,format=raw,file={image}",
                 "-device", "virtio-blk-device,drive=a"])  # fmt: skip
    complaints = []
    if ended.returncode != 0 or ended.stdout != f"ok, by interrupts: {contents[-512:].hex()}\n":
        complaints.append(f"expected the last sector, found (status {ended.returncode}):\n{ended.stdout}")
    if image.read_bytes() != contents[-512:] + contents[512:]:
        complaints.append("expected the last sector in the first, and all others as before")
    return complaints


def check(directory: Path) -> list[str]:
    """Everything that is wrong."""
    traps, build = directory / "traps", directory / "build"
    set_traps(traps)
    ended = configure(build, "-DCMAKE_BUILD_TYPE=Release", f"-DTRAPS={traps}")
    if ended.returncode == 0:
        ended = run(["cmake", "--build", str(build)])
    if ended.returncode != 0:
        errors = re.findall(r"^.*(?:error|Error|undefined reference).*$", ended.stdout, re.MULTILINE)
        return ["it does not build:", *(errors[:10] or [ended.stdout])]
    complaints = boot(build / "consumer.elf", directory / "image")
    complaints += wrong_flags(build)
    # arch::atomic is what the kernel of ours has: its releases are releases.
    order = run([sys.executable, "-B", str(ROOT / "tests/guest/release_order_test.py"), "--build", str(build)])
    if order.returncode != 0:
        complaints.append(f"the release of an atomic is lost:\n{order.stdout}")
    return complaints + refusals(directory)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, default=Path("."), help="where it is built (default: here)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="consumer-") as directory:
        complaints = check(Path(directory).resolve())
    print(*complaints or ["consumer: passed"], sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
