#!/usr/bin/env python3
"""Makes a file to compile out of the examples at the heads of headers: header_examples.py OUTPUT HEADER...

What is indented by four in the comment before a header's `#pragma once` is its example. It comes into a namespace of its own
in inflight::async. It has a function `example()` without arguments, which tells whether what it shows is so; for those there is a list.
A header without an example is an error.
"""

import pathlib
import sys


def example_of(header):
    lines = header.read_text(encoding="utf-8").partition("#pragma once")[0].splitlines()
    code = "\n".join(line[7:] if line.startswith("//     ") else "" for line in lines).strip("\n")
    if " example() {" not in code:
        sys.exit(f"{header}: the comment at its head has no example, with a function `example()` that a test can run")
    return code


def main(output, *headers):
    headers = [pathlib.Path(header) for header in headers]
    with open(output, "w", encoding="utf-8") as text:
        for header in headers:
            print(f'#include "async/{header.name}"', file=text)
        print("\nnamespace inflight::async {\nnamespace {", file=text)
        for header in headers:
            print(f"\n// From async/{header.name}.\nnamespace {header.stem}_example {{\n", file=text)
            print(example_of(header), file=text)
            print("\n} // namespace", file=text)
        print("\nconst header_example header_examples[] = {", file=text)
        for header in headers:
            print(f'    {{"{header.name}", [] {{ return truth_of({header.stem}_example::example()); }}}},', file=text)
        print("};\n\n} // namespace\n} // namespace inflight::async", file=text)


main(*sys.argv[1:])
