"""What a compiler does with coroutines that await in conditions (condition_forms.inc), and that ours are told from the others.

usage: condition_forms.py EXECUTABLE COMPILER [RUNNER]

Each form is compiled without anything of ours, and run: of GCC 12.2 and Clang it is known which forms lose their body, and a
compiler that does otherwise fails here. Then each form as a task: those that the compiler loses, and no others, must not
compile when optimised, with the line that they stand on; in EXECUTABLE, which is not optimised (or "-"), each must panic when it
is called, and every other run. RUNNER runs programs of COMPILER if the host cannot.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "condition_forms.cpp"
REASON = "GCC 12.2 would lose the body of this coroutine"
LIMIT = 60  # seconds: a form that is lost may also never end


def compiled(compiler: str, ours: bool, level: str, output: Path) -> subprocess.CompletedProcess[str]:
    words = [compiler, "-std=gnu++20", level, f"-DINFLIGHT_FORMS={int(ours)}", f"-I{HERE.parents[1]}"]
    words += [f"-I{HERE.parents[1] / 'include'}", '-DINFLIGHT_ARCH_HEADER="arch/host/machine.hpp"', str(SOURCE), "-o", str(output)]
    words += ["-c"] if ours else ["-static"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


def is_fixed(compiler: str) -> bool | None:
    """Whether the compiler is known to keep every body; None: it is neither known to keep them nor to lose them."""
    macros = subprocess.run([compiler, "-dM", "-E", "-xc++", "/dev/null"], capture_output=True, text=True, check=True).stdout
    value = dict(line.split(" ", 2)[1:] for line in macros.splitlines() if line.count(" ") >= 2)
    if "__clang__" in value:
        return True
    return False if (value["__GNUC__"], value["__GNUC_MINOR__"]) == ("12", "2") else None


def forms(program: list[str]) -> dict[str, tuple[bool, int]]:
    """By name: whether GCC 12.2 loses it, and its line."""
    listed = subprocess.run(program, capture_output=True, text=True, check=True, timeout=LIMIT).stdout
    return {name: (does == "loses", int(line)) for name, does, line in map(str.split, listed.splitlines())}


def ends(program: list[str], form: str) -> tuple[int | None, str]:
    """The status of the program for that form, None if it did not end, and what it said."""
    try:
        ended = subprocess.run([*program, form], capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None, ""
    return ended.returncode, ended.stderr


def main() -> int:
    executable, compiler, *runner = sys.argv[1:]
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        lost: dict[str, int] = {}
        for level in ("-O0", "-O2"):
            built = compiled(compiler, False, level, output)
            if built.returncode != 0:
                print(built.stderr)
                return 1
            program = [*runner, str(output)]
            known = forms(program)
            lost = {name: line for name, (_, line) in known.items() if ends(program, name)[0] != 0}
            fixed = is_fixed(compiler)
            of_gcc_12 = {name for name, (loses, _) in known.items() if loses}
            expected = set() if fixed or (fixed is None and not lost) else of_gcc_12
            faults += [f"{compiler} {level}: {name} is {'lost' if name in lost else 'kept'}" for name in expected ^ set(lost)]
            print(f"{compiler} {level}: loses {len(lost)} of {len(known)} forms")

        for level in ("-O1", "-O2"):
            built = compiled(compiler, True, level, output)
            errors = re.findall(rf"condition_forms\.inc:(\d+):\d+:\n.*error: .*{REASON}", built.stderr)
            refused = {int(line) for line in errors}
            faults += [f"{compiler} {level}: line {line} is {'' if line in refused else 'not '}refused" for line in
                       refused ^ set(lost.values())]
            if (built.returncode != 0) != bool(lost) or built.stderr.count(": error: ") != len(errors):
                faults.append(f"{compiler} {level}: {built.stderr}")
            print(f"{compiler} {level}: refuses {len(refused)} tasks")

    if executable != "-":
        for name in forms([executable]):
            status, said = ends([executable], name)
            if name in lost and (status == 0 or REASON not in said):
                faults.append(f"{name}: no panic that names the cause, but status {status}: {said}")
            if name not in lost and status != 0:
                faults.append(f"{name}: status {status}: {said}")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
