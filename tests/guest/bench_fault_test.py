#!/usr/bin/env python3
"""What bench wrote with verify=crc32c is read by fio; and a bit that changed in between is found, by name, by both.

The guest writes an image and leaves it. fio, where it is installed, verifies the image, for the format is its own. Then one
bit is flipped in the image, and the guest reads it again.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from case import Outcome, run

SIZE = 8 << 20
BLOCK = 4096
HEADER = 44  # bytes, at the beginning of each block
SECTOR = 512


def fio(image: Path) -> str | None:
    """What fio says of the image; nothing where there is no fio."""
    if shutil.which("fio") is None:
        return None
    words = ["fio", "--name=verify", f"--filename={image}", "--rw=read", f"--bs={BLOCK}", "--verify=crc32c", "--ioengine=sync"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=image.parent)
    return ended.stdout + ended.stderr


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    kernel = given.kernel.resolve()
    chance = random.Random(given.seed)
    print(f"--seed={given.seed}")

    def complain(outcome: Outcome, what: str) -> int:
        print(outcome.explain([what]))
        return 1

    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="bench-fault-") as name:
        directory = Path(name)
        image = directory / "image"
        image.write_bytes(bytes(SIZE))
        job = ["bench", f"--disk={image}", "--destroy", f"--bs={BLOCK}", "--iodepth=16", "--verify=crc32c"]
        outcome = run([*job, "--rw=randwrite", "--do_verify=0"], kernel, directory, 60)
        if outcome.status != 0:
            return complain(outcome, "the write failed")
        said = fio(image)
        if said is None:
            print("skipped: fio is not installed, so nobody else verifies the image")
        elif "err= 0" not in said or "verify failed" in said:
            return complain(outcome, f"fio does not accept what was written: {said}")

        # In the data or in the header: of either, any bit.
        for first, last in ((0, HEADER), (HEADER, BLOCK)):
            block = chance.randrange(SIZE // BLOCK)
            place = block * BLOCK + chance.randrange(first, last)
            whole = bytearray(image.read_bytes())
            whole[place] ^= 1 << chance.randrange(8)
            image.write_bytes(whole)
            outcome = run([*job, "--rw=randread"], kernel, directory, 60)
            sector = block * BLOCK // SECTOR
            found = [line for line in outcome.lines if re.search(rf"^verify: .* vda, sector {sector}: .*expected .*found ", line)]
            if outcome.status != 1 or len(found) != 1:
                return complain(outcome, f"a bit was flipped at byte {place}, and sector {sector} is not named")
            print(f"byte {place}: {found[0]}")
            said = fio(image)
            if said is not None and f"offset {block * BLOCK}," not in said:
                return complain(outcome, f"fio does not find it: {said}")
            outcome = run([*job, "--rw=randwrite", "--do_verify=1"], kernel, directory, 60)
            if outcome.status != 0:
                return complain(outcome, "a new write does not mend it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
