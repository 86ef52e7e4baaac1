#!/usr/bin/env python3
"""The bytes of `./run random` are as many as were asked for, and look random: no byte is more frequent than chance allows, none as
even as if it were counted, and no line comes twice. A false alarm is rarer than one in a million runs.
"""

import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from case import Case, argument_parser, judge, run
from cases import append, qemu

BYTES = 65_536
# The quantiles of chi-square with 255 degrees of freedom at 10^-8 and 1 - 10^-8. Each run is judged by two chi-squares with two
# bounds, and there are five runs.
LEAST, MOST = 147.8, 402.7
RUNS = [
    Case("mmio", ("random", *append(f"bytes={BYTES}"))),
    Case("mmio-legacy", ("random", "--transport=mmio-legacy", *append(f"bytes={BYTES}"))),
    Case("mmio-no-event-idx", ("random", "--harts=2", *append(f"bytes={BYTES}", "features_off=event_idx", "poll=off"))),
    Case("mmio-packed", ("random", *append(f"bytes={BYTES}"), *qemu("-device", "virtio-rng-device,packed=on"))),
    Case("mmio-legacy-no-event-idx",
         ("random", "--transport=mmio-legacy", "--harts=2", *append(f"bytes={BYTES}", "features_off=event_idx"))),
]  # fmt: skip


def chi_square(values: bytes) -> float:
    """How far the numbers of each byte are from equal."""
    expected = len(values) / 256
    found = Counter(values)
    return sum((found[each] - expected) ** 2 / expected for each in range(256))


def suspicions(values: bytes) -> list[str]:
    """What does not look random, in words."""
    # What two neighbours have in common is as random as each of them.
    differences = bytes((one - other) % 256 for one, other in zip(values[::2], values[1::2]))
    found = []
    for what, each in (("bytes", values), ("differences", differences)):
        if not LEAST < (distance := chi_square(each)) < MOST:
            found.append(f"chi-square of the {what} is {distance:.1f}, and should be between {LEAST} and {MOST}")
    lines = [values[start : start + 32] for start in range(0, len(values), 32)]
    if len(set(lines)) != len(lines):
        found.append("a line comes twice")
    return found


def check_the_check() -> list[str]:
    """Bytes that are not random are found out."""
    even = bytes(range(256)) * (BYTES // 256)
    state, generated = 1, bytearray()
    while len(generated) < BYTES:  # splitmix64: looks random
        state = (state + 0x9E3779B97F4A7C15) % (1 << 64)
        mixed = state
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ mixed >> shift) * factor % (1 << 64)
        generated += (mixed ^ mixed >> 31).to_bytes(8, "little")
    good = bytes(generated)
    bad = {
        "zeroes": bytes(BYTES),
        "counted": even,
        "seven bits": bytes(each & 127 for each in good),
        "a bit that is set in 5 of 8": bytes(each | (index % 4 == 0) for index, each in enumerate(good)),
        "every other byte": bytes(good[index & ~1] for index in range(BYTES)),
        "a buffer twice": good[:512] * 2 + good[1024:],
    }
    found = [f"what is random is taken for {each}" for each in suspicions(good)]
    return found + [f"{name}: taken for random" for name, values in bad.items() if not suspicions(values)]


def try_one(case: Case, kernel: Path, directory: Path) -> list[str]:
    """What is wrong, in words."""
    outcome = run(case.arguments, kernel, directory, 60)
    complaints = judge(case, outcome)
    lines = [line for line in outcome.lines if re.fullmatch("(?:[0-9a-f]{2})+", line)]
    values = bytes.fromhex("".join(lines))
    if len(values) != BYTES:
        complaints.append(f"{len(values)} bytes instead of {BYTES}")
    else:
        complaints += suspicions(values)
    return [outcome.explain(complaints)] if complaints else []


def main() -> int:
    """The exit status."""
    given = argument_parser(__doc__).parse_args()
    failed = check_the_check()
    print("the check:", *failed or ["passed"], sep="\n")
    with tempfile.TemporaryDirectory(dir=given.scratch) as directory:
        for case in RUNS:
            complaints = try_one(case, given.kernel.resolve(), Path(directory))
            print(f"random-{case.name}: {'FAILED' if complaints else 'passed'}", *complaints, sep="\n")
            failed += complaints
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
