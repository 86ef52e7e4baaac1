"""The command line of `./run`."""

import argparse
import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Sequence

from values import Refusal, human_size, parse_size, parse_whole

# The one list of the programs that the kernel has and `./run` offers.
PROGRAMS = {
    "demo": "info, digest of a file system, and a short table of random reads (the default)",
    "info": "every device found, with features, limits and queues",
    "digest": "the checksum of each disk, compared with the host's cksum",
    "verify": "writes and reads back each disk; the host checks the image again",
    "iops": "I/O per second, latency, notifications and interrupts by depth",
    "costs": "guest instructions of the runtime's steps; needs --icount, no disk",
    "crash": "ends in a panic on purpose: shows what a panic looks like (exit status 101)",
}
DEFAULT_DEPTH = {"digest": 128, "verify": 128}
DEFAULT_SEED = 1
MAX_DISKS = 8  # slots for virtio-mmio devices on `virt`
MAX_QUEUES = 1024
QUEUE_SIZES = tuple(1 << power for power in range(2, 11))
MAX_HARTS = 64  # what the kernel knows at the most
LEAST_MEMORY = 32 << 20

ROOT = Path(__file__).resolve().parents[2]
PRESET = "riscv64"
TRACE_PRESET = "riscv64-trace"
KERNEL = ROOT / "build" / PRESET / "inflight.elf"
TRACE_KERNEL = ROOT / "build" / TRACE_PRESET / "inflight.elf"


@dataclass(frozen=True)
class Options:
    """What the user asked for, checked as far as it can be without touching the disks."""

    program: str
    disks: tuple[str, ...]
    read_only: bool
    legacy: bool
    queues: int
    queue_size: int | None
    harts: int
    memory: int
    depth: int | None
    device: tuple[str, ...]
    append: dict[str, str]
    qemu: str
    qemu_arguments: tuple[str, ...]
    icount: bool
    timeout: float
    json: Path | None
    trace: Path | None
    gdb: bool
    dry_run: bool
    destroy: bool
    keep: bool
    build: bool
    kernel: Path

    @property
    def preset(self) -> str:
        """Which build of the kernel is meant, unless another kernel is."""
        return PRESET if self.trace is None else TRACE_PRESET

    def boot_arguments(self) -> dict[str, str]:
        """The kernel's command line; what the user wrote with --append comes last and wins."""
        arguments = {"program": self.program}
        if (depth := self.depth or DEFAULT_DEPTH.get(self.program)) is not None:
            arguments["depth"] = str(depth)
        if self.queue_size is not None:
            # QEMU's MMIO transport offers 1024 entries whatever the device was told: the guest has to hear of it, too.
            arguments["queue_size"] = str(self.queue_size)
        if self.program == "verify":
            arguments["seed"] = str(DEFAULT_SEED)
        if self.icount:
            arguments["icount"] = "1"
        return arguments | self.append

    def writes(self) -> bool:
        """Whether the program changes the contents of its disks."""
        return self.program == "verify" or (
            self.program == "iops" and self.append.get("rw", "read") not in ("read", "randread")
        )


class _Parser(argparse.ArgumentParser):
    """Refuses in one line instead of with the usage."""

    def error(self, message: str) -> NoReturn:
        unknown = re.fullmatch(r"unrecognized arguments: (\S+).*", message)
        if unknown is None:
            raise Refusal(message.removeprefix("argument ") + " (./run --help shows all options)")
        name = unknown[1].split("=")[0]
        if not name.startswith("-"):
            raise Refusal(f"only one program can run, so '{name}' is one too many (./run --help shows all options)")
        options = [option for action in self._actions for option in action.option_strings]
        close = difflib.get_close_matches(name, options, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise Refusal(f"unknown option {name}{hint} (./run --help shows all options)")


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="./run",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Builds the inflight kernel, boots it on QEMU and returns its verdict as the exit status.",
        epilog="Programs:\n"
        + "\n".join(f"  {name:8} {text}" for name, text in PROGRAMS.items())
        + "\n\nExit status: 0 pass; 1 fail, or QEMU could not start; 2 refused; 3 the kernel broke its protocol;\n"
        "124 no progress; 130 interrupted; else what the guest said.\n\nExamples:\n"
        "  ./run\n  ./run digest --disk image.qcow2 --read-only --queues 4\n"
        "  ./run verify --disk 64M --disk 8M --transport mmio-legacy --device event_idx=off\n"
        '  ./run iops --disk null:1G --depth 32 --append "rw=randwrite bs=4096"',
    )
    add = parser.add_argument
    add("program", nargs="?", default="demo", metavar="PROGRAM", help="what the kernel does (see below)")
    add("--disk", action="append", default=[], metavar="FILE|SIZE|null:SIZE|URI",
        help="a disk, the first is vda: an image that QEMU can open, a new empty one (64M), zeroes without an image "
             "(null:1G), or what QEMU knows as a URI (nbd://host/name)")
    add("--read-only", action="store_true", help="attach the disks read-only")
    add("--transport", default="mmio", metavar="NAME", help="mmio (version 2, the default) or mmio-legacy (version 1)")
    add("--queues", default="1", metavar="N", help="virtqueues per disk (default 1)")
    add("--queue-size", metavar="N", help="entries per virtqueue (default: as many as the device offers)")
    add("--harts", default="1", metavar="N", help="harts of the machine (default 1)")
    add("--memory", default="256M", metavar="SIZE", help="memory of the machine (default 256M)")
    add("--depth", metavar="N", help="requests in flight (default 128; for iops several)")
    add("--device", action="append", default=[], metavar="KEY=VALUE",
        help="a property of QEMU's virtio-blk-device, such as event_idx=off")
    add("--append", action="append", default=[], metavar='"KEY=VALUE …"', help="more of the kernel's command line")
    add("--qemu", default="qemu-system-riscv64", metavar="PATH", help="another QEMU")
    add("--qemu-arg", action="append", default=[], metavar="ARG", help="one more argument for QEMU, as it is")
    add("--icount", action="store_true",
        help="a clock that counts instructions: exact, and repeatable but for the timing of disks")
    add("--timeout", default="120", metavar="SECONDS", help="kill QEMU after this long without progress (default 120)")
    add("--json", metavar="FILE", help="write the result to FILE")
    add("--trace", metavar="FILE",
        help="run a kernel that records what it does, and write FILE for ui.perfetto.dev or chrome://tracing")
    add("--gdb", action="store_true", help="wait for a debugger, and print how to attach it")
    add("--dry-run", action="store_true", help="print the command of QEMU and do nothing")
    add("--destroy", action="store_true", help="let a program overwrite a disk that ./run did not make")
    add("--keep", action="store_true", help="keep the images that were made for --disk SIZE")
    add("--no-build", action="store_true", help="boot the kernel as it was built before")
    add("--kernel", metavar="FILE", help="boot this kernel and build nothing")
    return parser


