"""The command line of `./run`."""

import argparse
import difflib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Sequence

import job_file
from job_file import JobFile, JobOption
from values import Refusal, human_size, parse_size, parse_whole

# The one list of the programs that the kernel has and `./run` offers.
PROGRAMS = {
    "demo": "info, digest of a file system, and a short table of random reads (the default)",
    "info": "every device found, with features, limits and queues",
    "digest": "the checksum of each disk, compared with the host's cksum",
    "verify": "writes and reads back each disk; the host checks the image again",
    "iops": "I/O per second, latency, notifications and interrupts by depth",
    "bench": "a fio job file, or one job in words; reports as fio does (without --disk on null:1G)",
    "costs": "guest instructions of the runtime's steps; needs --icount, no disk",
    "random": "bytes of a source of entropy in hexadecimal digits; attaches one; --append bytes=N",
    "soak": "random I/O on disks of zeroes, each sector checked; goes on after errors, and counts them",
    "durable": "writes, flushes, and says what must survive the end of the machine (tests/guest/crash_consistency)",
    "requests": "does the requests that standard input names, and says how each ended (src/programs/requests.cpp)",
    "registers": "the registers of every device, as the tables of VIRTIO show them",
    "crash": "ends in a panic on purpose (exit status 101): --append kind=null, stack, text, rodata or data",
}
DEFAULT_DEPTH = {"digest": 128, "verify": 128}
DEFAULT_SEED = 1
MAX_DISKS = 8  # slots for virtio-mmio devices on `virt`
MAX_PCI_DISKS = 24  # of the 31 device numbers of its root bus, and of the 32 devices that the kernel knows
MAX_QUEUES = 1024
QUEUE_SIZES = tuple(1 << power for power in range(2, 11))
MAX_HARTS = 64  # what the kernel knows at the most
LEAST_MEMORY = 32 << 20
# What --interrupts may name, with the property aia= of QEMU's machine.
INTERRUPTS = {"plic": "none", "aplic": "aplic", "imsic": "aplic-imsic"}
VHOST_USER = "vhost-user:"  # before what --disk names: another process is the device
OUTPUT_FORMATS = ("normal", "json", "json+")
# How the devices are attached, each with what `--help` says of it.
TRANSPORTS = {
    "mmio": "version 2, the default",
    "mmio-legacy": "version 1",
    "pci": "modern",
    "pci-legacy": "the interface from before VIRTIO 1.0",
}

ROOT = Path(__file__).resolve().parents[2]
PRESET = "riscv64"
TRACE_PRESET = "riscv64-trace"
CLANG_PRESET = "riscv64-clang"
KERNELS = {preset: ROOT / "build" / preset / "inflight.elf" for preset in (PRESET, TRACE_PRESET, CLANG_PRESET)}


