"""The rows of requirements.tsv: what the VIRTIO specification asks of a driver, and what answers for each."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).resolve().with_name("requirements.tsv")
COLUMNS = ("id", "since", "level", "part", "section", "statement", "verdict", "where", "note")
ROWS = 367  # that the specification has, in the versions 1.0 to 1.4
LEVELS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "IMPLIED")
# What answers for a row: rules of the model, which watches every test that runs on it; test cases that provoke the
# situation; nothing, because the row binds another driver than this one; or a decision against what the row recommends.
VERDICTS = ("model", "test", "inapplicable", "deviation")


@dataclass(frozen=True)
class Requirement:
    """A row. `where` holds ids of rules of the model, or names of test cases."""

    id: str
    since: str
    level: str
    part: str
    section: str
    statement: str
    verdict: str
    where: tuple[str, ...]
    note: str

    @property
    def mandatory(self) -> bool:
        """Whether a driver that does otherwise does not conform."""
        return self.level in ("MUST", "MUST NOT")

    @property
    def binds(self) -> bool:
        """Whether this driver follows the row."""
        return self.verdict in ("model", "test")


def read(table: Path = TABLE) -> tuple[list[Requirement], list[str]]:
    """The rows, and what is wrong with the table itself."""
    lines = table.read_text(encoding="utf-8").splitlines()
    problems = [] if lines and tuple(lines[0].split("\t")) == COLUMNS else ["the columns are not " + ", ".join(COLUMNS)]
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(COLUMNS):
            problems.append(f"line {number} has {len(fields)} columns and not {len(COLUMNS)}")
            continue
        where = tuple(name for name in re.split(r",\s*", fields[7]) if name)
        rows.append(Requirement(*fields[:7], where, fields[8]))
    return rows, problems + shape_problems(rows)


def shape_problems(rows: list[Requirement]) -> list[str]:
    """What does not depend on sources or results: a row that is lost, twice there, or without a verdict."""
    problems = []
    numbers: dict[str, list[int]] = {}
    for row in rows:
        family, _, number = row.id.partition("-")
        numbers.setdefault(family, []).append(int(number) if number.isdigit() else 0)
        if row.level not in LEVELS:
            problems.append(f"{row.id} has the unknown level '{row.level}'")
        if row.verdict not in VERDICTS:
            problems.append(f"{row.id} has no verdict: '{row.verdict}' is none of {', '.join(VERDICTS)}")
        elif row.binds and not row.where:
            problems.append(f"{row.id} is said to be checked, and names nothing that checks it")
        elif not row.binds and not row.note:
            problems.append(f"{row.id} is {row.verdict} without a reason")
        if row.verdict == "deviation" and row.mandatory:
            problems.append(f"{row.id} is a deviation from what the specification demands")
    for family, seen in numbers.items():
        if seen != list(range(1, len(seen) + 1)):
            problems.append(f"the rows of {family} are not numbered from 1 without a gap")
    if len(rows) != ROWS:
        problems.append(f"the table has {len(rows)} rows and not {ROWS}")
    return problems
