#!/usr/bin/env python3
"""Measures under -icount, twice, and holds the first run against bench/gates.json.

The counts of notifications, interrupts and allocations must be the same in both runs. The instructions of a read need
not be, quite: when a completion arrives is up to a thread of the host, and the executor looks once more or less for it.
Runs differ by a few hundredths of an instruction or not at all, and by half an instruction on a busy host.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from case import ROOT, run

sys.path.insert(0, str(ROOT / "bench"))
import gates  # noqa: E402 (the path is set above)

ARGUMENTS = ["iops", "--disk=null:1G", "--icount", "--append=poll=off ios=20000"]
TOLERANCE = 0.02


def counts(guest: dict[str, Any]) -> dict[str, list[int]]:
    """What two runs must agree on, by depth."""
    fields = ("ios", "notifications", "interrupts", "allocations")
    return {f"depth {row['depth']}": [row[field] for field in fields] for row in guest["rows"]}


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    given = parser.parse_args()
    guests = []
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="gates-") as directory:
        for _ in range(2):
            outcome = run(ARGUMENTS, given.kernel.resolve(), Path(directory), 80)
            if outcome.status != 0:
                print(outcome.explain(["the measurement failed"]))
                return 1
            guests.append(outcome.report["guest"])
    first, second = guests
    verdicts = gates.evaluate({"guest": first}, given.kernel)
    gates.print_table(verdicts)
    complaints = [f"not passed: {verdict.name}" for verdict in verdicts if not verdict.passed]
    if counts(first) != counts(second):
        complaints.append(f"two runs counted differently: {counts(first)} and {counts(second)}")
    costs = [guest["read_cost_hundredths"] for guest in guests]
    if max(costs) > min(costs) * (1 + TOLERANCE):
        complaints.append(f"a read cost {costs[0]} hundredths of an instruction, and in a second run {costs[1]}")
    if complaints:
        print(outcome.explain(complaints))
        return 1
    print(f"two runs agree: the same counts; a read of {costs[0] / 100} and {costs[1] / 100} instructions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