@dataclass(frozen=True)
class Options:
    """What the user asked for, checked as far as it can be without touching the disks."""

    program: str
    disks: tuple[str, ...]
    read_only: bool
    transport: str  # of TRANSPORTS
    queues: int
    queue_size: int | None
    harts: int
    memory: int
    interrupts: str  # of INTERRUPTS
    depth: int | None
    job: JobFile | None
    output_formats: tuple[str, ...]
    output: Path | None
    device: tuple[str, ...]
    iothread: bool
    iothreads: int  # of each disk; 0: as `iothread` says
    append: dict[str, str]
    qemu: str
    qemu_arguments: tuple[str, ...]
    icount: bool
    timeout: float
    json: Path | None
    trace: Path | None
    log: Path | None
    gdb: bool
    dry_run: bool
    destroy: bool
    keep: bool
    build: bool
    preset: str  # which build of the kernel is meant, unless another kernel is
    kernel: Path
    token: str  # of this run, in the serial numbers of its disks

    def boot_arguments(self, overwritten: Sequence[str] = ()) -> dict[str, str]:
        """The kernel's command line; what the user wrote with --append comes last and wins.

        `overwritten`: the serial numbers of disks of ours that the program may write to, beside those that the user names.
        """
        arguments = {"program": self.program}
        if (depth := self.depth or DEFAULT_DEPTH.get(self.program)) is not None:
            arguments["depth"] = str(depth)
        if self.queue_size is not None:
            # QEMU's MMIO transport offers 1024 entries whatever the device was told: the guest has to hear of it, too.
            arguments["queue_size"] = str(self.queue_size)
        if self.program in ("verify", "soak", "durable", "requests"):
            arguments["seed"] = str(DEFAULT_SEED)
        if self.icount:
            arguments["icount"] = "1"
        arguments |= self.append
        if overwritten:
            arguments["overwrite"] = ",".join([*overwritten, *filter(None, [self.append.get("overwrite")])])
        return arguments

    def writes(self) -> bool:
        """Whether the program changes the contents of its disks."""
        if self.job is not None:
            return self.job.writes()
        return self.program in ("verify", "soak", "durable", "requests") or (
            self.program == "iops" and self.append.get("rw", "read") not in ("read", "randread")
        )

    def outputs(self) -> list[tuple[str, Path]]:
        """The files that the run writes beside its disks, each with the option that names it."""
        named = (("--json", self.json), ("--trace", self.trace), ("--output", self.output), ("--log", self.log))
        return [(name, file) for name, file in named if file is not None]

    def on_pci(self) -> bool:
        """Whether the devices are on PCI."""
        return self.transport.startswith("pci")

    def device_name(self, kind: str) -> str:
        """QEMU's name for a VIRTIO device of that kind, such as "blk", with what makes it modern or legacy."""
        if not self.on_pci():
            return f"virtio-{kind}-device"
        which = "on,disable-modern=off" if self.transport == "pci" else "off,disable-modern=on"
        # Else QEMU's main loop serves notifications, and with --icount an idle guest jumps to its next deadline meanwhile.
        # A thread of its own needs it.
        at_once = ",ioeventfd=off" if self.icount and not (self.iothread or self.iothreads) else ""
        return f"virtio-{kind}-pci,disable-legacy={which}{at_once}"

    def vhost_user_device_name(self) -> str:
        """The same for a disk that another process serves."""
        return self.device_name("blk").replace("virtio-blk-device", "vhost-user-blk").replace("virtio-blk", "vhost-user-blk")

    def vhost_user_disks(self) -> list[str]:
        """Those of `disks` that another process serves."""
        return [disk for disk in self.disks if disk.startswith(VHOST_USER)]

    def prints_json(self) -> bool:
        """Whether standard output is for a program that reads JSON."""
        return self.output is None and set(self.output_formats) != {"normal"}


