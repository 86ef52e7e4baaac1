#!/usr/bin/env python3
"""Writes what pci_fuzz begins with into a folder: a virtio disk on the root bus, the same behind a bridge, and fickle."""

import struct
import sys
from pathlib import Path


def runs(*pieces: tuple[int, int, bytes]) -> bytes:
    """Pieces of a function, each of at most 31 bytes: 0 what is there or 1 what can be written, where, and the bytes."""
    return bytes([len(pieces)]) + b"".join(bytes([which, at, len(data)]) + data for which, at, data in pieces)


def structure(cfg_type: int, following: int, offset: int) -> bytes:
    """A capability of VIRTIO, for BAR 4."""
    long = cfg_type == 2
    head = struct.pack("<BBBBB3xII", 9, following, 20 if long else 16, cfg_type, 4, offset, 0x1000)
    return head + (struct.pack("<I", 4) if long else b"")


def disk(bus: int, device: int) -> bytes:
    """MSI-X with 4 vectors in BAR 1, the structures in BAR 4 of 16 KiB."""
    bars = struct.pack("<6I", 0, 0xFFFFF000, 0, 0, 0xFFFFC000, 0xFFFFFFFF)
    return bytes([bus, device << 3]) + runs(
        (0, 0x00, struct.pack("<HHHHIBBBB", 0x1AF4, 0x1042, 0, 0x10, 0x01000001, 0, 0, 0, 0)),
        (1, 0x00, b"\0\0\0\0\x47\5\0\0" + bytes(8)),
        (0, 0x10, struct.pack("<6I", 0, 0, 0, 0, 0xC, 0)),
        (1, 0x10, bars),
        (0, 0x30, struct.pack("<IB7xBBH", 0, 0x40, 0, 1, 0)),
        (0, 0x40, struct.pack("<BBHII", 0x11, 0x50, 3, 1, 0x801)),
        (0, 0x50, structure(2, 0x70, 0x3000)),
        (0, 0x70, structure(4, 0x80, 0x2000)),
        (0, 0x80, structure(3, 0x90, 0x1000)),
        (0, 0x90, structure(1, 0, 0)),
    )  # fmt: skip


def bridge(bus: int, device: int) -> bytes:
    """A bridge with all windows."""
    return bytes([bus, device << 3]) + runs(
        (0, 0x00, struct.pack("<HHHHIBBBB", 0x1B36, 1, 0, 0, 0x06040000, 0, 0, 1, 0)),
        (1, 0x10, bytes(8)),
        (0, 0x24, struct.pack("<HH", 1, 1)),
        (1, 0x1C, b"\xf0\xf0\0\0\xf0\xff\xf0\xff\xf0\xff\xf0\xff"),
    )


def main() -> int:
    """The exit status."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    steady = {
        "disk": [disk(0, 1)],
        "behind_a_bridge": [bridge(0, 1), disk(1, 2), disk(0, 3)],
        "bridges": [bridge(0, 1), bridge(1, 0), disk(2, 0), bridge(0, 2), disk(3, 4)],
    }
    for name, functions in steady.items():
        body = bytes([len(functions)]) + b"".join(functions)
        (folder / name).write_bytes(b"\0" + body)
        (folder / f"{name}_fickle").write_bytes(b"\1" + body + bytes(64) + b"\1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
