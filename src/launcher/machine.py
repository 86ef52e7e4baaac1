"""QEMU: its command line, and one run of it."""

import os
import re
import selectors
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import disks
import processes
import vhost_user
from console import Console
from disks import Disk
from options import INTERRUPTS, Options
from values import Refusal, human_size

NO_PROGRESS = 124
GDB_PORT = 1234
# Before, a disk on MMIO had no thread of its own without KVM (7.2: "ioeventfd is required for iothread"); and one
# on PCI lost interrupts with one vCPU, whose fences were left out as if no other thread looked at its memory.
THREADS_OF_DISKS = (8, 1)
SEVERAL_THREADS = (9, 0)  # the first release with iothread-vq-mapping
RECONNECT_MS = (9, 2)  # the first release that has reconnect-ms, in place of reconnect


@dataclass(frozen=True)
class Ending:
    """How a run of QEMU ended. `failure` says in words what went wrong beside the guest's own verdict."""

    status: int
    failure: str | None = None


def command(options: Options, attached: Sequence[Disk], directory: Path, gdb_port: int | None) -> list[str]:
    """The command of QEMU. The disks are in order: QEMU gives the first the last slot, which the tree names first."""
    # Not those that the program only reads: what may be written to is allowed to be.
    overwritten = [disk.serial for disk in attached if disk.serial] if options.writes() else []
    boot_arguments = " ".join(f"{key}={value}" for key, value in options.boot_arguments(overwritten).items())
    # With several harts, the device by which one interrupts another without the firmware.
    machine = "virt,aclint=on" if options.harts > 1 else "virt"
    if options.interrupts != "plic":
        machine += f",aia={INTERRUPTS[options.interrupts]}"
    # Where there can be one hart only, QEMU before 8.1 leaves out the guest's fences, although its devices run in other
    # threads: about once in 10 million requests, both sides miss what the other has written, and a notification or an
    # interrupt is not sent. Where there could be a second one, it does not.
    harts = "1,maxcpus=2" if options.harts == 1 else str(options.harts)
    words = [options.qemu, "-machine", machine, "-smp", harts, "-m", human_size(options.memory)]
    words += ["-bios", "default", "-kernel", str(options.kernel), "-append", boot_arguments]
    if options.job is not None:
        words += ["-initrd", str(options.job.location(directory))]
    words += ["-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none", "-serial", "stdio"]
    served = [disk for disk in attached if disk.socket]
    if served:
        # What other processes see of the guest's memory.
        words += ["-object", f"memory-backend-memfd,id=memory,size={human_size(options.memory)},share=on"]
        words += ["-machine", "memory-backend=memory"]
    if options.transport != "mmio-legacy":
        words += ["-global", "virtio-mmio.force-legacy=false"]
    if options.icount:
        # sleep=off: an idle hart jumps to its next deadline instead of sleeping for it; with sleep=on no two runs agree
        # even without a disk.
        words += ["-icount", "shift=0,sleep=off"]
    if gdb_port is not None:
        words += ["-S", "-gdb", f"tcp:127.0.0.1:{gdb_port}"]
    # Before the disks, so that a device of the user's can have a slot in front of theirs (bus=virtio-mmio-bus.7).
    words += options.qemu_arguments
    if options.program == "random":
        words += ["-device", options.device_name("rng")]
    if options.log is not None:
        # One port: with more the device would offer MULTIPORT, for which the kernel has no use. A comma ends a value.
        path = str(options.log).replace(",", ",,")
        words += ["-chardev", f"file,id=log,path={path}", "-device", options.device_name("serial") + ",max_ports=1"]
        words += ["-device", "virtconsole,chardev=log"]
    if options.iothread:
        words += ["-object", f"iothread,id={disks.IOTHREAD}"]
    if options.iothreads:
        for disk in attached:
            for number in range(options.iothreads):
                words += ["-object", f"iothread,id={disks.iothread_of(disk, number)}"]
    types = _property_types(options.qemu, _device(options)) if options.iothreads else {}
    reconnect = "reconnect=1" if served and _release(options.qemu) < RECONNECT_MS else "reconnect-ms=1000"
    for disk in attached:
        words += disks.arguments(disk, options, reconnect, types)
    return words


