#!/usr/bin/env python3
"""Every include leads to the same folder or to one below it, and none leads back to the file that it came from."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = (
    "arch", "async", "drivers/memory", "drivers/pci", "drivers/virtio", "drivers/entropy", "drivers/console",
    "drivers/block", "src/support", "src/kernel", "src/programs", "bench",
)  # from the lowest  # fmt: skip

# The floors of drivers/block, from the lowest. Files of one floor may include each other.
BLOCK_FLOORS = (
    {"status", "virtio_blk", "alarm"},
    {"limits", "operation"},
    {"admission", "deadlines", "pieces", "queue", "wait_line", "zones"},
    {"forwarding", "recovery", "watchdog"},
    {"resubmission", "write_cache"},
    {"channel"},
    {"request"},
    {"zone_request"},
    {"disk"},
)


def floor_of(name: str) -> int:
    """The number of the floor that a file is on."""
    return next(number for number, floor in enumerate(FLOORS) if name.startswith(floor + "/"))


def block_floor_of(name: str) -> int | None:
    """The number of the floor of drivers/block that a file is on; None for others."""
    path = Path(name)
    if str(path.parent) != "drivers/block":
        return None
    return next((number for number, floor in enumerate(BLOCK_FLOORS) if path.stem in floor), -1)


def includes(path: Path) -> list[str]:
    """The files of ours that a file includes."""
    names = re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for name in (each.removeprefix("inflight/") for each in names) if (ROOT / name).is_file()]


def cycle_from(name: str, graph: dict[str, list[str]], way: list[str], done: set[str]) -> list[str]:
    """The first circle of includes that is met from there, or nothing."""
    if name in way:
        return [*way[way.index(name) :], name]
    if name not in done:
        for other in graph.get(name, []):
            if circle := cycle_from(other, graph, [*way, name], done):
                return circle
        done.add(name)
    return []


def main() -> int:
    """The exit status."""
    files = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.[chi]*")) if path.suffix != ".py"]
    graph = {str(path.relative_to(ROOT)): includes(path) for path in files}
    complaints = []
    for name, others in graph.items():
        complaints += [f"{name} includes {other}" for other in others if floor_of(other) > floor_of(name)]
        here = block_floor_of(name)
        if here == -1:
            complaints.append(f"{name} is on no floor of drivers/block: add it to BLOCK_FLOORS")
        elif here is not None:
            higher = [other for other in others if (there := block_floor_of(other)) is not None and there > here]
            complaints += [f"{name} includes {other}, which is on a higher floor of drivers/block" for other in higher]
    done: set[str] = set()
    for name in graph:
        if circle := cycle_from(name, graph, [], done):
            complaints.append("includes in a circle: " + " -> ".join(circle))
            break  # the others are often the same one
    found = sum(map(len, graph.values()))
    if len(graph) < 100 or found < 300:
        complaints.append(f"only {len(graph)} files with {found} includes were found")
    print("\n".join(complaints) or f"{found} includes of {len(graph)} files lead downwards, and none in a circle")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
