"""What the host holds against the guest's word."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import verify_image
from console import Console, ProgressLine
from disks import Disk, Kind
from host_sum import Checksum, HostSum

Report = dict[str, Any]


def disks_of(results: Sequence[Mapping[str, Any]], program: str) -> dict[str, dict[str, Any]]:
    """What the guest reported of each disk, by name. What it said of all disks holds for each."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        if result.get("program") != program:
            continue
        common = {key: value for key, value in result.items() if key not in ("program", "disks")}
        entries = result.get("disks")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                found[entry["name"]] = common | entry
    return found


def check_digest(name: str, guest: Mapping[str, Any] | None, host_sum: HostSum, console: Console) -> Report:
    """Compares the guest's checksum of one disk with the host's."""
    report: Report = {"check": "digest", "disk": name, "passed": False}
    if guest is None:
        console.say(f"digest: {name} MISMATCH: the guest reported no checksum of it")
        return report
    host = host_sum.result()
    if not isinstance(host, Checksum):
        hint = " (its server must outlive QEMU: qemu-nbd --persistent)" if host_sum.needs_server else ""
        console.say(f"digest: {name} is not checked: the host cannot read it: {host}{hint}")
        return report | {"error": host}
    report |= {"cksum": host.crc, "bytes": host.bytes}
    if (guest.get("cksum"), guest.get("bytes")) != (host.crc, host.bytes):
        console.say(f"digest: {name} MISMATCH: host {host}, guest {guest.get('cksum')} {guest.get('bytes')}")
        return report
    console.say(f"digest: {name} matches the host (cksum {host})")
    return report | {"passed": True}


def check_verify(
    disk: Disk, guest: Mapping[str, Any] | None, seed: int, scratch: Path, console: Console, progress: ProgressLine
) -> Report:
    """Checks the image of one disk after the guest's `verify`."""
    report: Report = {"check": "verify", "disk": disk.name, "seed": seed, "passed": False}
    if guest is None:
        console.say(f"verify: {disk.name} FAILED: the guest reported nothing of it")
        return report
    if guest.get("seed", seed) != seed:
        console.say(f"verify: {disk.name} FAILED: the guest used the seed {guest['seed']}, not {seed}")
        return report
    discard, write_zeroes = guest.get("discard") is True, guest.get("write_zeroes") is True
    try:
        image = _raw_image(disk, scratch)
        verdict = verify_image.check(
            image,
            seed,
            discard,
            write_zeroes,
            lambda done, total: progress.show(f"verify: the host checks {disk.name}: {done} of {total} blocks"),
        )
    except OSError as error:
        console.say(f"verify: {disk.name} is not checked: the host cannot read it: {error}")
        return report | {"error": str(error)}
    report |= {"blocks": verdict.blocks, "wrong_blocks": verdict.wrong_blocks}
    for wrong in verdict.wrong:
        console.say(f"verify: {disk.name} {wrong}")
    if verdict.wrong_blocks:
        console.say(f"verify: {disk.name} FAILED: {verdict.wrong_blocks} of {verdict.blocks} blocks are wrong")
        return report
    if disk.kind is Kind.MADE and not verdict.tail_is_zero:
        console.say(f"verify: {disk.name} FAILED: the tail after block {verdict.blocks - 1} was written")
        return report
    if verdict.blocks == 0:
        console.say(f"verify: {disk.name} FAILED: there is no block to check")
        return report
    features = " and ".join(name for name, has in (("discards", discard), ("write-zeroes", write_zeroes)) if has)
    console.say(
        f"verify: the host agrees: {disk.name}, {verdict.blocks} blocks (seed {seed}, with {features or 'writes only'})"
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
