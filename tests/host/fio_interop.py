#!/usr/bin/env python3
"""The real fio as the oracle: each verifies what the other wrote, and both do the same requests in the same places.

fio_interop.py VERIFY_IMAGE ACCESS_LIST: the two programs of tests/host.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

VERIFY_IMAGE, ACCESS_LIST = sys.argv[1:3]
SEED = os.environ.get("INFLIGHT_SEED", "1")


def run(*command: str) -> tuple[int, str]:
    """Status and output of a command, run in a directory of its own: fio leaves files."""
    with tempfile.TemporaryDirectory(prefix="inflight-fio-") as directory:
        done = subprocess.run(
            command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
        )
    return done.returncode, done.stdout


def fio(*options: str) -> tuple[int, str]:
    """Status and output of fio with these options."""
    return run("fio", "--name=interop", "--ioengine=sync", f"--randseed={SEED}", *options)


def flip(image: Path, offset: int) -> None:
    """Changes one byte."""
    content = bytearray(image.read_bytes())
    content[offset] ^= 0x40
    image.write_bytes(content)


class Blocks(unittest.TestCase):
    """verify=crc32c."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="inflight-fio-")
        self.addCleanup(directory.cleanup)
        self.image = Path(directory.name) / "image"

    def check_with_fio(self, size: int, block: int) -> tuple[int, str]:
        """What fio says of the image."""
        return fio("--rw=read", "--verify=crc32c", f"--filename={self.image}", f"--size={size}", f"--bs={block}")

    def test_fio_verifies_what_we_wrote(self) -> None:
        for block in (512, 4096, 4608, 65536):
            with self.subTest(block=block):
                size = block * 20
                status, output = run(VERIFY_IMAGE, "fill", str(self.image), str(size), str(block), SEED)
                self.assertEqual(status, 0, output)
                status, output = self.check_with_fio(size, block)
                self.assertEqual(status, 0, output)
                self.assertIn("issued rwts: total=20,", output)
                # the header, its checksums and the data of the last but one block
                for where in (4, 17, 25, 37, 41, 44, block - 1) if block == 4096 else (block - 1,):
                    flip(self.image, size - 2 * block + where)
                    status, output = self.check_with_fio(size, block)
                    self.assertNotEqual(status, 0, f"fio did not see byte {where} of {block} changed")
                    self.assertIn(f"offset {size - 2 * block}", output)
                    flip(self.image, size - 2 * block + where)
                self.assertEqual(self.check_with_fio(size, block)[0], 0)

    def test_we_verify_what_fio_wrote(self) -> None:
        for block in (512, 4096, 4608, 65536):
            for pattern in ("write", "randwrite") if block == 4096 else ("write",):
                with self.subTest(block=block, pattern=pattern):
                    size = block * 20
                    self.image.unlink(missing_ok=True)
                    status, output = fio(
                        f"--rw={pattern}", "--verify=crc32c", "--do_verify=0", f"--filename={self.image}",
                        f"--size={size}", f"--bs={block}",
                    )  # fmt: skip
                    self.assertEqual(status, 0, output)
                    command = (VERIFY_IMAGE, "check", str(self.image), str(block))
                    self.assertEqual(run(*command), (0, "20 blocks are right\n"))
                    for where in (0, 4, 17, 25, 37, 41, 44, 45, block - 1):
                        flip(self.image, 7 * block + where)
                        status, output = run(*command)
                        self.assertEqual(status, 1, f"byte {where} of {block} was changed")
                        self.assertIn(f"sector {7 * block // 512}:", output)
                        if where >= 44:  # what fio's seed makes is what fio wrote
                            self.assertIn("checksum of the data", output)
                            self.assertIn(f"differ from byte {where} of the block", output)
                        flip(self.image, 7 * block + where)
                    self.assertEqual(run(*command)[0], 0)

    def test_pieces_of_several_block_sizes(self) -> None:
        status, output = fio(
            "--rw=write", "--verify=crc32c", "--do_verify=0", f"--filename={self.image}", "--size=1m",
            "--bssplit=4k/50:16k/50",
        )  # fmt: skip
        self.assertEqual(status, 0, output)
        self.assertEqual(run(VERIFY_IMAGE, "check", str(self.image), "4096"), (0, "256 blocks are right\n"))


Request = tuple[str, int, int]


