#!/usr/bin/env python3
"""The port of RISC-V calls nothing of the kernel by name: what its objects leave undefined is the kernel's main function, the linker
script's symbols, and functions of the C library.

usage: port_symbols_test.py NM OBJECT...
"""

import subprocess
import sys

ALLOWED = {"kernel_main", "bss_begin", "bss_end", "__global_pointer$", "memcpy", "memset"}


def symbols(nm: str, objects: list[str], selection: str) -> set[str]:
    """The names of the external symbols that objects define, or that they do not define."""
    listed = subprocess.run([nm, "--extern-only", selection, *objects], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in listed.splitlines() if line and not line.endswith(":")}


def main() -> int:
    """The exit status."""
    nm, *objects = sys.argv[1:]
    defined = symbols(nm, objects, "--defined-only")
    missing = symbols(nm, objects, "--undefined-only") - defined
    if "kernel_main" not in missing or "trap_vector" not in defined:
        print(f"these are not the objects of the port: {' '.join(objects)}")
        return 1
    upwards = sorted(missing - ALLOWED)
    print("\n".join(f"the port needs {name}" for name in upwards) or f"of the kernel: {' '.join(sorted(missing))}")
    return 1 if upwards else 0


if __name__ == "__main__":
    sys.exit(main())
