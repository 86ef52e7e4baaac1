"""Processes that never outlive the launcher."""

import ctypes
import os
import signal
import subprocess
from typing import Any, Sequence

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def start(command: Sequence[str], **how: Any) -> "subprocess.Popen[bytes]":
    """Starts `command` in a process group of its own; the system kills it if the launcher dies without doing so."""
    launcher = os.getpid()

    def die_with_launcher() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it died before the call above
            os._exit(1)

    return subprocess.Popen(command, preexec_fn=die_with_launcher, start_new_session=True, **how)


def stop(process: "subprocess.Popen[bytes]", patience: float = 2.0) -> None:
    """Ends the process and its group: asked first, killed after `patience` seconds."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
    _signal_group(process, signal.SIGKILL)  # also what a wrapper left behind
    process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