class Order(unittest.TestCase):
    """Where requests go."""

    def of_ours(self, pattern: str, begin: int, size: int, seed: int, *options: str) -> list[Request]:
        """The requests of one pass of access_sequence."""
        status, output = run(ACCESS_LIST, pattern, str(begin), str(begin + size), str(seed), *options)
        self.assertEqual(status, 0, output)
        return [(what, int(offset), int(length)) for what, offset, length in map(str.split, output.splitlines())]

    def of_fio(self, pattern: str, begin: int, size: int, *options: str) -> list[Request]:
        """The requests of fio."""
        arguments = [f"--{option}" for option in options] + ([f"--offset={begin}"] if begin else [])
        with tempfile.TemporaryDirectory(prefix="inflight-fio-") as directory:
            log = Path(directory) / "log"
            status, output = run(
                "fio", "--name=interop", "--ioengine=null", "--filename=null", f"--rw={pattern}", f"--size={size}",
                f"--write_iolog={log}", f"--randseed={SEED}", *arguments,
            )  # fmt: skip
            self.assertEqual(status, 0, output)
            lines = [line.split()[2:] for line in log.read_text(encoding="utf-8").splitlines()[1:]]
        return [(words[0], int(words[1]), int(words[2])) for words in lines if len(words) == 3]

    def both(self, pattern: str, begin: int, size: int, *options: str) -> tuple[list[Request], list[Request]]:
        """The requests of fio and of access_sequence."""
        ours = self.of_ours(pattern, begin, size, int(SEED), *options)
        return self.of_fio(pattern, begin, size, *options), ours

    def test_sequential_ones_are_the_same(self) -> None:
        for pattern in ("read", "write", "trim", "trimwrite"):
            for begin, size in ((0, 1 << 20), (8192, (1 << 20) + 2048)):
                for options in (("bs=4096", "blockalign=65536"), ("bs=1024",)):
                    with self.subTest(pattern=pattern, begin=begin, size=size, options=options):
                        theirs, ours = self.both(pattern, begin, size, *options)
                        self.assertGreater(len(theirs), 0)
                        self.assertEqual(theirs, ours)

    def test_mixed_sequential_ones_have_a_place_for_each_direction(self) -> None:
        theirs, ours = self.both("rw", 4096, 16 << 20, "bs=4096", "rwmixread=30")
        self.assertEqual(len(theirs), len(ours))
        for requests in theirs, ours:
            for direction in "read", "write":
                offsets = [offset for what, offset, _ in requests if what == direction]
                self.assertEqual(offsets, list(range(4096, 4096 + 4096 * len(offsets), 4096)))
            self.assertAlmostEqual(Counter(what for what, _, _ in requests)["read"] / len(requests), 0.3, delta=0.05)

    def test_random_maps_have_each_block_once(self) -> None:
        for pattern in ("randread", "randwrite", "randtrim", "randrw"):
            for begin, size in ((0, 1 << 20), (8192, (1 << 20) + 2048)):
                with self.subTest(pattern=pattern, begin=begin, size=size):
                    theirs, ours = self.both(pattern, begin, size, "bs=4096")
                    places = sorted((offset, length) for _, offset, length in theirs)
                    self.assertEqual(places, sorted((offset, length) for _, offset, length in ours))
                    self.assertEqual({what for what, _, _ in theirs}, {what for what, _, _ in ours})
                    self.assertNotEqual(theirs, sorted(theirs, key=lambda request: request[1]))
                    self.assertNotEqual(ours, sorted(ours, key=lambda request: request[1]))

    def test_without_a_map_the_same_places_are_touched(self) -> None:
        # So many requests that each place is touched: that one is not happens in less than one of 10^9 runs.
        size, passes = 16 * 4096, 250
        for option in ("norandommap=1", "blockalign=16384", "blockalign=512"):
            with self.subTest(option=option):
                theirs = self.of_fio("randread", 0, size, "bs=4096", option, f"io_size={size * passes}")
                self.assertEqual(len(theirs), 16 * passes)
                ours = []
                for seed in range(passes):
                    one = self.of_ours("randread", 0, size, int(SEED) + seed, "bs=4096", option)
                    self.assertEqual(len(one), 16)
                    ours += one
                self.assertEqual({offset for _, offset, _ in theirs}, {offset for _, offset, _ in ours})

    def test_block_sizes_have_the_same_shares(self) -> None:
        for pattern in ("read", "randread"):
            with self.subTest(pattern=pattern):
                options = ("bssplit=4096/30:6144/30:16384/40", "norandommap=1")
                theirs, ours = self.both(pattern, 0, 64 << 20, *options)
                self.assertEqual({length for _, _, length in theirs}, {4096, 16384})  # 6144 is rounded down
                self.assertEqual({length for _, _, length in ours}, {4096, 16384})
                shares = [Counter(length for _, _, length in some)[4096] / len(some) for some in (theirs, ours)]
                self.assertAlmostEqual(shares[0], 0.6, delta=0.03)
                self.assertAlmostEqual(shares[1], 0.6, delta=0.03)


if __name__ == "__main__":
    print(f"INFLIGHT_SEED={SEED}", flush=True)
    unittest.main(argv=sys.argv[:1], verbosity=2)
