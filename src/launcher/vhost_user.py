"""Disks that another process serves, by the vhost-user protocol: qemu-storage-daemon, started for a run."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import disks
import processes
from disks import Disk, Kind
from options import Options
from values import Refusal

DAEMON = "qemu-storage-daemon"
PATIENCE = 30.0  # seconds for its start


def command(disk: Disk, options: Options) -> list[str]:
    """The command that serves a disk; empty for one that no process of ./run serves."""
    if not disk.socket or disk.kind is Kind.SERVER:
        return []
    socket = disk.socket.replace(",", ",,")
    export = f"type=vhost-user-blk,id={disk.name},node-name={disk.name},addr.type=unix,addr.path={socket}"
    export += f",num-queues={options.queues},writable={'off' if options.read_only else 'on'}"
    return [DAEMON, "--blockdev", disks.node(disk, options), "--export", export, "--pidfile", f"{disk.socket}.pid"]


class Servers:
    """The processes that serve disks of a run."""

    def __init__(self) -> None:
        self._running: list[tuple[Disk, "subprocess.Popen[bytes]", Path]] = []

    def start(self, disk: Disk, options: Options, directory: Path) -> None:
        """Starts the process that serves the disk, and waits until it does."""
        said = directory / f"{disk.name}.{DAEMON}"
        with open(said, "wb") as log:
            process = processes.start(command(disk, options), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running.append((disk, process, said))
        until = time.monotonic() + PATIENCE
        while not Path(f"{disk.socket}.pid").exists():  # it is written when everything has begun
            if process.poll() is not None:
                raise Refusal(f"--disk {disk.given}: {DAEMON} does not serve it ({_last_line(said)})")
            if time.monotonic() > until:
                raise Refusal(f"--disk {disk.given}: {DAEMON} was not ready within {PATIENCE:g} s")
            time.sleep(0.01)

    def complaint(self) -> str | None:
        """Which of them has ended though nobody asked it to, in words."""
        for disk, process, said in self._running:
            if (status := process.poll()) is not None:
                how = f"signal {-status}" if status < 0 else f"exit status {status}"
                why = f": {last}" if (last := _last_line(said)) else ""
                return f"{DAEMON}, which served {disk.name}, has ended ({how}){why}"
        return None

    def stop(self) -> None:
        """Ends all of them: what the guest has flushed is in the images then."""
        while self._running:
            processes.stop(self._running.pop()[1])


@contextmanager
def servers(attached: Sequence[Disk], options: Options, directory: Path) -> Iterator[Servers]:
    """The processes for those of the disks that need one."""
    started = Servers()
    try:
        for disk in attached:
            if command(disk, options):
                started.start(disk, options, directory)
        yield started
    finally:
        started.stop()


def _last_line(said: Path) -> str:
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix(f"{DAEMON}: ") if lines else ""
