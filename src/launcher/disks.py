"""The disks of the machine: what `--disk` names, and what QEMU is told about it."""

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from options import ROOT, VHOST_USER, Options
from values import SECTOR, Refusal, parse_sectors

IMAGES = ROOT / "build" / "disks"
IOTHREAD = "io0"
SERVER_SERIAL = "vhost_user_blk"  # what qemu-storage-daemon says of every disk
MAX_SOCKET = 107  # bytes in the path of a socket


class Kind(Enum):
    """Where the contents of a disk live."""

    MADE = "an empty image, made for this run"
    FILE = "an image of the user"
    NULL = "nowhere: reads give zeroes"
    URI = "somewhere that only QEMU can reach"
    SERVER = "somewhere that only a process of the user can reach, which serves the guest"


@dataclass(frozen=True)
class Disk:
    """One disk. `size` is None where only QEMU could tell; `driver` is empty where `location` says it (json:{…}).
    `socket` is that of the process which serves the disk by the vhost-user protocol; empty where QEMU is the device itself.

    `name` is the launcher's own, for files and nodes of QEMU: the guest may have another, for there may be disks that
    the launcher did not attach. What the guest says of a disk is known by the disk's serial number.
    """

    given: str  # what the user wrote after --disk
    name: str
    serial: str
    kind: Kind
    location: str
    driver: str
    size: int | None
    socket: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the file at `location` holds the contents of the disk, byte for byte."""
        return self.driver in ("file", "host_device")

    @property
    def raw_copy(self) -> list[str]:
        """The arguments of `qemu-img convert` for the contents of the disk, up to the file that gets them."""
        return [*(["-f", self.driver] if self.driver else []), "-O", "raw", self.location]

    @property
    def is_ours(self) -> bool:
        """Whether `./run` made it, so that nothing is lost by overwriting it."""
        if self.kind is Kind.FILE:
            path = Path(self.location).resolve()
            return self.is_plain and path.parent.parent == IMAGES and path.suffix == ".raw"
        return self.kind not in (Kind.URI, Kind.SERVER)


def name_of(index: int) -> str:
    """vda, vdb, …"""
    return "vd" + chr(ord("a") + index)


def serial_of(index: int, options: Options) -> str:
    """20 characters, which is all that a device tells, and of this run alone: no other disk has it by chance."""
    return f"inflight{index}-{options.token}"


def parse(specification: str, index: int, options: Options, scratch: Path) -> Disk:
    """What one `--disk` means. A new image is going to be in `scratch`, but is not made here."""
    what = f"--disk {specification}"
    name, serial = name_of(index), serial_of(index, options)
    if specification.startswith(VHOST_USER):
        return _parse_served(specification, index, options, scratch)
    if specification.startswith("null:"):
        return Disk(specification, name, serial, Kind.NULL, "", "null-co", parse_sectors(specification.removeprefix("null:"), what))
    if re.fullmatch(r"[0-9]+[KMGT]?(i?B)?", specification, re.IGNORECASE):
        size = parse_sectors(specification, what)
        return Disk(specification, name, serial, Kind.MADE, str(scratch / f"{name}.raw"), "file", size)
    if not os.path.lexists(specification) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", specification):
        return Disk(specification, name, serial, Kind.URI, specification, _uri_format(specification, what), None)
    return _parse_file(specification, name, serial, what, options)


def make(disk: Disk) -> None:
    """Makes the image of a disk of the kind MADE: sparse, so that it takes no room until it is written."""
    assert disk.size is not None
    path = Path(disk.location)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as image:
            image.truncate(disk.size)
    except OSError as error:
        raise Refusal(f"--disk: an image of {disk.size} bytes cannot be made: {error.strerror}") from error


def iothread_of(disk: Disk, number: int) -> str:
    """The name of one of the disk's own threads of QEMU."""
    return f"{disk.name}-io{number}"