class _Parser(argparse.ArgumentParser):
    """Refuses in one line instead of with the usage."""

    def error(self, message: str) -> NoReturn:
        unknown = re.fullmatch(r"unrecognized arguments: (\S+).*", message)
        if unknown is None:
            raise Refusal(message.removeprefix("argument ") + " (./run --help shows all options)")
        name = unknown[1].split("=")[0]
        if not name.startswith("-"):
            told = f"one program at a time, with one job file: '{name}' is one too many"
            raise Refusal(f"{told} (./run --help shows all options)")
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
        '  ./run iops --disk null:1G --depth 32 --append "rw=randwrite bs=4096"\n'
        "  ./run bench JOB.fio --disk image.qcow2 --harts 4 --queues 4\n"
        "  ./run bench --rw=randread --bs=4k --iodepth=32 --runtime=10 --time_based --output-format=json\n\n"
        "After `bench`, an --option[=VALUE] that is not above is one of fio's, for the one job of this run.",
    )
    add = parser.add_argument
    add("program", nargs="?", default="demo", metavar="PROGRAM", help="what the kernel does (see below)")
    add("job", nargs="?", metavar="JOB.fio", help="for bench: a fio job file")
    add("--disk", action="append", default=[], metavar="FILE|SIZE|null:SIZE|URI",
        help="a disk, the first is vda: an image that QEMU can open, a new empty one (64M), zeroes without an image "
             "(null:1G), or what QEMU knows as a URI (nbd://host/name); vhost-user: before one of the first three has "
             "qemu-storage-daemon serve it, and vhost-user:SOCKET is the disk of a process that runs already")
    add("--read-only", action="store_true", help="attach the disks read-only")
    add("--transport", default="mmio", metavar="NAME",
        help="how the devices are attached: " + ", ".join(f"{name} ({what})" for name, what in TRANSPORTS.items()))
    add("--queues", default="1", metavar="N", help="virtqueues per disk (default 1)")
    add("--queue-size", metavar="N", help="entries per virtqueue (default: as many as the device offers)")
    add("--harts", default="1", metavar="N", help="harts of the machine (default 1)")
    add("--memory", default="256M", metavar="SIZE", help="memory of the machine (default 256M)")
    add("--interrupts", default="plic", metavar="NAME",
        help="what interrupts a hart for a device: plic (the default), aplic or imsic (RISC-V AIA)")
    add("--depth", metavar="N", help="requests in flight (default 128; for iops several)")
    add("--device", action="append", default=[], metavar="KEY=VALUE",
        help="a property of QEMU's virtio-blk-device (or virtio-blk-pci), such as event_idx=off")
    add("--iothread", action="store_true", help="serve the disks from a thread of QEMU's that does nothing else")
    add("--iothreads", metavar="N", help="serve each disk from N threads of its own, which share its queues (QEMU 9)")
    add("--append", action="append", default=[], metavar='"KEY=VALUE …"', help="more of the kernel's command line")
    add("--qemu", default="qemu-system-riscv64", metavar="PATH", help="another QEMU")
    add("--qemu-arg", action="append", default=[], metavar="ARG", help="one more argument for QEMU, as it is")
    add("--icount", action="store_true",
        help="a clock that counts instructions: exact, and repeatable but for the timing of disks")
    add("--timeout", default="120", metavar="SECONDS", help="kill QEMU after this long without progress (default 120)")
    add("--json", metavar="FILE", help="write the result to FILE")
    add("--output", metavar="FILE", help="for bench: write fio's report to FILE (default: standard output)")
    add("--output-format", metavar="FORMAT[,…]",
        help="for bench: normal (the default), json, json+ (with histograms), or several")
    add("--trace", metavar="FILE",
        help="run a kernel that records what it does, and write FILE for ui.perfetto.dev or chrome://tracing")
    add("--log", metavar="FILE", help="write all that the kernel says to FILE, through a virtio-console device")
    add("--gdb", action="store_true", help="wait for a debugger, and print how to attach it")
    add("--dry-run", action="store_true", help="print the command of QEMU and do nothing")
    add("--destroy", action="store_true", help="let a program overwrite a disk that ./run did not make")
    add("--keep", action="store_true", help="keep the images that were made for --disk SIZE")
    add("--compiler", default="gcc", metavar="NAME", help="what builds the kernel: gcc or clang (default: gcc)")
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


