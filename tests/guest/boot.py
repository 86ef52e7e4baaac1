#!/usr/bin/env python3
"""Runs one case of the guest tests, or lists them all for CMake: one line "NAME LIMIT full|usual" each."""

import sys

import matrix
from case import argument_parser, check
from cases import CASES


def main() -> int:
    """The exit status: 0 if all cases named passed."""
    every = {case.name: case for case in CASES}
    parser = argument_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="CASE", help="what to run")
    parser.add_argument("--list", action="store_true", help="print all cases and run nothing")
    given = parser.parse_args()
    if given.list or not every.keys() >= set(given.names):  # the matrix takes a while to make
        every = {case.name: case for case in matrix.cases(marked=given.list)} | every
    if given.list:
        for case in every.values():
            print(case.name, case.limit, "full" if case.full_only else "usual")
        return 0
    unknown = [name for name in given.names if name not in every]
    if unknown or not given.names:
        parser.error(f"no such case: {' '.join(unknown)}" if unknown else "name a case; --list shows them all")
    outcomes = [check(every[name], given.kernel.resolve(), given.scratch.resolve()) for name in given.names]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
