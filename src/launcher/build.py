"""Builds the kernel, quietly unless that fails."""

import fcntl
import shutil
import subprocess
from typing import Any

from console import ProgressLine
from options import CLANG_PRESET, ROOT
from values import Refusal


def build_kernel(preset: str, progress: ProgressLine) -> None:
    """Brings the kernel of the preset up to date; raises Refusal, after showing why it could not."""
    if preset == CLANG_PRESET and shutil.which("clang++") is None:
        raise Refusal("--compiler clang: there is no clang++; install clang (on Debian: apt-get install clang)")
    directory = ROOT / "build" / preset
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory.parent / ".lock", "w", encoding="utf-8") as lock:
        # Two builds in one directory disturb each other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "build.ninja").exists():
            progress.show("configuring the build")
            _run(["cmake", "--preset", preset], progress)
        progress.show("building the kernel")
        _run(["cmake", "--build", "--preset", preset], progress)
    progress.clear()


def _run(command: list[str], progress: ProgressLine) -> None:
    quietly: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace"}
    ended = subprocess.run(command, cwd=ROOT, **quietly)
    if ended.returncode != 0:
        progress.clear()
        print(ended.stdout + ended.stderr, end="", flush=True)
        raise BuildFailure(f"the kernel could not be built ({' '.join(command)})")


class BuildFailure(Refusal):
    """The kernel cannot be built; not the fault of the options."""
