#!/usr/bin/env python3
"""Holds the compiler of the kernel to what a release has to be on RISC-V: before the instruction that writes what another
hart acquires, a fence of earlier reads and writes before later writes, or .rl on the instruction itself.

GCC 12 drops it from some exchanges (arch/atomic.hpp); the model checks of memory orders do not see what a compiler
makes of them. What is looked at is the code of functions that do nothing else, compiled as the driver is. A function that
releases nothing must not pass, or this would find nothing.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPILED_LIKE = ROOT / "async" / "executor.cpp"
RELEASING = {
    "inbox_post": "bool inbox_post(async::inbox& to, async::operation& message) { return to.post(message); }",
    "exchange_weak": "bool exchange_weak(arch::atomic<void*>& word, void*& expected, void* desired) {"
    " return word.compare_exchange_weak(expected, desired, std::memory_order_release, std::memory_order_relaxed); }",
    "exchange_strong": "bool exchange_strong(arch::atomic<void*>& word, void*& expected, void* desired) {"
    " return word.compare_exchange_strong(expected, desired, std::memory_order_acq_rel, std::memory_order_acquire); }",
    "flag_set": "bool flag_set(arch::atomic<std::uint32_t>& flag) {"
    " return flag.exchange(1, std::memory_order_acq_rel) == 0; }",
    "flag_or": "bool flag_or(arch::atomic<std::uint32_t>& flag) {"
    " return flag.fetch_or(2, std::memory_order_acq_rel) == 0; }",
    "count_up": "void count_up(arch::atomic<std::uint32_t>& count) { count.fetch_add(1, std::memory_order_release); }",
}
NOT_RELEASING = {
    "relaxed_exchange": "bool relaxed_exchange(arch::atomic<void*>& word, void*& expected, void* desired) {"
    " return word.compare_exchange_strong(expected, desired, std::memory_order_relaxed, std::memory_order_relaxed); }",
    "relaxed_flag": "bool relaxed_flag(arch::atomic<std::uint32_t>& flag) {"
    " return flag.exchange(1, std::memory_order_relaxed) == 0; }",
}
SOURCE = f"""#include "inflight/arch/arch.hpp"
#include "inflight/async/inbox.hpp"
#include <atomic>
#include <cstdint>
namespace inflight {{
extern "C" {{
{chr(10).join([*RELEASING.values(), *NOT_RELEASING.values()])}
}}
}}
"""

FUNCTION = re.compile(r"^[0-9a-f]+ <(\w+)>:$")
FENCE = re.compile(r"\bfence\s+(\w+),(\w+)|\bfence$")
WRITES_SHARED = re.compile(r"\b(?:sc|amo\w+)\.[wd](\.aqrl|\.rl)?\b")


def disassemble(build: Path) -> str:
    """The functions above, compiled with the compiler and the options of the kernel's runtime."""
    commands = json.loads((build / "compile_commands.json").read_text())
    command = next(shlex.split(each["command"]) for each in commands if Path(each["file"]) == COMPILED_LIKE)
    with tempfile.TemporaryDirectory() as directory:
        source, made = Path(directory) / "release.cpp", Path(directory) / "release.o"
        source.write_text(SOURCE)
        words = [str(source) if word == str(COMPILED_LIKE) else word for word in command]
        words[words.index("-o") + 1] = str(made)
        # GCC 12 warns of what arch/atomic.hpp has to do, where it sees through it as here.
        subprocess.run([*words, "-Wno-invalid-memory-model"], cwd=build, check=True)
        dump = [words[0].replace("g++", "objdump"), "-d", "--no-show-raw-insn", str(made)]
        return subprocess.run(dump, check=True, capture_output=True, text=True).stdout


def releases(code: list[str]) -> bool:
    """Whether the instruction that writes the shared word is ordered behind everything before it."""
    fenced = False
    for line in code:
        fence = FENCE.search(line)
        if fence is not None:
            before, behind = fence.group(1, 2) if fence[1] else ("rw", "rw")
            fenced |= "r" in before and "w" in before and "w" in behind
        writing = WRITES_SHARED.search(line)
        if writing is not None:
            return fenced or writing[1] is not None
    raise ValueError("there is no instruction that writes: the test is to be brought up to date")


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="the build of the kernel")
    given = parser.parse_args()
    code: dict[str, list[str]] = {}
    name = ""
    for line in disassemble(given.build).splitlines():
        function = FUNCTION.match(line)
        if function is not None:
            name = function[1]
            code[name] = []
        elif name:
            code[name].append(line.rstrip())
    failed = False
    for name, expected in [*((each, True) for each in RELEASING), *((each, False) for each in NOT_RELEASING)]:
        found = releases(code[name])
        print(f"{name}: {'a release' if found else 'no release'}{'' if found == expected else ', which is WRONG:'}")
        if found != expected:
            failed = True
            print("\n".join(code[name]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
