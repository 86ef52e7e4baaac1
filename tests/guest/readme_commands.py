#!/usr/bin/env python3
"""Runs the commands of README.md, CONTRIBUTING.md and the pages in docs/ as they stand there: every line of an `sh` block
that begins with ./run and has arguments, or with the path of a script of ours. A command that several pages have runs once.
Every link of these pages to a file of ours must lead to one.

They take the kernel as it is built, but for those that build their own (--trace, --compiler).

The two commands without arguments are what ./test itself runs.
"""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILDS_ITS_OWN = {"--trace", "--compiler"}
# guest-clang runs this one in the same build directory, perhaps at the same time.
ELSEWHERE = {"./run digest --compiler clang --disk 64M"}


def pages() -> list[Path]:
    """README.md first."""
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "bench/PERFORMANCE.md")]
    return [*named, *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> list[str]:
    """The lines of all blocks marked as sh."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("./run ", "bench/"))]


def broken_links(page: Path, text: str) -> list[str]:
    """The links of a page that lead to no file."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        if not re.match(r"[a-z]+:", target) and not (page.parent / target.split("#")[0]).exists():
            broken.append(f"{page.relative_to(ROOT)}: {target}")
    return broken


def main() -> int:
    """Runs each; 0 if all of them end with 0."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    found = list(dict.fromkeys(command for text in texts.values() for command in commands(text)))
    if not commands(texts[ROOT / "README.md"]):
        print("README.md holds no command to run")
        return 1
    failed = 0
    for link in [link for page, text in texts.items() for link in broken_links(page, text)]:
        print(f"FAILED: a link leads nowhere: {link}")
        failed += 1
    for command in found:
        if command in ELSEWHERE:
            print(f"skipped: {command} (the test guest-clang runs it)")
            continue
        words = shlex.split(command)
        if words[0] == "./run" and not BUILDS_ITS_OWN.intersection(words):
            words.insert(1, "--no-build")
        started = time.monotonic()
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        print(f"{'ok' if ended.returncode == 0 else 'FAILED'}, {time.monotonic() - started:.1f} s: {command}")
        if ended.returncode != 0:
            print(ended.stdout[-2000:], ended.stderr[-2000:], sep="\n")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
