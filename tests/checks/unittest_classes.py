"""Prints the names of the test classes in a folder, as `python3 -m unittest` takes them there.

usage: unittest_classes.py FOLDER
"""

import sys
import unittest
from collections.abc import Iterator


def classes_in(suite: unittest.TestSuite) -> Iterator[str]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from classes_in(test)
        else:
            yield f"{type(test).__module__}.{type(test).__qualname__}"


def main() -> int:
    loader = unittest.TestLoader()
    names = sorted(set(classes_in(loader.discover(sys.argv[1], pattern="*_test.py"))))
    if loader.errors:
        print("\n".join(loader.errors), file=sys.stderr)
        return 1
    print("\n".join(names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
