#!/usr/bin/env python3
"""The storage behind a disk stops answering, the driver resets the disk, and QEMU does not return from that: ./run says so."""

import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from case import Case, argument_parser, judge, run
from cases import append, qemu

CASE = Case(
    "blocked-reset", ("digest",), status=124, seconds=(6, 60),
    says=("^note: vda has completed nothing for 2 s, although it has requests$",
          "^run: no progress for 6 s: QEMU has not ended the reset of vda; last output: \"note: vda is being reset\"; QEMU was killed$",
          "^run: --timeout SECONDS waits longer; see whether the storage behind the disk answers: QEMU waits for it$"),
)  # fmt: skip


def try_it(kernel: Path, directory: Path) -> list[str]:
    """What is wrong, in words."""
    place = directory / "nbd"
    with open(directory / "image", "wb") as file:
        file.truncate(4 << 30)  # takes longer to read than the server lives
    server = subprocess.Popen(["qemu-nbd", "-k", place, "-f", "raw", "-t", directory / "image"])
    try:
        while not place.exists() and server.poll() is None:
            time.sleep(0.02)
        node = f"driver=nbd,node-name=far,server.type=unix,server.path={place}"
        disk = qemu("-blockdev", node, "-device", "virtio-blk-device,drive=far,serial=far")
        stop = threading.Timer(1.0, server.send_signal, [signal.SIGSTOP])
        stop.start()
        outcome = run([*CASE.arguments, "--timeout=6", *append("request_timeout=2"), *disk], kernel, directory, 60)
        stop.join()
    finally:
        server.kill()
        server.wait()
    complaints = judge(CASE, outcome)
    return [outcome.explain(complaints)] if complaints else []


def main() -> int:
    """The exit status."""
    given = argument_parser(__doc__).parse_args()
    # Not below --scratch: the path of a socket has room for a hundred characters.
    with tempfile.TemporaryDirectory(prefix="inflight-") as directory:
        complaints = try_it(given.kernel.resolve(), Path(directory))
    print(f"{CASE.name}: {'FAILED' if complaints else 'passed'}", *complaints, sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
