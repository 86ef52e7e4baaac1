"""What the user sees of the guest's serial console, and what is kept from it."""

import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from symbols import object_at, places
from values import printable

PROGRESS_INTERVAL = 5.0  # seconds between progress lines where they cannot be rewritten
LONGEST_LINE = 1 << 20


class ProgressLine:
    """One transient line on stderr, rewritten in place on a terminal and shown now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False
        self._last = time.monotonic()

    def show(self, text: str) -> None:
        """Shows `text` in place of what was shown before."""
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{text[:width]}")
            self._shown = True
        elif time.monotonic() - self._last >= PROGRESS_INTERVAL:
            self._last = time.monotonic()
            self._write(text + "\n")

    def clear(self) -> None:
        """Makes room for a lasting line."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Console:
    """Takes the bytes of the serial console: prints lines, shows progress, keeps results.

    A line `@progress TEXT` is shown and forgotten, `@result JSON` and `@trace …` are kept and not shown. The banner of
    the firmware is held back, and shown only if the kernel never speaks.
    """

    def __init__(self, kernel: Path, progress: ProgressLine, stream: TextIO | None = None) -> None:
        self.results: list[dict[str, Any]] = []
        self.broken_results: list[str] = []
        self.trace: list[str] = []
        self.last_line = ""
        self.in_reset: set[str] = set()  # the disks whose reset has begun and not ended
        self.spoke = False
        self._kernel = kernel
        self._progress = progress
        self._stream = stream  # where lasting lines go; None is standard output
        self._partial = b""
        self._firmware: list[str] = []
        self._in_firmware = False
        self._banner_ended = False

    def feed(self, data: bytes) -> None:
        """Takes what arrived; an unfinished line waits for its end."""
        self.spoke = True
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._partial) > LONGEST_LINE:
            self.flush()

    def flush(self) -> None:
        """Takes an unfinished line as it is."""
        if self._partial:
            line, self._partial = self._partial, b""
            self._take(line)

    def end(self) -> None:
        """Nothing more will come."""
        self.flush()
        self._progress.clear()
        if self._in_firmware:
            self._in_firmware = False
            for line in self._firmware:
                self.say(line)

    def say(self, line: str) -> None:
        """Prints a lasting line."""
        self._progress.clear()
        print(line, file=self._stream, flush=True)

    def _take(self, raw: bytes) -> None:
        line = printable(raw.decode("utf-8", errors="replace").rstrip("\r"))
        if line.strip():
            self.last_line = line.strip()
        if self._is_firmware(line):
            self._firmware.append(line)
        elif line.startswith("@progress "):
            self._progress.show(line.removeprefix("@progress "))
        elif line.startswith("@result "):
            self._keep_result(line.removeprefix("@result "))
        elif line.startswith("@trace "):
            self.trace.append(line)
        else:
            self._note_reset(line)
            self.say(line + self._place_of(line))

    def _note_reset(self, line: str) -> None:
        if begins := re.fullmatch(r"note: (vd[a-z]+) is being reset", line):
            self.in_reset.add(begins[1])
        elif ends := re.fullmatch(r"note: (vd[a-z]+) (?:works again|is lost: .*)", line):
            self.in_reset.discard(ends[1])

    def _is_firmware(self, line: str) -> bool:
        """OpenSBI's banner goes from its name to its last line; blank lines around it belong to it."""
        if line.startswith("OpenSBI v"):
            self._in_firmware = True
        elif line.startswith("Boot HART MEDELEG"):
            self._banner_ended = True
        elif line.startswith(("@", "inflight", "panic:")) or (self._banner_ended and line.strip()):
            self._in_firmware = False
        return self._in_firmware or (not self._firmware and not line.strip())

    def _keep_result(self, text: str) -> None:
        try:
            result = json.loads(text)
        except ValueError:
            result = None
        if isinstance(result, dict):
            self.results.append(result)
        else:
            self.broken_results.append(text)

    def _place_of(self, line: str) -> str:
        """The function and line of an address of a backtrace, or in a table of tasks; or the name of an object.

        "in" is the beginning of a function. "pc" is the instruction that failed, "to" what it would have reached. "at" is a
        return address, and may lie in another line than the call or, after a call that never returns, in another
        function: the byte before it is asked for.
        """
        match = re.fullmatch(r" +(?:(pc|at|to)|.+, (in)) (0x[0-9a-f]+)", line)
        if match is None:
            return ""
        address = int(match[3], 16) - (match[1] == "at")
        if match[1] in ("pc", "to") and (name := object_at(self._kernel, address)):
            return f"  {name}"
        place = places(self._kernel, [address]).get(address)
        if place is None:
            return ""
        return f"  {place.short_name if match[2] else place.function} ({place.line})"
