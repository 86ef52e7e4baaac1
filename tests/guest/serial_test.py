#!/usr/bin/env python3
"""Disks that do not tell their serial number, tell an odd one, or tell wrongly how long it is: info shows them and waits for none
of them, no program writes to them, and ./run vouches for none of them.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from case import Case, argument_parser, judge, run
from cases import append, qemu
from vhost_disk import OK, UNSUPPORTED, Answer, VhostDisk

MEMORY = qemu("-object", "memory-backend-memfd,id=memory,size=256M,share=on", "-machine", "memory-backend=memory")


@dataclass(frozen=True)
class Trial:
    """A disk that answers like this when it is asked for its serial number, and the run that is made with it."""

    answer: tuple[int, bytes] | None
    case: Case
    short_by: int = 0  # of the used length


TRIALS = [
    Trial(None, Case("silent-info", ("info",), seconds=(3, 20), guest=('devices.0.name == "vda"', "devices.0.serial == null"),
                     says=("serial +unknown: the device has not replied$", "^  features accepted "))),
    # The disk of ./run is verified all the same.
    Trial(None, Case("silent-verify", ("verify", "--disk=1M"), status=1, seconds=(3, 20),
                     refuses=r"vda \(serial ''\) is left out, not overwritten: it does not report its serial number; ",
                     says=("the host agrees: vdb",))),
    Trial(None, Case("silent-digest", ("digest", "--disk=1M"), status=1, seconds=(3, 25),
                     says=("vda is not checked: it does not report its serial number", "vdb matches the host"))),
    Trial((UNSUPPORTED, b"x"), Case("unsupported-info", ("info",), seconds=(0, 10), guest=("devices.0.serial == null",),
                                    says=("serial +unknown: unsupported$",))),
    Trial((UNSUPPORTED, b"given"), Case("unsupported-iops", ("iops", *append("rw=randwrite", "overwrite=given")), status=1,
                                        refuses="vda .* it does not report its serial number")),
    # 20 bytes, so without a NUL; not UTF-8, and with all that a terminal or a line could mistake.
    Trial((OK, b'\r\n@result {"a":1}\x1b[\xff'),
          Case("odd-info", ("info",), guest=(r'devices.0.serial == "\r\n@result {\"a\":1}\u001b[\u00ff"',),
               says=(r"serial +\\u000d\\u000a@result \{\\u0022a\\u0022:1\}\\u001b\[\\u00ff$",))),
    Trial((OK, b"short"), Case("short-length", ("info",), guest=('devices.0.serial == "short"', "devices.0.short_lengths == 1"),
                               says=("^note: vda reports used lengths that are too short: its status bytes are believed$",
                                     "^  used lengths +1 of the requests since the start: too short$")), short_by=1),
    Trial((OK, b"short"), Case("short-length-strict", ("info", *append("strict_lengths=1")),
                               guest=("devices.0.serial == null", "devices.0.short_lengths == 1"),
                               says=("serial +unknown: device_error$",)), short_by=1),
    Trial((OK, b""), Case("empty-verify", ("verify", "--disk=1M"), status=1, refuses="its serial number is empty; ",
                          says=("the host agrees: vdb",))),
    # That it is named is not enough for a write; that it does not keep what is written is found out.
    Trial((OK, b"a, b%"), Case("named-verify", ("verify", "--disk=1M", *append("overwrite=a%2c%20b%25")), status=1,
                               refuses="^error: verify: write of block [0-9]+ .* of vda failed: unsupported",
                               says=("the host agrees: vdb",))),
]  # fmt: skip


def try_one(trial: Trial, kernel: Path, directory: Path) -> list[str]:
    """What is wrong, in words."""
    answer: Answer = lambda: trial.answer  # noqa: E731 (named for its type)
    disk = VhostDisk(directory / "disk", 256, answer, trial.short_by)
    device = qemu("-chardev", f"socket,id=disk,path={directory / 'disk'}", "-device", "vhost-user-blk,chardev=disk")
    try:
        outcome = run([*trial.case.arguments, *MEMORY, *device], kernel, directory, 60)
    finally:
        disk.stop()
        (directory / "disk").unlink()
    complaints = judge(trial.case, outcome)
    if disk.asked != 1:
        complaints.append(f"expected the disk to be asked once, found {disk.asked} times")
    return [outcome.explain(complaints)] if complaints else []


def main() -> int:
    """The exit status."""
    given = argument_parser(__doc__).parse_args()
    failed = False
    # Not below --scratch: the path of a socket has room for a hundred characters.
    with tempfile.TemporaryDirectory(prefix="inflight-") as directory:
        for trial in TRIALS:
            complaints = try_one(trial, given.kernel.resolve(), Path(directory))
            print(f"{trial.case.name}: {'FAILED' if complaints else 'passed'}", *complaints, sep="\n", flush=True)
            failed |= bool(complaints)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
