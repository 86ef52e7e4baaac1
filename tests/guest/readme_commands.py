#!/usr/bin/env python3
"""Runs the commands of README.md as they stand there: every line of an `sh` block that begins with ./run and has arguments,
or with the path of a script of ours.

They take the kernel as it is built, but for the one with --trace, which builds its own.

The two commands without arguments are what ./test itself runs.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commands(readme: str) -> list[str]:
    """The lines of all blocks marked as sh."""
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(("./run ", "bench/"))]


def main() -> int:
    """Runs each; 0 if all of them end with 0."""
    found = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    if not found:
        print("README.md holds no command to run")
        return 1
    failed = 0
    for command in found:
        words = shlex.split(command)
        if words[0] == "./run" and "--trace" not in words:
            words.insert(1, "--no-build")
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        print(f"{'ok' if ended.returncode == 0 else 'FAILED'}: {command}")
        if ended.returncode != 0:
            print(ended.stdout[-2000:], ended.stderr[-2000:], sep="\n")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
