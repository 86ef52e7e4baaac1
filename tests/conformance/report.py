#!/usr/bin/env python3
"""The conformance report: for each row of requirements.tsv what checks it, and whether that has passed.

usage: report.py [--results=FOLDER] [--page=FILE]

A row that is checked by the model names rules of the model. Each must be raised somewhere in the model's source, and a
test case of the model's own (tests/host/model), in which a driver that is wrong on purpose breaks the rule, must have
passed. A row that is checked by tests names test cases, which must exist and have passed. Names that begin with
"guest-" are those of ctest tests that boot the kernel; they are compared with the list of tests/guest, and with the
results of the stage `guest` where it has left some.

FOLDER holds the reports that the host tests of a build leave, in Boost's XML: by default that of build/host-debug. What is not
in there has not run.

Exit status: 0 if all rows are decided and everything that is named has passed, 1 otherwise.
"""

import argparse
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import page
import requirements
from requirements import ROOT, Requirement

# Where rules are raised: the model of the device, that of the bus, and the simulated machine.
MODEL_SOURCES = ("tests/model", "arch/host")
MODEL_TESTS = "tests/host/model"
TEST_SOURCES = ("tests/host", "tests/simulation", "tests/interleavings")
RULE = re.compile(r'"([A-Z]+(?:-[A-Z]+)*(?:-\d+)?)"')
# How a test of the model says which rule is broken: in a table of such, or by what the machine has counted.
BROKEN = re.compile(r'(?:\{|count\()"([A-Z]+(?:-[A-Z]+)*(?:-\d+)?)"')
CASE = re.compile(r"BOOST_(AUTO|FIXTURE)_TEST_(SUITE|CASE|SUITE_END)\(\s*(\w*)")


@dataclass
class Evidence:
    """What stands behind one row, and what is missing."""

    row: Requirement
    cases: dict[str, str] = field(default_factory=dict)  # test case: its result
    problems: list[str] = field(default_factory=list)

    @property
    def result(self) -> str:
        """One word."""
        if self.problems:
            return "FAILED"
        return "passed" if self.row.binds else self.row.verdict


def sources(folders: tuple[str, ...]) -> Iterator[Path]:
    """The C++ sources there."""
    for folder in folders:
        yield from sorted(path for path in (ROOT / folder).rglob("*.[ch]pp"))


def cases_in(text: str) -> Iterator[tuple[str, str]]:
    """The test cases of a file, each with its text, which ends where the next one begins."""
    suites: list[str] = []
    found = list(CASE.finditer(text))
    for index, each in enumerate(found):
        if each[2] == "SUITE":
            suites.append(each[3])
        elif each[2] == "SUITE_END":
            suites.pop()
        else:
            end = found[index + 1].start() if index + 1 < len(found) else len(text)
            yield "/".join([*suites, each[3]]), text[each.start() : end]


def rules_of_the_model() -> set[str]:
    """The ids that stand in the model's source."""
    return {rule for path in sources(MODEL_SOURCES) for rule in RULE.findall(path.read_text(encoding="utf-8"))}


def cases_of_rules() -> dict[str, set[str]]:
    """The test cases of the model's own in which a rule is broken."""
    broken: dict[str, set[str]] = {}
    for path in sources((MODEL_TESTS,)):
        for case, text in cases_in(path.read_text(encoding="utf-8")):
            for rule in BROKEN.findall(text):
                broken.setdefault(rule, set()).add(case)
    return broken


def guest_cases() -> set[str]:
    """The names of the ctest tests that boot the kernel."""
    listed = subprocess.run(
        [sys.executable, "-B", ROOT / "tests/guest/boot.py", "--list"], text=True, capture_output=True, check=True
    )
    return {"guest-" + line.split()[0] for line in listed.stdout.splitlines()}


def results_in(folder: Path) -> dict[str, str]:
    """The results of the test cases: passed, or what Boost says instead."""
    results: dict[str, str] = {}

    def take(suite: ElementTree.Element, path: tuple[str, ...]) -> None:
        for each in suite:
            here = (*path, each.get("name", ""))
            if each.tag == "TestSuite":
                take(each, here)
            elif each.tag == "TestCase":
                results["/".join(here)] = each.get("result", "not run")

    for path in sorted(folder.glob("*.xml")):
        try:
            programs = ElementTree.parse(path).getroot()
        except ElementTree.ParseError:
            continue  # its program did not come to its end
        for program in programs:
            take(program, ())
    return results


def guest_results() -> dict[str, str]:
    """The same of the stage `guest`, if it has run; ctest writes another form."""
    path = ROOT / "build/test-logs/guest.xml"
    if not path.is_file():
        return {}
    return {
        case.get("name", ""): "passed" if case.get("status") == "run" else "FAILED"
        for case in ElementTree.parse(path).iter("testcase")
    }


def collect(rows: list[Requirement], results: dict[str, str]) -> list[Evidence]:
    """The evidence for each row."""
    raised = rules_of_the_model()
    broken = cases_of_rules()
    there = {case for path in sources(TEST_SOURCES) for case, _ in cases_in(path.read_text(encoding="utf-8"))}
    guests = guest_cases() if any(name.startswith("guest-") for row in rows for name in row.where) else set()
    of_guests = guest_results()
    evidence = []
    for row in rows:
        one = Evidence(row)
        names = set(row.where)
        if row.verdict == "model":
            names = set()
            for rule in row.where:
                if rule not in raised:
                    one.problems.append(f"the model has no rule {rule}")
                elif rule not in broken:
                    one.problems.append(f"no test of the model breaks {rule}")
                else:
                    names |= broken[rule]
        for name in sorted(names):
            if name.startswith("guest-"):
                one.cases[name] = of_guests.get(name, "in stage guest") if name in guests else "not there"
            else:
                one.cases[name] = results.get(name, "not run") if name in there else "not there"
            if one.cases[name] not in ("passed", "in stage guest"):
                one.problems.append(f"{name}: {one.cases[name]}")
        evidence.append(one)
    return evidence


def print_report(evidence: list[Evidence]) -> None:
    """Row, what checks it, result; then the totals."""
    for one in evidence:
        row = one.row
        checked = {"model": "model: " + ", ".join(row.where), "test": ", ".join(row.where)}.get(row.verdict, row.note)
        print(f"{row.id:9} {row.level:10} {one.result:12} {checked}")
    print()
    print(f"{'':12}" + "".join(f"{verdict:>14}" for verdict in (*requirements.VERDICTS, "failed", "all")))
    for level in (*requirements.LEVELS, "all"):
        these = [one for one in evidence if level in ("all", one.row.level)]
        counts = [sum(one.row.verdict == verdict for one in these) for verdict in requirements.VERDICTS]
        failed = sum(bool(one.problems) for one in these)
        print(f"{level:12}" + "".join(f"{count:14}" for count in (*counts, failed, len(these))))


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "build/host-debug/tests/results", metavar="FOLDER")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the report as a page of HTML, too")
    options = parser.parse_args()

    rows, problems = requirements.read()
    evidence = collect(rows, results_in(options.results))
    print_report(evidence)
    problems += [f"{one.row.id}: {problem}" for one in evidence for problem in one.problems]
    if options.page:
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(page.render(evidence, problems), encoding="utf-8")
    for problem in problems:
        print(problem, file=sys.stderr)
    if any(problem.endswith(": not run") for problem in problems):
        print(f"the results are those in {options.results}: run the host tests first", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
