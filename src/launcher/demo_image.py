"""The disk of the demo: a real ext4 file system, filled with files."""

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from disks import IMAGES, Disk, Kind
from options import ROOT
from values import Refusal

DEMO_IMAGE = IMAGES / "demo.ext4"
DEMO_SIZE = 64 << 20


def disk(name: str, serial: str) -> Disk:
    """The image as a disk of the machine; it need not be there yet."""
    return Disk(DEMO_IMAGE.name, name, serial, Kind.FILE, str(DEMO_IMAGE), "file", DEMO_SIZE)


def ensure() -> None:
    """Makes the image unless it is there; another launcher may be doing the same."""
    if DEMO_IMAGE.exists():
        return
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=IMAGES, prefix="demo-") as directory:
        files = Path(directory) / "files"
        _fill(files)
        image = Path(directory) / "ext4"
        with open(image, "wb") as empty:
            empty.truncate(DEMO_SIZE)
        # A user's PATH often lacks the directories of the administrator.
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        program = shutil.which("mkfs.ext4", path=path)
        if program is None:
            raise Refusal("demo: mkfs.ext4 is needed to make its disk; install the package e2fsprogs")
        command = [program, "-q", "-L", "inflight-demo", "-d", str(files), str(image)]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode != 0:
            raise Refusal(f"demo: mkfs.ext4 could not make its disk: {' '.join(ended.stderr.split())}")
        os.replace(image, DEMO_IMAGE)


def _fill(files: Path) -> None:
    for folder in ("arch", "async", "drivers", "src", "tests"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, files / folder, ignore=shutil.ignore_patterns("__pycache__"))
    files.mkdir(exist_ok=True)
    words = "the quick brown fox reads one sector and awaits the next while many more are in flight\n".split(" ")
    source = random.Random(1)
    for number in range(8):
        (files / f"text-{number}.txt").write_text(" ".join(source.choices(words, k=200_000)))
        (files / f"noise-{number}.bin").write_bytes(source.randbytes(3 << 20))
    (files / "zeroes.bin").write_bytes(bytes(4 << 20))
