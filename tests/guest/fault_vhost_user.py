"""Faults of a disk that another process serves by the vhost-user protocol: the process is killed, and started again."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from disk_server import DiskServer
from fault_cases import SOAK_BYTES, fault
from fault_trial import Session, Skipped, Trial, finish_soak, image, judge_soak
from vm import Broken, Machine, qemu_command

DAEMON = "qemu-storage-daemon"
SERIAL = "vhost_user_blk"  # that this daemon gives its disks
TRANSPORTS = {
    "mmio": ("--transport=mmio",),
    "pci": ("--transport=pci",),
    "pci-messages": ("--transport=pci", "--interrupts=imsic"),
}


class StorageDaemon(DiskServer):
    """qemu-storage-daemon with one disk."""

    def __init__(self, directory: Path, contents: Path, queues: int, iops: int) -> None:
        self.socket = directory / "disk"  # not with the image: the path of a socket has room for a hundred characters
        pid = directory / "pid"
        words = [DAEMON, "--object", f"throttle-group,id=limit,x-iops-total={iops}"]
        words += ["--blockdev", f"driver=file,node-name=file,filename={contents},discard=unmap"]
        words += ["--blockdev", "driver=throttle,node-name=disk,throttle-group=limit,file=file,discard=unmap"]
        words += ["--export", f"type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path={self.socket},"
                  f"num-queues={queues},writable=on", "--pidfile", str(pid)]  # fmt: skip
        super().__init__(words, ready=pid, left=(self.socket,))


@contextlib.contextmanager
def daemon_of(contents: Path, queues: int = 1, iops: int = 0) -> Iterator[StorageDaemon]:
    """A daemon for the time of a block; `iops`: how many requests it does in a second, 0: as many as it can."""
    if shutil.which(DAEMON) is None:
        raise Skipped(f"{DAEMON} is not installed (package qemu-system-common)")
    with tempfile.TemporaryDirectory(prefix="inflight-") as directory:
        daemon = StorageDaemon(Path(directory), contents, queues, iops)
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.kill()


def start(trial: Trial, daemon: StorageDaemon, program: str, options: Sequence[str], append: Sequence[str]) -> Machine:
    """A machine with the daemon's disk."""
    device = "vhost-user-blk-pci" if any("pci" in each for each in options) else "vhost-user-blk"
    asked = subprocess.run([trial.qemu, "-device", f"{device},help"], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise Skipped(f"this QEMU has no {device}")
    arguments = [f"--disk=vhost-user:{daemon.socket}", "--destroy", f"--append=overwrite={SERIAL}", *options]
    return Machine(qemu_command(program, trial.kernel, trial.qemu, *arguments, *(f"--append={each}" for each in append)),
                   trial.directory, apart=True)  # fmt: skip


def come_back(trial: Trial, options: Sequence[str]) -> None:
    """What is asked while the daemon is away waits, and ends well when it is back."""
    path = image(trial.directory / "disk")
    with daemon_of(path) as daemon, Session(start(trial, daemon, "requests", options, ())) as session:
        session.do("write 0 8 1", "write 0+8 ok")
        for generation in (2, 3):
            daemon.kill()
            waiting = session.begin(f"write 8 8 {generation} 4", 4) + session.begin("read 0 8 1", 1)
            session.pending(*waiting)
            daemon.start()
            session.expect(waiting, *(f"write {8 + 8 * number}+8 ok" for number in range(4)), "read 0+8 ok 1*8")
            session.do("read 8 8", f"read 8+8 ok {generation}*8")


def stay_away(trial: Trial, options: Sequence[str]) -> None:
    """The daemon does not come back: every request ends with an error, and so does the machine."""
    path = image(trial.directory / "disk")
    with daemon_of(path) as daemon, Session(start(trial, daemon, "requests", options, ("request_timeout=1",))) as session:
        session.do("write 0 8 1", "write 0+8 ok")
        daemon.kill()
        session.do("read 0 8 4", *(f"read {8 * number}+8 timed_out" for number in range(4)))
        session.do("write 0 8 2", "write 0+8 timed_out")
        session.do("flush", "flush 0+0 timed_out")
        lines = [line for line in session.machine.lines if line.startswith("note: ")]
        if lines[:2] != ["note: vda has completed nothing for 1 s, although it has requests", "note: vda is being reset"]:
            raise Broken(f"the kernel says of it: {lines[:2]}")
        session.resets = None


def kill_in_flight(trial: Trial, options: Sequence[str]) -> None:
    """The daemon dies with a request inside in each queue, several times: all requests end well, and the image holds them.

    A queue of one request, because QEMU gives the ring to the next daemon as if all before used.idx was used in order, which
    is true of such a queue; this daemon keeps no record of what is in flight."""
    path = image(trial.directory / "disk", SOAK_BYTES)
    how = (*options, "--queues=4", "--harts=2", "--queue-size=4", "--device=indirect_desc=off")
    with daemon_of(path, queues=4, iops=1500) as daemon:
        with start(trial, daemon, "soak", how, ("ios=4000", "depth=16")) as machine:
            machine.await_line("soak: begins")
            for _ in range(3):
                time.sleep(0.3)
                daemon.kill()
                daemon.start()
            if machine.results():
                raise Broken("the soak ended before the last kill: it is too short to show anything")
            judge_soak(finish_soak(machine, holds=False), path)


def kill_in_deep_queue(trial: Trial, options: Sequence[str]) -> None:
    """The same with many requests in each queue, which the daemon does in another order: QEMU then has some done again, which
    the driver finds out, and leaves others out. Each request ends, well or with an error, and the disk works again. Nothing
    is known of the data (docs/limits.md)."""
    path = image(trial.directory / "disk")
    how = (*options, "--queues=2", "--harts=2")
    with daemon_of(path, queues=2, iops=400) as daemon:
        with Session(start(trial, daemon, "requests", how, ("request_timeout=2",))) as session:
            for generation in (1, 2, 3):
                numbers = session.begin(f"write 0 1 {generation} 96", 96)
                session.outcome(numbers[0])
                daemon.kill()
                time.sleep(0.1)
                daemon.start()
                for sector, number in enumerate(numbers):
                    outcome = session.outcome(number)
                    if outcome not in {f"write {sector}+1 {status}" for status in ("ok", "timed_out", "device_reset")}:
                        raise Broken(f"a write ended so: {outcome}")
            session.do("flush", "flush 0+0 ok")
            session.do("write 100 8 9", "write 100+8 ok")
            session.do("read 100 8", "read 100+8 ok 9*8")
            session.resets = None


def add_all() -> None:
    """A fault of each kind over each transport."""
    for name, options in TRANSPORTS.items():
        for what, run in (
            ("comes-back", come_back),
            ("stays-away", stay_away),
            ("is-killed-in-flight", kill_in_flight),
            ("is-killed-with-a-deep-queue", kill_in_deep_queue),
        ):
            slow = run is not come_back and name != "pci-messages"
            fault(f"vhost-user-server-{what}-{name}", slow)(lambda trial, run=run, options=options: run(trial, options))


add_all()
