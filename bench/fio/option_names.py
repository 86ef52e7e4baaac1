#!/usr/bin/env python3
"""Brings option_names.inc up to date with the help of the installed fio.

The names of the file stay: other versions of fio have them, or engines that this one was built without. With --check,
nothing is written, and the exit status says whether the file has every name of this fio.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

FILE = Path(__file__).with_suffix(".inc")
HEADER = """\
// The options of fio and its engines, of all versions up to 3.42, with their aliases. Made by option_names.py.
"""
NAME = r"[a-z][a-z0-9_-]*"


def fio(*arguments: str) -> str:
    """What fio prints. It names the engines that it cannot load on its standard error, with status 1."""
    return subprocess.run(["fio", *arguments], capture_output=True, text=True, check=False, timeout=30).stdout


def names_in(listing: str) -> list[str]:
    """The options of a listing; those that belong to another option are indented."""
    return re.findall(rf"^ *({NAME}) *: ", listing, re.MULTILINE)


def aliases_in(description: str) -> list[str]:
    """The other names of an option."""
    return re.findall(rf"^ *alias: ({NAME})$", description, re.MULTILINE)


def installed() -> set[str]:
    """All names that the installed fio knows."""
    names = set(names_in(fio("--cmdhelp=all")))
    for name in sorted(names):
        names.update(aliases_in(fio(f"--cmdhelp={name}")))
    for engine in re.findall(r"^\t(\S+)$", fio("--enghelp"), re.MULTILINE):
        for name in names_in(fio(f"--enghelp={engine}")):
            names.update([name, *aliases_in(fio(f"--enghelp={engine},{name}"))])
    return names


def text_of(names: Iterable[str]) -> str:
    """The file: one string of C++, a name a line."""
    return HEADER + 'R"(' + "\n".join(sorted(names)) + ')"\n'


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    found = installed()
    if len(found) < 200:
        print(f"fio names {len(found)} options only: is it installed?")
        return 1
    text = FILE.read_text(encoding="ascii")
    present = set(re.findall(rf"^(?:R\"\()?({NAME})(?:\)\")?$", text, re.MULTILINE))
    wanted = text_of(present | found)
    if not given.check:
        FILE.write_text(wanted, encoding="ascii")
    elif wanted != text:
        missing = ", ".join(sorted(found - present)) or "none, but it is not in the order of the alphabet, or not as made"
        print(f"{FILE.name} lacks {missing}: run {Path(__file__).name}")
        return 1
    print(f"{len(present | found)} names, {len(found)} of them of {fio('--version').strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
