"""A newer QEMU from the distribution's backports, unpacked beside the installed one."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import packages
from values import Refusal

WANTED = ("qemu-system-riscv", "qemu-system-common", "qemu-system-data", "qemu-utils", "opensbi")
PROGRAMS = ("qemu-system-riscv64", "qemu-img")


def is_wanted(package: str) -> bool:
    """Whether the package belongs to QEMU, or is a library."""
    return package in WANTED or package.startswith("lib")


def qemu(cache: Path, say: Callable[[str], None]) -> Path:
    """Returns the directory with `qemu-system-riscv64` and `qemu-img` of the backports, from the cache if possible."""
    codename = packages.host_codename()

    def make(directory: Path) -> None:
        say(f"fetching QEMU of {codename}-backports (about 20 MB, once)")
        suites = (f"{codename}-backports", codename)
        repository = packages.Repository(directory, packages.host_architecture(), suites, knows_installed=True)
        repository.update()
        wanted = {name: version for name, version in repository.closure(WANTED).items() if is_wanted(name)}
        if not wanted.keys() >= set(WANTED):
            raise Refusal(f"this machine has the packages of {suites[0]} installed: run without --backports-qemu")
        for package in repository.fetch(wanted):
            packages.unpack(package, directory / "root")
        for done_with in ("packages", "apt"):
            shutil.rmtree(directory / done_with)

    place = packages.cached(cache / f"qemu-{codename}-backports", make)
    # Written every time, because the cache may have been moved.
    programs = place / "bin"
    programs.mkdir(exist_ok=True)
    for program in PROGRAMS:
        wrapper = programs / program
        wrapper.write_text(_wrapper(place / "root", program), encoding="utf-8")
        wrapper.chmod(0o755)
    asking = [str(programs / PROGRAMS[0]), "--version"]
    ended = subprocess.run(asking, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if ended.returncode != 0:
        raise Refusal(f"QEMU of the backports does not start: {' '.join(ended.stderr.split())}")
    return programs


def _wrapper(root: Path, program: str) -> str:
    """A script that starts the program with the libraries, modules and firmware that were unpacked with it."""
    libraries = sorted({folder for folder, _, files in os.walk(root / "usr" / "lib")
                        if any(re.search(r"\.so\.[0-9]", name) for name in files)})  # fmt: skip
    modules = next((root / "usr" / "lib").glob("*/qemu"), root)
    words = [shlex.quote(str(root / "usr" / "bin" / program))]
    if program == PROGRAMS[0]:
        words += ["-L", shlex.quote(str(root / "usr" / "share" / "qemu"))]
    return (
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={shlex.quote(':'.join(libraries))}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n"
        f"export QEMU_MODULE_DIR={shlex.quote(str(modules))}\n"
        f'exec {" ".join(words)} "$@"\n'
    )