def arguments(disk: Disk, options: Options, reconnect: str, types: Mapping[str, str]) -> list[str]:
    """QEMU's arguments for one disk: where its contents are, and the device in front of them. `reconnect`: the property
    by which QEMU connects again to a process that has come back. `types`: those of the device's properties."""
    if disk.socket:
        contents = ["-chardev", f"socket,id={disk.name},path={_escaped(disk.socket)},{reconnect}"]
        name, *source = options.vhost_user_device_name(), f"chardev={disk.name}"
    else:
        if disk.kind is Kind.URI:
            # Only -drive takes a URI as it is.
            known = f",format={disk.driver}" if disk.driver else ""
            read_only = ",read-only=on" if options.read_only else ""
            contents = ["-drive", f"if=none,id={disk.name}{known},discard=unmap{read_only},file={_escaped(disk.location)}"]
        else:
            contents = ["-blockdev", node(disk, options)]
        name, *source = options.device_name("blk"), f"drive={disk.name}", f"serial={disk.serial}"
    # Of a property that is named twice, QEMU takes the last: the user's. (`serial` and `drive` are refused.)
    properties = [
        *source,
        f"num-queues={options.queues}",
        *([] if options.queue_size is None else [f"queue-size={options.queue_size}"]),
        *([f"iothread={IOTHREAD}"] if options.iothread else []),
        *map(_escaped, options.device),
    ]
    if options.iothreads:
        return [*contents, "-device", _with_threads(name, properties, disk, options.iothreads, types)]
    return [*contents, "-device", ",".join([name, *properties])]


def _with_threads(name: str, properties: Sequence[str], disk: Disk, threads: int, types: Mapping[str, str]) -> str:
    """The device as JSON: QEMU takes a list of threads in no other form, and values of other types only as what they are."""
    driver, *more = name.split(",")
    device: dict[str, Any] = {"driver": driver}
    for pair in (*more, *properties):
        key, _, text = pair.partition("=")
        value: str | int | bool = text.replace(",,", ",")
        if types.get(key) == "bool" and text in ("on", "off", "true", "false"):
            value = text in ("on", "true")
        elif types.get(key, "").startswith(("uint", "int", "size")) and text.isdecimal():
            value = int(text)
        device[key] = value
    device["iothread-vq-mapping"] = [{"iothread": iothread_of(disk, number)} for number in range(threads)]
    return json.dumps(device, separators=(",", ":"))


def node(disk: Disk, options: Options) -> str:
    """The block device of QEMU's, or of qemu-storage-daemon's, that holds the contents of a disk; not of a URI."""
    read_only = ",read-only=on" if options.read_only else ""
    location = _escaped(disk.location)
    if disk.kind is Kind.NULL:
        return f"driver=null-co,node-name={disk.name},size={disk.size},read-zeroes=on{read_only}"
    known = f"driver={disk.driver},node-name={disk.name},discard=unmap{read_only}"
    return f"{known},filename={location}" if disk.is_plain else f"{known},file.driver=file,file.filename={location}"


def check_may_write(disk: Disk, options: Options) -> None:
    """Refuses to let a program write to a disk that may hold something."""
    if options.program in ("verify", "soak", "durable") and disk.kind is Kind.NULL:
        raise Refusal(f"--disk {disk.name}: {options.program} needs a disk that keeps what is written; give a size such as 64M")
    if options.program == "verify" and disk.size is not None and disk.size < 4096:
        raise Refusal(f"--disk {disk.name}: verify needs a disk of 4096 bytes or more, not {disk.size}")
    if not disk.is_ours and not options.destroy:
        raise Refusal(
            f"--disk {disk.location}: {options.program} would overwrite it; give a size such as 64M for a new image, "
            "or add --destroy"
        )


