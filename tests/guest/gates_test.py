#!/usr/bin/env python3
"""Measures under -icount, twice, and holds the first runs against bench/gates.json.

`iops`: the counts of notifications, interrupts and allocations must be the same in both runs. The instructions of a read
need not be, quite: when a completion arrives is up to a thread of the host, and the executor looks once more or less for
it. Runs differ by a few hundredths of an instruction or not at all, and by half an instruction on a busy host.

`bench`: once at each of three depths. `iops` at one depth: once for each queue that is to be full, and for each machine
of several harts. And once over packed rings.

`costs`: no device and no thread of the host has a say in it, so both runs must say the same to the last digit.

Then the gates themselves are tested, by results that must not pass.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from case import ROOT, run

sys.path.insert(0, str(ROOT / "bench"))
import gates  # noqa: E402 (the path is set above)

IOPS = ["iops", "--disk=null:1G", "--harts=1", "--icount", "--append=poll=off ios=20000"]
COSTS = ["costs", "--harts=1", "--icount"]
BENCH = [
    ["bench", "--harts=1", "--icount", "--append=poll=off", "--rw=randread", "--bs=4k", f"--iodepth={depth}",
     "--number_ios=20000", "--output-format=json"]
    for depth in (1, 32, 128)
]  # fmt: skip
ONE_DEPTH = [
    ["iops", "--disk=null:1G", *machine, "--icount", f"--append=poll=off floor=off ios=200000 {load}"]
    for machine, load in (
        (["--harts=1"], "depth=256 queue_size=64"),
        (["--harts=1"], "depth=1024 queue_size=256"),
        (["--harts=1"], "depth=1000"),
        (["--harts=16", "--queues=16"], "depth=512"),
        (["--harts=4", "--queues=1"], "depth=128"),
    )
]
PACKED = [*IOPS, "--device=packed=on"]
TOLERANCE = 0.02


def counts(guest: dict[str, Any]) -> dict[str, list[int]]:
    """What two runs must agree on, by depth."""
    fields = ("ios", "notifications", "interrupts", "allocations")
    return {f"depth {row['depth']}": [row[field] for field in fields] for row in guest["rows"]}


def complaints_about_gates(results: list[dict[str, Any]], kernel: Path) -> list[str]:
    """What the gates get wrong: a figure at its bound passes, one beyond it does not, and all programs have to be there."""
    complaints = []
    for index, gate in enumerate(json.loads(gates.GATES.read_text())):
        where = gate["measured"]
        if where["of"] != "result":  # those of bench, too, which are judged with a run of it: tests/bench
            continue
        for beyond in (0, 1):
            figure = gate["at_most"] * where["divided_by"] + beyond
            altered = [
                {"guest": each["guest"] | ({where["field"]: figure} if each["program"] == where["program"] else {})}
                for each in results
            ]
            if gates.evaluate(altered, kernel)[index].passed != (beyond == 0):
                complaints.append(f"the gate '{gate['name']}' takes {figure} wrongly")
    for some in (results[:1], results[1:], [*results, results[0]]):
        try:
            gates.evaluate(some, kernel)
            complaints.append(f"the gates accept results of {[each['program'] for each in some]}")
        except ValueError:
            pass
    return complaints


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    given = parser.parse_args()
    kernel = given.kernel.resolve()
    reports: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="gates-") as directory:
        for arguments in (IOPS, COSTS):
            for _ in range(2):
                outcome = run(arguments, kernel, Path(directory), 80)
                if outcome.status != 0:
                    print(outcome.explain(["the measurement failed"]))
                    return 1
                reports.setdefault(arguments[0], []).append(outcome.report)
        one_depth = []
        for arguments in (*ONE_DEPTH, PACKED):
            outcome = run(arguments, kernel, Path(directory), 80)
            if outcome.status != 0:
                print(outcome.explain(["the measurement failed"]))
                return 1
            one_depth.append(outcome.report)
        bench = []
        for arguments in BENCH:
            output = Path(directory) / "bench.json"
            outcome = run([*arguments, f"--output={output}"], kernel, Path(directory), 80)
            if outcome.status != 0:
                print(outcome.explain(["the measurement failed"]))
                return 1
            bench.append(json.loads(output.read_text()))
    results = [of_program[0] for of_program in reports.values()]
    verdicts = gates.evaluate([*results, *bench, *one_depth], kernel)
    gates.print_table(verdicts)
    complaints = [f"not passed: {verdict.name}" for verdict in verdicts if not verdict.passed]
    complaints += complaints_about_gates(results, kernel)
    first, second = (report["guest"] for report in reports["iops"])
    if counts(first) != counts(second):
        complaints.append(f"two runs counted differently: {counts(first)} and {counts(second)}")
    reads = [guest["read_cost_hundredths"] for guest in (first, second)]
    if max(reads) > min(reads) * (1 + TOLERANCE):
        complaints.append(f"a read cost {reads[0]} hundredths of an instruction, and in a second run {reads[1]}")
    costs, again = (report["guest"] for report in reports["costs"])
    if costs != again:
        complaints.append(f"two runs of costs differ: {costs} and {again}")
    if complaints:
        print(outcome.explain(complaints))
        return 1
    print(f"two runs agree: the same counts; a read of {reads[0] / 100} and {reads[1] / 100} instructions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
