#!/usr/bin/env python3
"""Checks measured runs against bench/gates.json, and prints a table. The exit status is 0 if every gate passes.

    ./run iops --disk null:1G --icount --append "poll=off ios=20000" --json iops.json
    ./run costs --icount --json costs.json
    bench/gates.py iops.json costs.json

Each gate names the program that measures it, and every named program needs a run. The gates of `bench` are optional:
they are checked only if there is a run of `bench`, and then each of them needs one:

    for depth in 1 32 128; do
        ./run bench --rw=randread --bs=4k --iodepth=$depth --number_ios=20000 --icount --append poll=off \\
            --output-format=json --output $depth.json
    done
    bench/gates.py iops.json costs.json 1.json 32.json 128.json

The gates of full queues and of several harts are optional too. A run of `iops` at one depth measures one of them:

    ./run iops --disk null:1G --harts 1 --icount --append "poll=off ios=200000 depth=256 queue_size=64" --json 64.json
    bench/gates.py iops.json costs.json 64.json

So are those of packed rings, which a run with them measures:

    ./run iops --disk null:1G --icount --device packed=on --append "poll=off ios=20000" --json packed.json
    bench/gates.py iops.json costs.json packed.json
"""

import argparse
import json
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GATES = ROOT / "bench" / "gates.json"
OPTIONAL = "bench"
ONE_DEPTH = "iops at one depth"  # stands for the program in gates.json
PACKED = "iops over packed rings"  # the same
KERNEL = ROOT / "build" / "riscv64" / "inflight.elf"


@dataclass(frozen=True)
class Verdict:
    """One gate, and what was measured."""

    name: str
    bound: str
    unit: str
    measured: float
    passed: bool


def loaded_bytes(kernel: Path) -> int:
    """The bytes that are loaded from an ELF file (64 bits, little-endian): the sizes of its PT_LOAD segments."""
    image = kernel.read_bytes()
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{kernel} is not an ELF file of 64 bits, little-endian")
    (headers,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    total = 0
    for index in range(count):
        (kind,) = struct.unpack_from("<I", image, headers + index * size)
        if kind == 1:  # PT_LOAD
            total += struct.unpack_from("<Q", image, headers + index * size + 32)[0]
    return total


def has_packed_rings(result: Mapping[str, Any]) -> bool:
    """Whether the disks of a run offered packed rings."""
    command = result.get("command", ())
    return any(each.startswith("virtio-blk") and "packed=on" in each.split(",") for each in command)


def table_of_bench(result: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The name of a run of `bench`, from its job's options, and its figures. It has fio's form, with our "inflight"."""
    jobs, inflight = result["jobs"], result["inflight"]
    if len(jobs) != 1 or len(inflight["groups"]) != 1:
        raise ValueError(f"a result of bench has {len(jobs)} jobs: gates take runs of one job")
    if jobs[0]["error"] != 0:
        raise ValueError(f"a job of bench ended with error {jobs[0]['error']}")
    options = {"rw": "read", "bs": "4k", "iodepth": "1"} | result.get("global options", {}) | jobs[0]["job options"]
    figures = {"ios": sum(jobs[0][direction]["total_ios"] for direction in ("read", "write", "trim"))}
    measured = [(key, value) for part in (inflight, inflight["groups"][0]) for key, value in part.items()]
    figures |= {key: value for key, value in measured if isinstance(value, (int, float))}
    return f"{options['rw']} {options['bs']} depth {options['iodepth']}", figures


def tables_of(results: Iterable[Mapping[str, Any]], kernel: Path) -> dict[tuple[str | None, str], Mapping[str, Any]]:
    """The measured figures, by program and table. The table of the kernel itself has no program."""
    tables: dict[tuple[str | None, str], Mapping[str, Any]] = {(None, "kernel"): {"loaded_bytes": loaded_bytes(kernel)}}
    for result in results:
        if "fio version" in result:
            name, table = table_of_bench(result)
            if (OPTIONAL, name) in tables:
                raise ValueError(f"two of the results are of bench, {name}: one is enough")
            tables[OPTIONAL, name] = table
            continue
        guest = result["guest"]
        program = guest["program"]
        if program == "iops" and len(guest["rows"]) == 1:  # at one depth only: for the gates of full queues and of harts
            name = f"depth {guest['rows'][0]['depth']}, queue of {guest['queue_size']}"
            if len(guest["harts"]) > 1:
                name += f", {len(guest['harts'])} harts, queues: {len(guest['queues'])}"
            if (ONE_DEPTH, name) in tables:
                raise ValueError(f"two of the results are of iops, {name}: one is enough")
            tables[ONE_DEPTH, name] = guest["rows"][0]
            continue
        if program == "iops" and has_packed_rings(result):
            tables[PACKED, "one queue"] = guest
            continue
        if (program, "result") in tables:
            raise ValueError(f"two of the results are of {program}: one is enough")
        tables[program, "result"] = guest
        tables |= {(program, f"depth {row['depth']}"): row for row in guest.get("rows", ())}
    return tables


def evaluate(results: Iterable[Mapping[str, Any]], kernel: Path) -> list[Verdict]:
    """The verdict of every gate. `results` are what `./run` wrote, and `kernel` is the kernel that ran."""
    tables = tables_of(results, kernel)
    programs = {program for program, _ in tables}
    verdicts = []
    for gate in json.loads(GATES.read_text()):
        where = gate["measured"]
        program = where.get("program")
        if program in (OPTIONAL, ONE_DEPTH, PACKED) and program not in programs:
            continue
        table = tables.get((program, where["of"]))
        if table is None or where["field"] not in table:
            what = f" ({where['of']})" if program in (OPTIONAL, ONE_DEPTH, PACKED) else ""
            raise ValueError(f"nothing measured '{gate['name']}', which takes {program} --icount{what}; see --help")
        divisor = where["divided_by"]
        measured = table[where["field"]] / (table[divisor] if isinstance(divisor, str) else divisor)
        if "at_most" in gate:
            bound, passed = f"<= {gate['at_most']}", measured <= gate["at_most"]
        else:
            bound, passed = f">= {gate['at_least']}", measured >= gate["at_least"]
        verdicts.append(Verdict(gate["name"], bound, gate["unit"], measured, passed))
    return verdicts


def print_table(verdicts: list[Verdict]) -> None:
    """Prints one line for each gate."""
    width = max(len(verdict.name) for verdict in verdicts)
    print(f"{'gate':{width}}  {'bound':>8}  {'measured':>9}  {'unit':18}  passed")
    for each in verdicts:
        passed = "yes" if each.passed else "NO"
        print(f"{each.name:{width}}  {each.bound:>8}  {each.measured:9.4g}  {each.unit:18}  {passed}")


def main() -> int:
    """Returns the exit status: 1 if a gate fails, 2 if the results cannot be checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wrote = "what `./run PROGRAM --icount …` wrote, by --json or (bench) by --output"
    parser.add_argument("results", type=Path, nargs="+", help=wrote)
    parser.add_argument("--kernel", type=Path, default=KERNEL, help="the kernel that ran")
    given = parser.parse_args()
    try:
        verdicts = evaluate([json.loads(result.read_text()) for result in given.results], given.kernel)
    except (OSError, ValueError) as error:
        print(f"gates: {error}", file=sys.stderr)
        return 2
    except KeyError as error:
        print(f"gates: a result has no {error}: is it what ./run wrote?", file=sys.stderr)
        return 2
    print_table(verdicts)
    return 0 if all(verdict.passed for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
