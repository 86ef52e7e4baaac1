"""Values as people write them, and the way to refuse a wrong one."""

import re

SECTOR = 512
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SIZE_HELP = "a number with K, M, G or T, such as 64M"


class Refusal(Exception):
    """Something that the user asked for cannot be; the message is one line that says what is right."""


def parse_size(text: str, what: str) -> int:
    """Bytes meant by `text` ("64M", "1G", "4096"); refused in the name of `what` if it is not a size."""
    match = re.fullmatch(r"([0-9]+)([KMGT]?)(i?B)?", text, re.IGNORECASE)
    if match is None:
        raise Refusal(f"{what}: '{text}' is not a size; a size is {SIZE_HELP}")
    return int(match[1]) * UNITS[match[2].upper()]


def parse_sectors(text: str, what: str) -> int:
    """As parse_size, for a disk: whole sectors, at least one, and no more than QEMU can address."""
    size = parse_size(text, what)
    if size == 0:
        raise Refusal(f"{what}: an empty disk has nothing to read; a size is {SIZE_HELP}")
    if size % SECTOR != 0:
        raise Refusal(f"{what}: {size} bytes are not a multiple of {SECTOR}; a size is {SIZE_HELP}")
    if size >= 1 << 63:
        raise Refusal(f"{what}: {size} bytes are more than QEMU can address (2^63 - 512)")
    return size


def parse_whole(text: str, what: str, least: int, most: int | None = None) -> int:
    """A whole number between `least` and `most`, both included."""
    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
    if re.fullmatch(r"[0-9]+", text) is None or int(text) < least or (most is not None and int(text) > most):
        raise Refusal(f"{what}: '{text}' is wrong; give a whole number {bounds}")
    return int(text)


def printable(text: str) -> str:
    """Foreign text as it may be shown: what a terminal might take for a command is written as an escape of Python."""
    return "".join(each if each.isprintable() or each == "\t" else ascii(each)[1:-1] for each in text)


def human_size(size: int) -> str:
    """64M for 67108864: the largest unit that leaves a whole number."""
    for unit in "TGMK":
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)
