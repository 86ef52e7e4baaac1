"""A process that serves a disk, and can be killed and started again at the same place."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from vm import PATIENCE, Broken


class DiskServer:
    """`words` start it, and it serves the disk once the file `ready` is there. It leaves `left` behind when it is killed."""

    def __init__(self, words: Sequence[str], ready: Path, left: Sequence[Path] = ()) -> None:
        self._words = words
        self._ready = ready
        self._left = (ready, *left)
        self._process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Until it serves the disk."""
        for path in self._left:
            path.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._words)
        until = time.monotonic() + PATIENCE
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > until:
                raise Broken(f"{self._words[0]} does not start")
            time.sleep(0.01)

    def kill(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