def _separate(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[list[str], list[JobOption]]:
    """The arguments of `./run`, words last, and the options of a job, which are those after `bench` that it has not."""
    known = {name: action for action in parser._actions for name in action.option_strings}
    ours: list[str] = []
    words: list[str] = []
    job: list[JobOption] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        action = known.get(name)
        if not argument.startswith("-"):
            words.append(argument)
        elif action is not None:
            # argparse takes the value of `--qemu-arg -device` for an option; joined by "=" it does not.
            valued = action.nargs is None and not equals
            if valued and rest and (name == "--qemu-arg" or not rest[0].startswith("--")):
                argument += "=" + rest.pop(0)
            ours.append(argument)
        elif words[:1] == ["bench"] and re.fullmatch(r"--[a-z][a-z0-9_]*", name, re.ASCII):
            key = name.removeprefix("--")
            if not equals and key not in job_file.FLAGS and rest and not rest[0].startswith("--"):
                equals, value = "=", rest.pop(0)
            job.append((key, value if equals else None))
        else:
            ours.append(argument)
    return ours + words, job


def _check_machine(qemu_arguments: Sequence[str], interrupts: str) -> None:
    """Refuses an interrupt controller of the machine that --interrupts does not name."""
    for option, value in zip(qemu_arguments, qemu_arguments[1:]):
        if option.lstrip("-") not in ("M", "machine"):
            continue
        for key, _, wanted in (pair.partition("=") for pair in value.split(",")):
            if key == "aia" and wanted != INTERRUPTS[interrupts]:
                names = [name for name, property_value in INTERRUPTS.items() if property_value == wanted]
                remedy = f"give --interrupts {names[0]}" if names else "leave it out"
                raise Refusal(f"--qemu-arg: 'aia={wanted}' contradicts --interrupts {interrupts}; {remedy}")


def _check_vhost_user(given: argparse.Namespace) -> None:
    """Refuses what a disk that another process serves does not go with."""
    served = next((disk for disk in given.disk if disk.startswith(VHOST_USER)), None)
    if served is None:
        return
    if given.transport.endswith("-legacy"):
        modern = given.transport.removesuffix("-legacy")
        raise Refusal(f"--disk {served}: another process serves no legacy driver; give --transport {modern}")
    if given.icount:
        raise Refusal(f"--disk {served}: the clock of --icount does not wait for another process; leave one of them out")
    for name in ("iothread", "iothreads"):
        if getattr(given, name):
            raise Refusal(f"--disk {served}: --{name} is for disks that QEMU serves; leave one of them out")


def _parse_iothreads(given: argparse.Namespace) -> int:
    if given.iothreads is None:
        return 0
    if given.iothread:
        raise Refusal("--iothreads: --iothread is one thread for all disks; leave one of them out")
    threads = parse_whole(given.iothreads, "--iothreads", 1)
    if threads > int(given.queues):
        raise Refusal(f"--iothreads: {threads} threads have only {given.queues} of a disk's queues to serve; give --queues {threads}")
    return threads


def _parse_job(given: argparse.Namespace, options: Sequence[JobOption]) -> JobFile | None:
    if given.program != "bench":
        for name in ("output", "output_format"):
            if getattr(given, name) is not None:
                option = "--" + name.replace("_", "-")
                raise Refusal(f"{option}: only bench reports as fio does; --json FILE is for every program")
        if given.job is not None:
            raise Refusal(f"only bench has a job file: '{given.job}' is one too many (./run --help shows all options)")
        return None
    if given.depth is not None:
        raise Refusal("--depth: the depth of bench is an option of its jobs: iodepth=N in the file, or --iodepth=N")
    if given.job is not None and options:
        raise Refusal(
            f"bench {given.job}: --{options[0][0]} belongs into the file; under [global] it is meant for all its jobs"
        )
    if given.job is not None:
        return job_file.read(given.job)
    if not options:
        raise Refusal(f"bench: there is no job; {job_file.EXAMPLE}")
    return job_file.from_options(options)


def _parse_formats(text: str | None) -> tuple[str, ...]:
    formats = tuple(dict.fromkeys((text or "normal").split(",")))
    for name in formats:
        if name not in OUTPUT_FORMATS:
            raise Refusal(f"--output-format: '{name}' is unknown; the formats are {', '.join(OUTPUT_FORMATS)}")
    return formats


def _preset(given: argparse.Namespace) -> str:
    if given.compiler not in ("gcc", "clang"):
        raise Refusal(f"--compiler: '{given.compiler}' is unknown; the compilers are gcc and clang")
    if given.compiler == "gcc":
        return PRESET if given.trace is None else TRACE_PRESET
    if given.trace is not None:
        raise Refusal("--compiler clang: the kernel with the trace is built by gcc; leave --compiler or --trace out")
    if given.kernel is not None:
        raise Refusal("--compiler clang: --kernel names a kernel that is built already; leave one of them out")
    return CLANG_PRESET


def parse(arguments: Sequence[str]) -> Options:
    """Reads the command line; raises Refusal, or SystemExit after --help."""
    parser = _make_parser()
    ours, job_options = _separate(parser, arguments)
    given = parser.parse_args(ours)

    if given.program not in PROGRAMS:
        raise Refusal(f"unknown program '{given.program}'; the programs are {', '.join(PROGRAMS)}")
    if given.transport not in TRANSPORTS:
        raise Refusal(f"--transport: '{given.transport}' is unknown; the transports are {', '.join(TRANSPORTS)}")
    if given.interrupts not in INTERRUPTS:
        raise Refusal(f"--interrupts: '{given.interrupts}' is unknown; give plic, aplic or imsic")
    _check_machine(given.qemu_arg, given.interrupts)
    slots = MAX_PCI_DISKS if given.transport.startswith("pci") else MAX_DISKS
    if len(given.disk) > slots:
        raise Refusal(f"--disk: {len(given.disk)} disks are too many; the machine has {slots} slots")
    _check_vhost_user(given)
    if len(given.disk) == slots and given.log is not None:
        raise Refusal(f"--log: {slots} disks take all slots of the machine, and the log needs one; leave a disk out")
    if given.queue_size is not None and given.queue_size not in map(str, QUEUE_SIZES):
        raise Refusal(f"--queue-size: '{given.queue_size}' is wrong; give a power of two from 4 to 1024")
    memory = parse_size(given.memory, "--memory")
    if memory < LEAST_MEMORY or memory % (1 << 20) != 0:
        raise Refusal(f"--memory: '{given.memory}' is wrong; give {human_size(LEAST_MEMORY)} or more, in whole M")
    properties = _parse_pairs(given.device, "--device", r"[A-Za-z][A-Za-z0-9_-]*")
    if "drive" in properties:
        raise Refusal("--device: drive= belongs to ./run; name the disk with --disk")
    if "serial" in properties:
        raise Refusal("--device: serial= belongs to ./run, which knows its disks by it; leave it out")
    append = _parse_pairs(" ".join(given.append).split(), "--append", r"[A-Za-z_][A-Za-z0-9_.-]*")
    if "program" in append:
        raise Refusal("--append: the program is named without it: ./run " + append["program"])
    if "seed" in append:
        parse_seed(append["seed"])
    preset = _preset(given)
    options = Options(
        program=given.program,
        disks=tuple(given.disk),
        read_only=given.read_only,
        transport=given.transport,
        queues=parse_whole(given.queues, "--queues", 1, MAX_QUEUES),
        queue_size=None if given.queue_size is None else int(given.queue_size),
        harts=parse_whole(given.harts, "--harts", 1, MAX_HARTS),
        memory=memory,
        interrupts=given.interrupts,
        depth=None if given.depth is None else parse_whole(given.depth, "--depth", 1),
        job=_parse_job(given, job_options),
        output_formats=_parse_formats(given.output_format),
        output=None if given.output is None else Path(given.output),
        device=tuple(given.device),
        iothread=given.iothread,
        iothreads=_parse_iothreads(given),
        append=append,
        qemu=given.qemu,
        qemu_arguments=tuple(given.qemu_arg),
        icount=given.icount,
        timeout=_parse_timeout(given.timeout),
        json=None if given.json is None else Path(given.json),
        trace=None if given.trace is None else Path(given.trace),
        log=None if given.log is None else Path(given.log),
        gdb=given.gdb,
        dry_run=given.dry_run,
        destroy=given.destroy,
        keep=given.keep,
        build=not given.no_build and given.kernel in (None, str(KERNELS[PRESET])),
        preset=preset,
        kernel=Path(given.kernel or KERNELS[preset]),
        token=secrets.token_hex(4),  # a serial number has at most 20 bytes
    )
    if options.writes() and options.read_only:
        raise Refusal(f"--read-only: {options.program} writes its disks; leave --read-only out")
    for name, file in options.outputs():
        if not os.access(file.parent, os.W_OK) or file.is_dir():
            raise Refusal(f"{name}: '{file}' cannot be written; name a file in a directory that exists")
    return options
