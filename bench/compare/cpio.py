"""Archives that Linux unpacks as its first file system: cpio in the "newc" format."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """The file at one path: its mode and type, and its contents or the target of a symbolic link."""

    mode: int
    contents: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory() -> Entry:
    """A directory."""
    return Entry(stat.S_IFDIR | 0o755)


def file(contents: bytes, executable: bool = False) -> Entry:
    """A file."""
    return Entry(stat.S_IFREG | (0o755 if executable else 0o644), contents)


def character_device(major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Mapping[str, Entry]) -> bytes:
    """The archive, with every parent directory before its contents. The size is a multiple of 512 bytes, so archives
    can be concatenated: Linux unpacks them in order."""
    whole: dict[str, Entry] = {}
    for path in sorted(entries):
        parents = path.split("/")[:-1]
        for depth in range(len(parents)):
            whole.setdefault("/".join(parents[: depth + 1]), directory())
        whole[path] = entries[path]
    made = b"".join(_record(path, entry, number) for number, (path, entry) in enumerate(whole.items(), 1))
    made += _record(_TRAILER, Entry(0), 0)
    return made + bytes(-len(made) % 512)


def _record(path: str, entry: Entry, number: int) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # Inode, mode, owner, group, links, time, size, the device it is on, the device it is, length of the name, checksum.
    numbers = [number, entry.mode, 0, 0, links, 0, len(entry.contents), 0, 0, *entry.device, len(name), 0]
    header = b"070701" + b"".join(b"%08X" % value for value in numbers) + name
    return header + bytes(-len(header) % 4) + entry.contents + bytes(-len(entry.contents) % 4)
