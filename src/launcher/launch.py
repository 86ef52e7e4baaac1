"""`./run`: boots the kernel on QEMU, shows what it says, and holds the host's own checks against its word."""

import io
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import bench_result
import build
import checks
import demo_image
import disks
import fio_output
import machine
import scratch
import trace_json
import vhost_user
from console import Console, ProgressLine
from disks import Disk, Kind
from host_sum import HostSum
from options import KERNELS, Options, parse, parse_seed
from values import Refusal, printable

REFUSED = 2
BROKEN_PROTOCOL = 3
INTERRUPTED = 130


def attached_disks(options: Options, directory: Path) -> list[Disk]:
    """The disks of the machine. The demo brings its own: a file system to read, and zeroes to measure on, as bench."""
    attached = [disks.parse(word, index, options, directory) for index, word in enumerate(options.disks)]
    if options.program == "demo":
        if not attached:
            attached.append(demo_image.disk(disks.name_of(0), disks.serial_of(0, options)))
        if len(attached) == 1:
            attached.append(disks.parse("null:1G", 1, options, directory))
    if options.program == "bench" and not attached:
        attached.append(disks.parse("null:1G", 0, options, directory))
    if options.writes():
        for disk in attached:
            disks.check_may_write(disk, options)
    for name, file in options.outputs():
        for disk in attached:
            if file.exists() and os.path.exists(disk.location) and file.samefile(disk.location):
                raise Refusal(f"{name}: '{file}' is the image of --disk {disk.given}; name another file")
    return attached


def digested_disks(program: str, attached: Sequence[Disk]) -> list[Disk]:
    """The disks whose checksum the guest is going to print, and the host can compare."""
    printed = {"digest": list(attached), "demo": list(attached[:1])}.get(program, [])
    return [disk for disk in printed if disk.kind is not Kind.SERVER]


