"""The shared libraries of ELF files (64 bits, little-endian)."""

import struct

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS = 1, 5


def needed(image: bytes) -> list[str]:
    """The names of the shared libraries that an ELF file needs, and the path of its loader if it has one."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError("this is not an ELF file of 64 bits, little-endian")
    (headers,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    segments = []
    for index in range(count):
        kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", image, headers + index * size)
        segments.append((kind, offset, address, in_file))

    def place(address: int) -> int:
        for kind, offset, start, in_file in segments:
            if kind == _LOAD and start <= address < start + in_file:
                return int(offset + address - start)
        raise ValueError(f"no segment holds the address {address:#x}")

    def text(offset: int) -> str:
        return image[offset : image.index(b"\0", offset)].decode()

    found = []
    for kind, offset, _, in_file in segments:
        if kind == _INTERPRETER:
            found.append(text(offset))
        elif kind == _DYNAMIC:
            entries = [struct.unpack_from("<QQ", image, at) for at in range(offset, offset + in_file, 16)]
            strings = [place(value) for tag, value in entries if tag == _STRINGS]
            found += [text(strings[0] + value) for tag, value in entries if tag == _NEEDED]
    return found
