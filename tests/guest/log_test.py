#!/usr/bin/env python3
"""What `./run --log FILE` writes is what the kernel says on its serial console, byte for byte, but for the ends of lines."""

import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from case import ROOT, argument_parser
from cases import append

MAX_SECONDS = 60
END_OF_FIRMWARE = "Boot HART MEDELEG"


@dataclass(frozen=True)
class Run:
    """A run, the exit status, and a line of the file."""

    name: str
    arguments: tuple[str, ...]
    status: int
    says: str
    least_bytes: int = 0
    panics: bool = False


RUNS = [
    # 200,000 characters, many times the buffer of the driver, in as many lines as rounds.
    *(Run(f"random-{transport}{name}", ("random", f"--transport={transport}", *append("bytes=100000", *words), *others),
          0, "[0-9a-f]{64}", 200_000)
      for transport in ("mmio", "mmio-legacy")
      for name, words, others in (("", (), ()), ("-no-event-idx", ("features_off=event_idx", "poll=off"), ("--harts=2",)))),
    # The note is written before the device is found.
    *(Run(f"info-{transport}", ("info", f"--transport={transport}", *append("root=/dev/vda")),
          0, "note: taken, and without effect here, .* root=/dev/vda") for transport in ("mmio", "mmio-legacy")),
    Run("info-device", ("info",), 0, r"log, slot 0x\w+: console \(device id 3\), register layout version 2, .*"),
    Run("error", ("digest",), 1, "error: .*"),
    Run("iops", ("iops", "--disk=null:1G", "--harts=4", *append("ios=5000", "depth=8")), 0, '@result {"program":"iops",.*'),
    Run("panic", ("crash", *append("kind=null")), 101, "", panics=True),
]  # fmt: skip

def boot(run: Run, kernel: Path, file: Path) -> tuple[int, str, str]:
    """Runs QEMU as `./run` does. Returns the exit status, and what QEMU wrote to standard output and standard error."""
    dry = ["./run", *run.arguments, "--log", str(file), "--kernel", str(kernel), "--no-build", "--dry-run"]
    command = shlex.split(subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    ended = subprocess.run(
        [*command, "-trace", "virtio_queue_notify"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=MAX_SECONDS, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout.decode().replace("\r\n", "\n"), ended.stderr.decode(errors="replace")


def after_firmware(serial: str) -> str:
    """What the kernel says."""
    start = serial.find("\n", serial.rfind(END_OF_FIRMWARE)) + 1
    return serial[start:].lstrip("\n")


def complaints_about(run: Run, kernel: Path, directory: Path) -> list[str]:
    """What is wrong, in words."""
    file = directory / "a file, with a comma"
    file.unlink(missing_ok=True)
    status, serial, trace = boot(run, kernel, file)
    log = file.read_text() if file.exists() else ""
    said = after_firmware(serial)
    complaints = []
    if status != run.status:
        complaints.append(f"expected the exit status {run.status}, found {status}")
    if run.panics:
        if "\npanic: " not in serial or not said.startswith(log) or "panic: " in log:
            complaints.append("expected the panic on the serial console, and in the file what comes before it")
    elif log != said:
        complaints.append(f"the file is not what the serial console says: {len(log)} and {len(said)} characters")
    if len(log) < run.least_bytes:
        complaints.append(f"expected {run.least_bytes} bytes, found {len(log)}")
    if run.says and not any(re.fullmatch(run.says, line) for line in log.splitlines()):
        complaints.append(f"expected a line that matches /{run.says}/")
    notifications = len(re.findall(r"virtio_queue_notify .* n 1 ", trace))
    # One for each line at most, and one more each time the driver's buffer begins again.
    if run.least_bytes and not 0 < notifications <= len(log.splitlines()) + len(log) // 65536:
        complaints.append(f"expected a notification for each line at most, found {notifications}")
    if complaints:
        complaints += ["serial console:", serial[-500:], "file:", log[-500:]]
    return complaints


def main() -> int:
    """The exit status."""
    given = argument_parser(__doc__).parse_args()
    failed = False
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        directory, kernel = Path(name), given.kernel.resolve()
        for run in RUNS:
            complaints = complaints_about(run, kernel, directory)
            print(f"log-{run.name}: {'FAILED' if complaints else 'passed'}", *complaints, sep="\n")
            failed |= bool(complaints)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