def _parse_pairs(words: Sequence[str], what: str, pattern: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        match = re.fullmatch(rf"({pattern})=([!-~]+)", word, re.ASCII)
        if match is None:
            raise Refusal(f"{what}: '{word}' is not of the form key=value")
        pairs[match[1]] = match[2]
    return pairs


def parse_seed(text: str) -> int:
    """The seed of `verify`, as the guest reads it."""
    if re.fullmatch(r"[0-9]+", text) is None or int(text) >= 1 << 64:
        raise Refusal(f"--append: seed={text} is wrong; give a whole number below 2^64")
    return int(text)


def _parse_timeout(text: str) -> float:
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) is None or float(text) == 0:
        raise Refusal(f"--timeout: '{text}' is wrong; give a number of seconds above 0")
    return float(text)


def parse(arguments: Sequence[str]) -> Options:
    """Reads the command line; raises Refusal, or SystemExit after --help."""
    # argparse takes the value of `--qemu-arg -device` for an option; joined by "=" it does not.
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--qemu-arg":
            joined[-1] += "=" + argument
        else:
            joined.append(argument)
    given = _make_parser().parse_args(joined)

    if given.program not in PROGRAMS:
        raise Refusal(f"unknown program '{given.program}'; the programs are {', '.join(PROGRAMS)}")
    if given.transport not in ("mmio", "mmio-legacy"):
        raise Refusal(f"--transport: '{given.transport}' is unknown; the transports are mmio and mmio-legacy")
    if len(given.disk) > MAX_DISKS:
        raise Refusal(f"--disk: {len(given.disk)} disks are too many; the machine has {MAX_DISKS} slots")
    if given.queue_size is not None and given.queue_size not in map(str, QUEUE_SIZES):
        raise Refusal(f"--queue-size: '{given.queue_size}' is wrong; give a power of two from 4 to 1024")
    memory = parse_size(given.memory, "--memory")
    if memory < LEAST_MEMORY or memory % (1 << 20) != 0:
        raise Refusal(f"--memory: '{given.memory}' is wrong; give {human_size(LEAST_MEMORY)} or more, in whole M")
    if "drive" in _parse_pairs(given.device, "--device", r"[A-Za-z][A-Za-z0-9_-]*"):
        raise Refusal("--device: drive= belongs to ./run; name the disk with --disk")
    append = _parse_pairs(" ".join(given.append).split(), "--append", r"[A-Za-z_][A-Za-z0-9_.-]*")
    if "program" in append:
        raise Refusal("--append: the program is named without it: ./run " + append["program"])
    if "seed" in append:
        parse_seed(append["seed"])
    options = Options(
        program=given.program,
        disks=tuple(given.disk),
        read_only=given.read_only,
        legacy=given.transport == "mmio-legacy",
        queues=parse_whole(given.queues, "--queues", 1, MAX_QUEUES),
        queue_size=None if given.queue_size is None else int(given.queue_size),
        harts=parse_whole(given.harts, "--harts", 1, MAX_HARTS),
        memory=memory,
        depth=None if given.depth is None else parse_whole(given.depth, "--depth", 1),
        device=tuple(given.device),
        append=append,
        qemu=given.qemu,
        qemu_arguments=tuple(given.qemu_arg),
        icount=given.icount,
        timeout=_parse_timeout(given.timeout),
        json=None if given.json is None else Path(given.json),
        trace=None if given.trace is None else Path(given.trace),
        gdb=given.gdb,
        dry_run=given.dry_run,
        destroy=given.destroy,
        keep=given.keep,
        build=not given.no_build and given.kernel in (None, str(KERNEL)),
        kernel=Path(given.kernel or (KERNEL if given.trace is None else TRACE_KERNEL)),
    )
    if options.writes() and options.read_only:
        raise Refusal(f"--read-only: {options.program} writes its disks; leave --read-only out")
    for name, file in (("--json", options.json), ("--trace", options.trace)):
        if file is not None and (not os.access(file.parent, os.W_OK) or file.is_dir()):
            raise Refusal(f"{name}: '{file}' cannot be written; name a file in a directory that exists")
    return options
