#!/usr/bin/env python3
"""Runs clang-tidy on several sources at a time: tidy.py DATABASE FOLDER SOURCE…

Most of its time goes into what the sources include, so they are copied behind one another into a file of FOLDER; not included,
as some checks and the analyzer pass over what is not in the main file. It is compiled as the first of them is in the compilation
database, but without precompiled headers: they have more in them than a source includes, and take longer to look at. What
clang-tidy says of the file is said of the sources.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

# The static analyzer explores a part of its usual budget of 225,000 states a function: the whole takes three times as long.
BUDGET = [f"--extra-arg={word}" for word in ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=30000")]


def included_by(file: Path) -> list[str]:
    """The sources that a file of CMAKE_UNITY_BUILD includes."""
    return re.findall(r'^#include "([^"]+)"', file.read_text(encoding="utf-8"), re.MULTILINE)


def without_precompiled(words: list[str]) -> list[str]:
    """The command without "-Xclang -include-pch -Xclang FILE" and "-Xclang -include -Xclang FILE"."""
    kept = []
    rest = iter(words)
    for word in rest:
        if word == "-Xclang":
            option = next(rest)
            if option in ("-include", "-include-pch"):
                next(rest)
                next(rest)
                continue
            kept += [word, option]
        else:
            kept.append(word)
    return kept


def entry_for(database: Path, source: str, whole: Path) -> dict[str, str]:
    """An entry of the database: the file `whole`, compiled as the source is."""
    for entry in json.loads(database.read_text(encoding="utf-8")):
        file = Path(entry["file"])
        if source in (included_by(file) if file.parent.name == "Unity" else [str(file)]):
            words = [str(whole) if word == str(file) else word for word in shlex.split(entry["command"])]
            return entry | {"file": str(whole), "command": shlex.join(without_precompiled(words))}
    raise SystemExit(f"{source} is not in {database}")


def main(database: str, folder: str, *sources: str) -> int:
    """The exit status of clang-tidy."""
    directory = Path(folder).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    whole = directory / "whole.cpp"
    places = []  # of each line
    text = ""
    for source in sources:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
        text += "\n".join(lines) + "\n"
        places += [f"{source}:{number}:" for number in range(1, len(lines) + 1)]
    whole.write_text(text, encoding="utf-8")
    (directory / "compile_commands.json").write_text(json.dumps([entry_for(Path(database), sources[0], whole)]), encoding="utf-8")
    command = ["clang-tidy", "--quiet", *BUDGET, "-p", str(directory), str(whole)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(re.sub(rf"{re.escape(str(whole))}:(\d+):", lambda match: places[int(match[1]) - 1], ended.stdout), end="")
    return ended.returncode


sys.exit(main(*sys.argv[1:]))