def merged(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the guest reported: one object, or one for each program if there were several."""
    programs: dict[str, dict[str, Any]] = {}
    for result in results:
        whole = programs.setdefault(str(result.get("program", "")), {})
        for key, value in result.items():
            joins = isinstance(value, list) and isinstance(whole.get(key), list)
            whole[key] = whole[key] + value if joins else value
    return next(iter(programs.values())) if len(programs) == 1 else dict(programs)


def write_text(path: Path, text: str) -> None:
    """Writes the file whole or not at all; what is no plain file, such as a device or a pipe, is not replaced."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        try:
            file.write(text)
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def write_json(path: Path, value: dict[str, Any], indent: int | None = 2) -> None:
    """As write_text."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def say_as_fio(options: Options, results: Sequence[dict[str, Any]]) -> None:
    """Says what `bench` measured as fio would; raises BrokenResult."""
    assert options.job is not None
    run = bench_result.parse(merged([result for result in results if result.get("program") == "bench"]))
    pieces = []
    if {"json", "json+"} & set(options.output_formats):
        whole = fio_output.to_json(run, options.job.global_options(), time.time(), "json+" in options.output_formats)
        pieces.append(fio_output.dump(whole))
    if "normal" in options.output_formats:
        text = fio_output.to_text(run, time.time())
        pieces.append("\n".join(map(printable, text.split("\n"))))  # with names of jobs, which may hold anything
    if options.output is None:
        print("\n".join(pieces), end="", flush=True)
    else:
        write_text(options.output, "\n".join(pieces))


def boot(options: Options, attached: Sequence[Disk], directory: Path, progress: ProgressLine) -> int:
    """Runs QEMU and then the host's checks; the exit status of `./run`."""
    for disk in attached:
        if disk.kind is Kind.MADE:
            disks.make(disk)
        elif disk.location == str(demo_image.DEMO_IMAGE):
            demo_image.ensure()
    if options.job is not None and options.job.path is None:
        options.job.location(directory).write_text(options.job.text, encoding="utf-8")
    gdb_port = machine.free_gdb_port() if options.gdb else None
    words = machine.command(options, attached, directory, gdb_port)
    console = Console(options.kernel, progress, sys.stderr if options.prints_json() else None)
    if gdb_port is not None:
        console.say(f"run: attach with: gdb-multiarch {options.kernel} -ex 'target remote :{gdb_port}'")
    host_sums: list[tuple[Disk, HostSum]] = []
    reports: list[checks.Report] = []
    try:
        for disk in digested_disks(options.program, attached):
            host_sums.append((disk, HostSum(disk, directory)))
        with vhost_user.servers(attached, options, directory) as servers:
            ending = machine.run(words, console, None if options.gdb else options.timeout, options.program == "requests")
            died = servers.complaint()
        status, failure = ending.status, ending.failure
        if died is not None:
            status, failure = status or 1, died if failure is None else f"{failure}\nrun: {died}"
        if status == 0 and console.broken_results:
            status = BROKEN_PROTOCOL
            failure = f"the kernel reported a result that is no JSON object: {console.broken_results[0][:200]}"
        elif status == 0 and not console.results:
            status, failure = BROKEN_PROTOCOL, "the kernel ended well but reported no result"
        if status in (0, 1):
            # A guest that failed has said why: then only those disks are checked of which it reports no fault.
            failed = status == 1
            digests = checks.match(checks.disks_of(console.results, "digest"), attached)
            for disk, host_sum in host_sums:
                guest = digests.reports.get(disk.serial)
                if guest is not None or not failed:
                    reports.append(checks.check_digest(disk, guest, host_sum, console))
            reports += checks.unchecked("digest", digests, console)
            if options.program == "verify":
                seed = parse_seed(options.boot_arguments()["seed"])
                verified = checks.match(checks.disks_of(console.results, "verify"), attached)
                for disk in attached:
                    if disk.kind is Kind.SERVER:
                        continue
                    guest = verified.reports.get(disk.serial)
                    if not failed or (guest is not None and guest.get("passed") is True):
                        reports.append(checks.check_verify(disk, guest, seed, directory, console, progress))
                reports += checks.unchecked("verify", verified, console)
            progress.clear()
            status = 0 if status == 0 and all(report["passed"] for report in reports) else 1
    finally:
        for _, host_sum in host_sums:
            host_sum.stop()
    if options.program == "bench" and (console.results or status == 0):
        try:
            say_as_fio(options, console.results)
        except bench_result.BrokenResult as error:
            # What failed before is said instead; it may be why this is not whole.
            status, failure = status or BROKEN_PROTOCOL, failure or f"the kernel's result of bench is broken: {error}"
    if options.trace is not None:
        try:
            write_json(options.trace, trace_json.convert(trace_json.parse(console.trace), options.kernel), None)
        except trace_json.BrokenTrace as error:
            status, failure = status or BROKEN_PROTOCOL, failure or f"--trace: {error}"
    if failure is not None:
        print(f"run: {failure}", file=sys.stderr)
    if options.json is not None:
        outcome = {
            "program": options.program,
            "qemu": machine.version(options.qemu),
            "command": words,
            "exit_status": status,
            "guest": merged(console.results),
            "results": console.results,
            "host": {"checks": reports},
        }
        write_json(options.json, outcome)
    return status


def keep(attached: Sequence[Disk], directory: Path, stream: TextIO) -> None:
    """Saves the images made for this run from being deleted with `directory`."""
    kept = directory.with_name(directory.name.replace("run-", "kept-"))
    for disk in attached:
        if disk.kind is Kind.MADE and os.path.exists(disk.location):
            kept.mkdir(exist_ok=True)
            os.replace(disk.location, kept / f"{disk.name}.raw")
            print(f"run: --disk {disk.given} is kept as {kept / f'{disk.name}.raw'}", file=stream)


def launch(arguments: Sequence[str]) -> int:
    """Everything that `./run` does once its packages are there."""
    options = parse(arguments)
    if options.dry_run:
        directory = disks.IMAGES / "run"
        attached = attached_disks(options, directory)
        for disk in attached:
            if serving := vhost_user.command(disk, options):
                print(shlex.join(serving))
        print(shlex.join(machine.command(options, attached, directory, machine.GDB_PORT if options.gdb else None)))
        return 0
    machine.check(options)
    with scratch.directory() as directory:
        attached = attached_disks(options, directory)
        progress = ProgressLine()
        if options.build:
            build.build_kernel(options.preset, progress)
        if not options.kernel.is_file():
            ours = options.kernel in KERNELS.values()
            remedy = "./run without --no-build builds it" if ours else "give a kernel's ELF file"
            raise Refusal(f"there is no kernel {options.kernel}; {remedy}")
        try:
            return boot(options, attached, directory, progress)
        finally:
            if options.keep:
                keep(attached, directory, sys.stderr if options.prints_json() else sys.stdout)


def end_by_signal(number: int, _: FrameType | None) -> None:
    """Unwinds, so that everything started is ended and everything made for this run is deleted."""
    raise SystemExit(128 + number)


def main() -> int:
    """The exit status; nothing but a mistake of the launcher itself shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a guest may say what this terminal cannot show
    signal.signal(signal.SIGTERM, end_by_signal)
    signal.signal(signal.SIGHUP, end_by_signal)
    try:
        return launch(sys.argv[1:])
    except Refusal as refusal:
        print(f"run: {refusal}", file=sys.stderr)
        return 1 if isinstance(refusal, build.BuildFailure) else REFUSED
    except KeyboardInterrupt:
        print("\nrun: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails again
        return 1


if __name__ == "__main__":
    sys.exit(main())
