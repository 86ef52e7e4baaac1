#!/usr/bin/env python3
"""Plays the part of QEMU for the launcher's tests: does what INFLIGHT_STUB_STEPS says, a list of steps in JSON.

    ["say", TEXT]       the guest prints TEXT, with "SERIAL0" replaced by the serial number of the first disk, and so on
    ["complain", TEXT]  QEMU prints TEXT to stderr
    ["echo"]            the guest prints the line that it gets
    ["sleep", SECONDS]
    ["deaf"]            from now on SIGTERM is ignored
    ["write", FILE]     the disk vda gets the contents of FILE
    ["copy", OPTION, FILE]  FILE gets the contents of what the option names
    ["exit", STATUS]

Without an exit it hangs. Its process id goes to the file named by INFLIGHT_STUB_PID.
"""

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

PROPERTIES = "virtio-blk-device options:\n  event_idx=<bool>       - on/off (default: true)\n  num-queues=<uint16>\n"


def main() -> None:
    """Answers a question as QEMU would, or plays the steps."""
    if "--version" in sys.argv:
        print("QEMU emulator version 0.0 (stub)\nmore")
        return
    if "virtio-blk-device,help" in sys.argv:
        print(PROPERTIES)
        return
    Path(os.environ["INFLIGHT_STUB_PID"]).write_text(str(os.getpid()), encoding="utf-8")
    for step, *values in json.loads(os.environ["INFLIGHT_STUB_STEPS"]):
        if step == "say":
            serials = re.findall(r"^virtio-blk-device,\S*serial=([^,\s]*)", "\n".join(sys.argv), re.MULTILINE)
            sys.stdout.write(re.sub(r"SERIAL(\d)", lambda match: serials[int(match[1])], values[0]))
            sys.stdout.flush()
        elif step == "complain":
            print(values[0], file=sys.stderr, flush=True)
        elif step == "echo":
            sys.stdout.write(sys.stdin.readline())
            sys.stdout.flush()
        elif step == "sleep":
            time.sleep(values[0])
        elif step == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif step == "write":
            disk = re.search(r"node-name=vda\S*filename=(\S+)", " ".join(sys.argv))
            assert disk is not None
            shutil.copyfile(values[0], disk[1])
        elif step == "copy":
            shutil.copyfile(sys.argv[sys.argv.index(values[0]) + 1], values[1])
        elif step == "exit":
            sys.exit(values[0])
    while True:
        time.sleep(60)


main()