def _parse_served(specification: str, index: int, options: Options, scratch: Path) -> Disk:
    """A disk of another process: of one that the user has started, or of qemu-storage-daemon, which is started for it."""
    what = f"--disk {specification}"
    place = specification.removeprefix(VHOST_USER)
    if os.path.exists(place) and stat.S_ISSOCK(os.stat(place).st_mode):
        if len(os.fsencode(place)) > MAX_SOCKET:
            raise Refusal(f"{what}: the path of a socket has {MAX_SOCKET} bytes at the most; give a shorter one")
        return Disk(specification, name_of(index), "", Kind.SERVER, place, "", None, place)
    disk = parse(place, index, options, scratch)
    if disk.kind is Kind.URI or disk.socket:
        raise Refusal(f"{what}: give a file, a size, null:SIZE, or the socket of a process that serves a disk")
    socket = min((str(scratch / f"{disk.name}.socket"), os.path.relpath(scratch / f"{disk.name}.socket")), key=len)
    return replace(disk, given=specification, serial=SERVER_SERIAL, socket=socket)


def _escaped(value: str) -> str:
    """A comma ends a property of QEMU unless it is doubled."""
    return value.replace(",", ",,")


def _parse_file(path: str, name: str, serial: str, what: str, options: Options) -> Disk:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        hint = "; a size is written like 64M" if re.match(r"[0-9]", path) else ""
        raise Refusal(f"{what}: there is no such file{hint}") from error
    except OSError as error:
        raise Refusal(f"{what}: {(error.strerror or '').lower()}; give an image that can be read") from error
    if stat.S_ISDIR(status.st_mode):
        raise Refusal(f"{what}: this is a directory; give an image file")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
        raise Refusal(f"{what}: this is neither a file nor a block device; give an image file")
    if not os.access(path, os.R_OK):
        raise Refusal(f"{what}: may not be read; give an image that can be read")
    if not options.read_only and not os.access(path, os.W_OK):
        raise Refusal(f"{what}: may not be written; add --read-only")
    if stat.S_ISBLK(status.st_mode):
        with open(path, "rb") as device:
            return Disk(path, name, serial, Kind.FILE, path, "host_device", device.seek(0, os.SEEK_END))
    if status.st_size == 0:
        raise Refusal(f"{what}: the file is empty; give an image with at least one sector of {SECTOR} bytes")
    # What ./run made is raw whatever it holds: a guest may have written the header of another format.
    if Disk(path, name, serial, Kind.FILE, path, "file", None).is_ours:
        image = {"format": "raw"}
    else:
        image = _image_information(os.path.abspath(path), what)
    if image["format"] != "raw":
        size = int(image["virtual-size"])
        if size == 0 or size % SECTOR != 0:
            raise Refusal(f"{what}: the {image['format']} image holds {size} bytes, not a multiple of {SECTOR} above 0")
        return Disk(path, name, serial, Kind.FILE, path, str(image["format"]), size)
    if status.st_size % SECTOR != 0:
        size = status.st_size
        right = size // SECTOR * SECTOR + SECTOR
        raise Refusal(f"{what}: {size} bytes are not a multiple of {SECTOR}; truncate -s {right} would mend it")
    return Disk(path, name, serial, Kind.FILE, path, "file", status.st_size)


def _uri_format(uri: str, what: str) -> str:
    # A server that serves one client once (qemu-nbd without --persistent) would be gone after a look; an NBD export
    # is raw.
    if re.match(r"nbd(\+[a-z]+)?:", uri):
        return "raw"
    image = _image_information(uri, what)
    return "" if uri.startswith("json:") else str(image["format"])


def _image_information(location: str, what: str) -> dict[str, str | int]:
    if shutil.which("qemu-img") is None:
        raise Refusal(f"{what}: qemu-img is needed to open it; install the package qemu-utils")
    # -U: another process may hold the image open; QEMU itself minds that where it matters.
    command = ["qemu-img", "info", "-U", "--output=json", location]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30)
    except subprocess.TimeoutExpired as error:
        raise Refusal(f"{what}: no answer within 30 s; is its server up?") from error
    if ended.returncode != 0:
        cause = ended.stderr.strip().splitlines()[-1].removeprefix("qemu-img: ")
        raise Refusal(f"{what}: QEMU cannot open it ({cause})")
    information: dict[str, str | int] = json.loads(ended.stdout)
    return information
