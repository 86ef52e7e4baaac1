"""The sectors that the guest's soak, durable and requests write (src/programs/stamp.hpp), with no code shared with the guest.

A sector has 64 words of 64 bits, little-endian: "inflight", number of the sector, generation, seed; word k of the rest is
base ^ k * GOLDEN mod 2^64, where base is mix(seed ^ mix(number ^ generation << 40)). Generation 0 is a sector of zeroes.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

SECTOR = 512
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
HEADER = struct.Struct("<8sQQQ")
MAGIC = b"inflight"
ZEROES = bytes(SECTOR)
HEADER_WORDS = 4
WORDS = SECTOR // 8 - HEADER_WORDS

# All words at once, as one large number: base in every lane of 64 bits, and k * GOLDEN.
_ONES = sum(1 << (64 * i) for i in range(WORDS))
_STEPS = sum(((i + HEADER_WORDS) * GOLDEN & MASK) << (64 * i) for i in range(WORDS))


def mix(word: int) -> int:
    """The finaliser of splitmix64."""
    word &= MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
    return word ^ word >> 31


def contents(seed: int, sector: int, generation: int) -> bytes:
    """The sector as it is written."""
    if generation == 0:
        return ZEROES
    base = mix(seed ^ mix(sector ^ generation << 40))
    return HEADER.pack(MAGIC, sector, generation, seed) + (base * _ONES ^ _STEPS).to_bytes(8 * WORDS, "little")


def generation_of(data: bytes, seed: int, sector: int) -> int | None:
    """The generation of a sector by all that it holds; None if it is neither a stamp of that sector nor zeroes."""
    if data == ZEROES:
        return 0
    generation = HEADER.unpack_from(data)[2]
    return generation if generation < 1 << 32 and data == contents(seed, sector, generation) else None


def written_sectors(image: Path) -> Iterator[tuple[int, bytes]]:
    """Number and contents of every sector of a raw image that is not all zeroes; holes of the file are passed over."""
    with open(image, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // SECTOR * SECTOR
            except OSError:  # no data from here on
                return
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            file.seek(at)
            while at < hole:
                data = file.read(min(1 << 20, end - at))
                for offset in range(0, len(data), SECTOR):
                    sector = data[offset : offset + SECTOR]
                    if sector != ZEROES[: len(sector)]:
                        yield (at + offset) // SECTOR, sector
                at += len(data)


class Permutation:
    """The guest's permutation of the numbers below `count` (src/support/permutation.hpp)."""

    def __init__(self, count: int, seed: int) -> None:
        bits = max((count - 1).bit_length(), 1)
        self._count = count
        self._mask = (1 << bits) - 1
        self._shift = max(bits // 2, 1)
        self._factors = []
        for step in range(4):
            factor = mix(seed + (step + 2) * GOLDEN)
            if bits > 10:  # its first five bits are not random
                factor = (0b10011, 0b11010)[step % 2] << 59 | factor >> 5
            self._factors.append(factor >> (64 - bits) | 1)
        self._addend = mix(seed + GOLDEN)

    def _once(self, number: int) -> int:
        for factor, addend in zip(self._factors, (self._addend, 0, 0, 0)):
            number = number * factor + addend & self._mask
            number ^= number >> self._shift
        return number

    def __iter__(self) -> Iterator[int]:
        for place in range(self._count):
            number = self._once(place)
            while number >= self._count:
                number = self._once(number)
            yield number