def check(options: Options) -> None:
    """Refuses a QEMU that is not there or too old for its task, and a property that its device does not have."""
    if shutil.which(options.qemu) is None:
        remedy = "give the path of a program" if os.sep in options.qemu else "install the package qemu-system-misc"
        raise Refusal(f"--qemu: there is no program '{options.qemu}'; {remedy}")
    if options.iothread and _release(options.qemu) < THREADS_OF_DISKS:
        raise Refusal("--iothread: QEMU before 8.1 cannot serve these disks from a thread; give a newer one (--qemu)")
    if options.iothreads and _release(options.qemu) < SEVERAL_THREADS:
        older = _release(options.qemu) < THREADS_OF_DISKS
        remedy = "a newer one (--qemu)" if older else "a newer one (--qemu), or --iothread"
        raise Refusal(f"--iothreads: QEMU before 9.0 cannot serve a disk from several threads; give {remedy}")
    served = options.vhost_user_disks()
    if served and shutil.which(vhost_user.DAEMON) is None:
        raise Refusal(f"--disk {served[0]}: {vhost_user.DAEMON} is needed; install the package qemu-system-common")
    if not options.device:
        return
    if len(served) < len(options.disks) or not served:
        _check_properties(options, _device(options))
    if served:
        _check_properties(options, "vhost-user-blk-pci" if options.on_pci() else "vhost-user-blk")


def _check_properties(options: Options, device: str) -> None:
    """Refuses a property that QEMU's device does not have."""
    known = set(_property_types(options.qemu, device))
    if known:
        known.add("bus")  # of each device, and not in its help
    for pair in options.device:
        name = pair.split("=")[0]
        if known and name not in known:
            asking = shlex.join([options.qemu, "-device", f"{device},help"])
            raise Refusal(f"--device: QEMU's {device} has no '{name}'; see {asking}")


def _device(options: Options) -> str:
    """QEMU's name for its own disk."""
    return "virtio-blk-pci" if options.on_pci() else "virtio-blk-device"


def _property_types(qemu: str, device: str) -> dict[str, str]:
    """The properties of a device of QEMU's, with the type of each; empty if QEMU does not tell."""
    asking = [qemu, "-device", f"{device},help"]
    answer = subprocess.run(asking, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace").stdout
    return dict(re.findall(r"^\s*([^\s=]+)=<(\S+?)>", answer, re.MULTILINE))


def version(qemu: str) -> str:
    """The first line of `qemu --version`."""
    asking = [qemu, "--version"]
    ended = subprocess.run(asking, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    return ended.stdout.partition("\n")[0]


def _release(qemu: str) -> tuple[int, ...]:
    match = re.search(r"version ([0-9]+)\.([0-9]+)", version(qemu))
    return (0, 0) if match is None else (int(match[1]), int(match[2]))


def free_gdb_port() -> int:
    """The usual port for a debugger, or another one if it is taken."""
    for port in (GDB_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Refusal("--gdb: no free port on 127.0.0.1")


def run(words: Sequence[str], console: Console, timeout: float | None, passes_input: bool = False) -> Ending:
    """Runs QEMU to its end, or kills it after `timeout` seconds of silence. It never outlives this.

    The guest gets the standard input of `./run` if it is to have it.
    """
    try:
        pipe = subprocess.PIPE
        stdin = None if passes_input else subprocess.DEVNULL
        process = processes.start(words, stdin=stdin, stdout=pipe, stderr=pipe)
    except OSError as error:
        return Ending(1, f"{words[0]} cannot be started: {error.strerror}")
    try:
        timely = _forward(process, console, timeout)
        console.end()
        if not timely:
            why, remedy = "", "--gdb shows where the guest is"
            if console.in_reset:
                why = f"QEMU has not ended the reset of {', '.join(sorted(console.in_reset))}; "
                remedy = "see whether the storage behind the disk answers: QEMU waits for it"
            return Ending(
                NO_PROGRESS,
                f'no progress for {timeout:g} s: {why}last output: "{console.last_line[-200:]}"; QEMU was killed\n'
                f"run: --timeout SECONDS waits longer; {remedy}",
            )
        status = process.wait()
    finally:
        processes.stop(process)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    if status < 0:
        return Ending(128 - status, f"QEMU was killed by signal {-status}")
    if status != 0 and not console.spoke:
        return Ending(1, f"QEMU did not start (exit status {status})")
    return Ending(status)


def _forward(process: "subprocess.Popen[bytes]", console: Console, timeout: float | None) -> bool:
    """Passes on what QEMU and its guest say until it ends; false if the guest said nothing for too long."""
    assert process.stdout is not None and process.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        last = time.monotonic()
        while True:
            # Looked at before the streams: what QEMU wrote before it ended is then in them.
            ended = process.poll() is not None
            if timeout is not None and not ended and time.monotonic() - last >= timeout:
                return False
            ready = selector.select(0 if ended else 0.1)
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    last = time.monotonic()
                    console.feed(data)
                else:
                    sys.stderr.write(data.decode("utf-8", errors="replace"))
                    sys.stderr.flush()
            if ended and not ready:
                return True
