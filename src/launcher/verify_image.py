"""Checks what the guest's `verify` left on a disk, from the seed alone and with no code shared with the guest.

The disk is cut into blocks of 4096 bytes; a shorter tail is not touched. Little-endian, a block holds

       0  "inflight"
       8  u64   seed
      16  u64   number of the block
      24  u32   generation: how many times it should have been written
      28  u32   0
      32  507 words of u64: word i is mix((seed ^ block ^ generation << 32) + i * GOLDEN)
    4088  four zero bytes
    4092  u32   CRC-32 over the bytes before

What is due in a block follows from mix(seed + block * GOLDEN) % 8, where mix is the finaliser of splitmix64.
"""

import struct
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 4096
HEADER = struct.Struct("<8sQQII")
MAGIC = b"inflight"
WORDS = 507
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
ZERO_BLOCK = bytes(BLOCK)
BLOCKS_PER_READ = 256

# Many words at once: each lies in a lane of 128 bits of one large number, where a product of 64 by 64 bits has room.
_LANE = 128
_ONES = sum(1 << (_LANE * i) for i in range(WORDS))
_LOW_HALVES = _ONES * MASK
_STEPS = sum((i * GOLDEN & MASK) << (_LANE * i) for i in range(WORDS))


@dataclass(frozen=True)
class WrongBlock:
    """A block that does not hold what is due, and how."""

    block: int
    expected: str
    found: str

    def __str__(self) -> str:
        sector = self.block * BLOCK // 512
        return f"block {self.block} (sector {sector}): expected {self.expected}, found {self.found}"


@dataclass
class Verdict:
    """What a check found. `wrong` holds the first few wrong blocks only."""

    blocks: int = 0
    wrong_blocks: int = 0
    wrong: list[WrongBlock] = field(default_factory=list)
    tail_is_zero: bool = True


def mix(word: int) -> int:
    """The finaliser of splitmix64."""
    word &= MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
    return word ^ word >> 31


def due(seed: int, block: int, discard: bool, write_zeroes: bool) -> tuple[int, ...]:
    """The generations that the block may have in the end; 0 stands for a block of zeroes."""
    kind = mix(seed + block * GOLDEN) % 8
    if kind == 0:
        return (2,)
    if kind == 1 and write_zeroes:
        return (0,)
    if kind == 2 and discard:
        return (0, 1)  # a device may do nothing about a discard
    if kind == 3 and discard:
        return (3,)
    return (1,)


def contents(seed: int, block: int, generation: int) -> bytes:
    """The block as it is due, to the last byte."""
    if generation == 0:
        return ZERO_BLOCK
    lanes = ((seed ^ block ^ generation << 32) & MASK) * _ONES + _STEPS & _LOW_HALVES
    lanes = ((lanes ^ lanes >> 30) & _LOW_HALVES) * 0xBF58476D1CE4E5B9 & _LOW_HALVES
    lanes = ((lanes ^ lanes >> 27) & _LOW_HALVES) * 0x94D049BB133111EB & _LOW_HALVES
    lanes = (lanes ^ lanes >> 31) & _LOW_HALVES
    words = array("Q", lanes.to_bytes(WORDS * _LANE // 8, "little"))[::2].tobytes()
    body = HEADER.pack(MAGIC, seed, block, generation, 0) + words + bytes(4)
    return body + struct.pack("<I", zlib.crc32(body))


def check(
    image: Path, seed: int, discard: bool, write_zeroes: bool, progress: Callable[[int, int], None] = lambda _, __: None
) -> Verdict:
    """Checks every byte of every block of the raw image; `progress` is told how many of how many blocks are done."""
    verdict = Verdict()
    with open(image, "rb") as file:
        total = file.seek(0, 2) // BLOCK
        file.seek(0)
        while verdict.blocks < total:
            data = file.read(min(BLOCKS_PER_READ, total - verdict.blocks) * BLOCK)
            for start in range(0, len(data), BLOCK):
                _check_block(verdict, data[start : start + BLOCK], seed, discard, write_zeroes)
            progress(verdict.blocks, total)
        verdict.tail_is_zero = not any(file.read())
    return verdict


def _check_block(verdict: Verdict, found: bytes, seed: int, discard: bool, write_zeroes: bool) -> None:
    block = verdict.blocks
    verdict.blocks += 1
    generations = due(seed, block, discard, write_zeroes)
    if any(found == contents(seed, block, generation) for generation in generations):
        return
    verdict.wrong_blocks += 1
    if len(verdict.wrong) < 5:
        expected = " or ".join(f"generation {generation}" if generation else "zeroes" for generation in generations)
        verdict.wrong.append(WrongBlock(block, expected, _describe(found, seed, block)))


def _describe(found: bytes, seed: int, block: int) -> str:
    if found == ZERO_BLOCK:
        return "zeroes"
    magic, its_seed, its_block, generation, _ = HEADER.unpack_from(found)
    if magic != MAGIC:
        return f"no block of ours (it begins with {found[:8].hex(' ')})"
    if its_seed != seed:
        return f"the seed {its_seed} instead of {seed}"
    if its_block != block:
        return f"block {its_block}, generation {generation}"
    right = contents(seed, block, generation)
    if found == right:
        return f"generation {generation}"
    offset = next(at for at in range(BLOCK) if found[at] != right[at])
    return f"generation {generation} with a wrong byte {offset} ({found[offset]:#04x} instead of {right[offset]:#04x})"
