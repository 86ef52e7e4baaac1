#!/usr/bin/env python3
"""Keeps a fuzzer's corpus as text: one input a line, in base64.

    tests/fuzz/corpus.py unpack tests/fuzz/device_corpus.txt FOLDER
    tests/fuzz/corpus.py pack FOLDER tests/fuzz/device_corpus.txt

What is to be packed is best made smaller before: FUZZER -set_cover_merge=1 FOLDER CORPUS
"""

import base64
import hashlib
import sys
from pathlib import Path


def unpack(text: Path, folder: Path) -> None:
    """Writes each line into a file, which libFuzzer would name so, too."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in text.read_text(encoding="ascii").split():
        data = base64.b64decode(line, validate=True)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(folder: Path, text: Path) -> None:
    """Writes each file of the folder into a line, the shortest first."""
    inputs = sorted((each.read_bytes() for each in folder.iterdir()), key=lambda data: (len(data), data))
    text.write_text("".join(base64.b64encode(data).decode() + "\n" for data in inputs), encoding="ascii")


def main() -> int:
    """The exit status."""
    does = {"pack": pack, "unpack": unpack}.get(sys.argv[1]) if len(sys.argv) == 4 else None
    if does is None:
        print(__doc__)
        return 2
    does(Path(sys.argv[2]), Path(sys.argv[3]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
