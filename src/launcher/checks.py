"""What the host holds against the guest's word."""

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import verify_image
from console import Console, ProgressLine
from disks import Disk, Kind
from host_sum import Checksum, HostSum
from values import printable

Report = dict[str, Any]
LARGEST_BLOCK = 2 << 20  # that QEMU gives a disk


def disks_of(results: Sequence[Mapping[str, Any]], program: str) -> list[dict[str, Any]]:
    """What the guest reported of each disk. What it said of all disks holds for each."""
    found: list[dict[str, Any]] = []
    for result in results:
        if result.get("program") != program:
            continue
        common = {key: value for key, value in result.items() if key not in ("program", "disks")}
        entries = result.get("disks")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                found.append(common | entry)
    return found


@dataclass(frozen=True)
class Matched:
    """Which disks of ours the guest's reports are about; and those of which the host knows nothing, each with the reason."""

    reports: dict[str, dict[str, Any]]  # by serial number
    unchecked: list[tuple[dict[str, Any], str]]


def match(entries: Sequence[dict[str, Any]], ours: Sequence[Disk]) -> Matched:
    """Matches by serial number alone. The guest's names follow the slots, and a disk of the user's may be in front."""
    known = {disk.serial for disk in ours if disk.kind is not Kind.SERVER}
    served = any(disk.kind is Kind.SERVER for disk in ours)
    told = Counter(entry.get("serial") for entry in entries)
    matched = Matched({}, [])
    for entry in entries:
        serial = entry.get("serial")
        if not isinstance(serial, str):
            matched.unchecked.append((entry, "it does not report its serial number"))
        elif serial not in known:
            stranger = "only its own process can read it, or " if served else ""
            stranger += f"./run did not attach it (its serial number is '{printable(serial)}')"
            matched.unchecked.append((entry, stranger))
        elif told[serial] != 1:
            matched.unchecked.append((entry, f"{told[serial]} disks have the serial number '{printable(serial)}'"))
        else:
            matched.reports[serial] = entry
    return matched


def unchecked(program: str, matched: Matched, console: Console) -> list[Report]:
    """Says what is not checked. It is no success: the user asked for a check of every disk."""
    reports: list[Report] = []
    for entry, reason in matched.unchecked:
        console.say(f"{program}: {entry['name']} is not checked: {reason}")
        reports.append({"check": program, "disk": entry["name"], "passed": False, "error": reason})
    return reports


def check_digest(disk: Disk, guest: Mapping[str, Any] | None, host_sum: HostSum, console: Console) -> Report:
    """Compares the guest's checksum of one disk with the host's."""
    if guest is None:
        console.say(f"digest: --disk {disk.given} MISMATCH: the guest reported no checksum of it")
        return {"check": "digest", "disk": disk.given, "passed": False}
    name = guest["name"]
    report: Report = {"check": "digest", "disk": name, "passed": False}
    host = host_sum.result()
    if not isinstance(host, Checksum):
        hint = " (its server must outlive QEMU: qemu-nbd --persistent)" if host_sum.needs_server else ""
        console.say(f"digest: {name} is not checked: the host cannot read it: {host}{hint}")
        return report | {"error": host}
    beyond = _beyond_last_block(guest, host.bytes)
    if beyond:
        host = host_sum.of_first(host.bytes - beyond)
        if not isinstance(host, Checksum):
            console.say(f"digest: {name} is not checked: the host cannot read it: {host}")
            return report | {"error": host}
    report |= {"cksum": host.crc, "bytes": host.bytes}
    if (guest.get("cksum"), guest.get("bytes")) != (host.crc, host.bytes):
        console.say(f"digest: {name} MISMATCH: host {host}, guest {guest.get('cksum')} {guest.get('bytes')}")
        return report
    exception = f", without the last {beyond} bytes, which are no whole block of it" if beyond else ""
    console.say(f"digest: {name} matches the host (cksum {host}){exception}")
    return report | {"passed": True}


def _beyond_last_block(guest: Mapping[str, Any], whole: int) -> int:
    """How many bytes of the image are behind the last whole block of the disk, which no guest can read."""
    block_size = guest.get("block_size")
    if not isinstance(block_size, int) or not 0 < block_size <= LARGEST_BLOCK:
        return 0
    beyond = whole % block_size
    return beyond if guest.get("bytes") == whole - beyond else 0


def check_verify(
    disk: Disk, guest: Mapping[str, Any] | None, seed: int, scratch: Path, console: Console, progress: ProgressLine
) -> Report:
    """Checks the image of one disk after the guest's `verify`."""
    if guest is None:
        console.say(f"verify: --disk {disk.given} FAILED: the guest reported nothing of it")
        return {"check": "verify", "disk": disk.given, "seed": seed, "passed": False}
    name = guest["name"]
    report: Report = {"check": "verify", "disk": name, "seed": seed, "passed": False}
    if guest.get("seed", seed) != seed:
        console.say(f"verify: {name} FAILED: the guest used the seed {guest['seed']}, not {seed}")
        return report
    discard, write_zeroes = guest.get("discard") is True, guest.get("write_zeroes") is True
    try:
        image = _raw_image(disk, scratch)
        verdict = verify_image.check(
            image,
            seed,
            discard,
            write_zeroes,
            lambda done, total: progress.show(f"verify: the host checks {name}: {done} of {total} blocks"),
        )
    except OSError as error:
        console.say(f"verify: {name} is not checked: the host cannot read it: {error}")
        return report | {"error": str(error)}
    report |= {"blocks": verdict.blocks, "wrong_blocks": verdict.wrong_blocks}
    for wrong in verdict.wrong:
        console.say(f"verify: {name} {wrong}")
    if verdict.wrong_blocks:
        console.say(f"verify: {name} FAILED: {verdict.wrong_blocks} of {verdict.blocks} blocks are wrong")
        return report
    if disk.kind is Kind.MADE and not verdict.tail_is_zero:
        console.say(f"verify: {name} FAILED: the tail after block {verdict.blocks - 1} was written")
        return report
    if verdict.blocks == 0:
        console.say(f"verify: {name} FAILED: there is no block to check")
        return report
    features = " and ".join(what for what, has in (("discards", discard), ("write-zeroes", write_zeroes)) if has)
    console.say(
        f"verify: the host agrees: {name}, {verdict.blocks} blocks (seed {seed}, with {features or 'writes only'})"
    )
    return report | {"passed": True}


def _raw_image(disk: Disk, scratch: Path) -> Path:
    if disk.is_plain:
        return Path(disk.location)
    copy = scratch / f"{disk.name}.copy"
    command = ["qemu-img", "convert", *disk.raw_copy, str(copy)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if ended.returncode != 0:
        raise OSError(" ".join(ended.stderr.split()))
    return copy
