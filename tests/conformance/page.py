"""The conformance report as one page of HTML that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import requirements

if TYPE_CHECKING:
    from report import Evidence

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --line: #d8d8de; --dim: #62626c; --head: #f4f4f7;
  --good: #0a6b34; --bad: #b3261e; --none: #62626c; --choice: #8a5a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6ea; --paper: #16161a; --line: #36363e; --dim: #a2a2ac; --head: #202027;
    --good: #6fd49a; --bad: #ff8a80; --none: #a2a2ac; --choice: #f0b860; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
a { color: inherit; } nav { line-height: 2; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top; }
th { background: var(--head); font-weight: 600; }
.totals { width: auto; } .totals td + td, .totals th + th { text-align: right; }
.id { white-space: nowrap; font-weight: 600; } .dim { color: var(--dim); font-size: .9em; }
code { font-size: .85em; overflow-wrap: anywhere; }
.passed { color: var(--good); } .FAILED { color: var(--bad); font-weight: 700; }
.inapplicable { color: var(--none); } .deviation { color: var(--choice); }
.scroll { overflow-x: auto; }
@media (max-width: 44rem) {
  .rows thead { display: none; } .rows tr { display: block; border-bottom: 1px solid var(--line); padding: .5rem 0; }
  .rows td { display: block; border: 0; padding: .1rem 0; } }
"""


def totals(evidence: list[Evidence]) -> str:
    """How many rows of each level have which verdict."""
    heads = "".join(f"<th>{name}" for name in ("level", *requirements.VERDICTS, "failed", "all"))
    lines = []
    for level in (*requirements.LEVELS, "all"):
        these = [one for one in evidence if level in ("all", one.row.level)]
        counts = [sum(one.row.verdict == verdict for one in these) for verdict in requirements.VERDICTS]
        numbers = (*counts, sum(bool(one.problems) for one in these), len(these))
        lines.append(f"<tr><td>{level}" + "".join(f"<td>{number}" for number in numbers))
    return f'<div class="scroll"><table class="totals"><tr>{heads}{"".join(lines)}</table></div>'


def checked_by(one: Evidence) -> str:
    """What checks a row: rules and test cases, or the reason why nothing does."""
    parts = []
    if one.row.verdict == "model":
        parts.append("the model in every test: " + ", ".join(f"<code>{escape(rule)}</code>" for rule in one.row.where))
    for case, result in one.cases.items():
        shown = "" if result == "passed" else f" ({escape(result)})"
        parts.append(f"<code>{escape(case)}</code>{shown}")
    parts += [f'<span class="FAILED">{escape(problem)}</span>' for problem in one.problems]
    if one.row.note:
        parts.append(f'<span class="dim">{escape(one.row.note)}</span>')
    return "<br>".join(parts)


def table_of(part: str, evidence: list[Evidence]) -> str:
    """The rows of one part of the specification."""
    lines = [
        f'<tr id="{one.row.id}"><td class="id">{one.row.id}<br><span class="dim">{one.row.level}</span>'
        f'<td>{escape(one.row.statement)}<br><span class="dim">{escape(one.row.section)}</span>'
        f'<td>{checked_by(one)}<td class="{one.result}">{one.result}'
        for one in evidence
    ]
    heads = "<thead><tr><th>row<th>what a driver does<th>checked by<th>result</thead>"
    return f'<h2 id="{escape(part)}">{escape(part)}</h2><table class="rows">{heads}{"".join(lines)}</table>'


def render(evidence: list[Evidence], problems: list[str]) -> str:
    """The page."""
    parts: dict[str, list[Evidence]] = {}
    for one in evidence:
        parts.setdefault(one.row.part, []).append(one)
    links = " · ".join(f'<a href="#{escape(part)}">{escape(part)}</a>' for part in parts)
    verdict = (
        '<p class="passed">Every row is decided, and all that checks them has passed.'
        if not problems
        else "".join(f'<p class="FAILED">{escape(problem)}' for problem in problems)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Conformance to VIRTIO</title><style>{STYLE}</style>"
        "<h1>What the VIRTIO specification asks of the driver, and what checks it</h1>"
        "<p>Each row is a sentence of the specification that binds a driver, in our words. <b>model</b>: the strict model "
        "of the device watches for it in every host test, and a test of the model's own shows that it would report it. "
        "<b>test</b>: test cases bring the situation about. <b>inapplicable</b>: it binds another driver than this one. "
        "<b>deviation</b>: a recommendation that was decided against."
        f"{verdict}{totals(evidence)}<nav>{links}</nav>"
        f"{''.join(table_of(part, rows) for part, rows in parts.items())}</html>\n"
    )
