#!/usr/bin/env python3
"""Shows that a kernel without the trace pays nothing for it: the instructions of the files that call it are the same if
every line that speaks of it is taken out. And with the trace they are not, so that there is something to see.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOT = (
    "async/executor.cpp",
    "drivers/block/disk.cpp",
    "drivers/block/channel.cpp",
    "drivers/block/queue.cpp",
    "src/programs/digest.cpp",
)
FOLDERS = ("arch", "async", "bench", "drivers", "include", "src")
EQUALITY = re.compile(r"\b(beq|bne)\t(\w+),(\w+),")
SPEAKS_OF_IT = re.compile(r"trace::|\btrack_?\b")


def copy_without_trace(to: Path) -> None:
    """Copies the sources, leaving those lines out; the trace itself stays."""
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, to / folder, symlinks=True, ignore=ignored)
    for path in [*to.rglob("*.hpp"), *to.rglob("*.cpp")]:
        if path.stem != "trace":
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if not SPEAKS_OF_IT.search(line.partition("//")[0])))


def code_of(source: str, command: list[str], root: Path, objects: Path, *more: str) -> list[str]:
    """The instructions of a file, compiled as in the build but from that root.

    Which operand of a test for equality comes first is up to the numbers that the compiler gives to declarations.
    """
    target = objects / "object"
    words = [word.replace(str(ROOT / source), str(root / source)) for word in command]
    folders = {f"-I{ROOT / name}": f"-I{root / name}" for name in ("", "include")}
    words = [folders.get(word, word) for word in words]
    words[words.index("-o") + 1] = str(target)
    subprocess.run([*words, *more, "-g0"], check=True)
    disassemble = [words[0].replace("g++", "objdump"), "-dr", "--no-show-raw-insn", str(target)]
    lines = subprocess.run(disassemble, check=True, capture_output=True, text=True).stdout.splitlines()
    return [EQUALITY.sub(lambda match: f"{match[1]}\t{','.join(sorted(match.group(2, 3)))},", line) for line in lines]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="the build of the kernel")
    given = parser.parse_args()
    commands = {
        Path(each["file"]): [word for word in shlex.split(each["command"]) if not word.startswith("-M")]
        for each in json.loads((given.build / "compile_commands.json").read_text())
    }
    failed = False
    with tempfile.TemporaryDirectory(prefix="inflight-without-trace-") as directory:
        objects, without = Path(directory) / "objects", Path(directory) / "sources"
        objects.mkdir()
        copy_without_trace(without)
        for source in HOT:
            command = commands[ROOT / source]
            as_it_is = code_of(source, command, ROOT, objects)
            taken_out = code_of(source, command, without, objects)
            traced = code_of(source, command, ROOT, objects, "-DINFLIGHT_TRACE=1")
            right = as_it_is == taken_out != traced and len(as_it_is) > 100
            sizes = f"{len(as_it_is)} lines of code, {len(taken_out)} without, {len(traced)} with the trace"
            print(f"{'ok' if right else 'FAILED'}: {source}: {sizes}")
            failed = failed or not right
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
