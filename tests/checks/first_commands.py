#!/usr/bin/env python3
"""Keeps one command for each source of a compilation database: first_commands.py DATABASE FOLDER.

clang-tidy runs once for every command of a source. Some sources are built for four ports, and are the same in all of them.
"""

import json
import sys
from pathlib import Path


def main(database: str, folder: str) -> None:
    """Writes FOLDER/compile_commands.json."""
    first = {}
    for command in json.loads(Path(database).read_text(encoding="utf-8")):
        first.setdefault(command["file"], command)
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "compile_commands.json").write_text(json.dumps(list(first.values()), indent=1), encoding="utf-8")


main(*sys.argv[1:])
