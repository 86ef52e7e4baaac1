#!/usr/bin/env python3
"""Holds docs/memory-order.md and the code to each other.

A place is a fence, an atomic operation stronger than relaxed, or a memory order that is named outside such an operation, in the
sources of arch/, async/, drivers/ and src/. Every place has one row in the document, every row names one place that
exists, and the partners that a row names name it in turn. An atomic operation without an explicit order is an error,
because its default is seq_cst and no reader can tell whether that was meant. The comment of a fence stands above its line.
The fences of the RISC-V ports order at least what arch/arch.hpp promises.

With --list, prints the places, too.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "memory-order.md"
FOLDERS = ("arch", "async", "drivers", "src")
SUFFIXES = (".hpp", ".cpp", ".S", ".h", ".inc")
CONTRACT = "arch/arch.hpp"
PORTS = ("arch/riscv64/machine.hpp", "tests/consumer/port/machine.hpp")
# Partners without a row, because they are not in our code.
OUTSIDE = {"device", "firmware", "hardware", "dependency", "callers", "none"}

Place = tuple[str, str, str]  # file, function, operation

ATOMIC_CALL = re.compile(
    r"(?:\.|->)\s*(load|store|exchange|compare_exchange_weak|compare_exchange_strong|fetch_\w+|test_and_set)\s*\("
)
FREE_FENCE = re.compile(r"\b(fence_(?:publish|consume|full|doorbell|acknowledge))\s*\(\s*\)")
STD_FENCE = re.compile(r"\b(atomic_(?:thread|signal)_fence)\s*\(")
ORDER = re.compile(r"\bmemory_order(?:_|::)(relaxed|consume|acquire|release|acq_rel|seq_cst)\b")
BUILTIN = re.compile(r"\b__(?:atomic|sync)_\w+")
INSTRUCTION = re.compile(
    r"\bs?fence(?:\.[a-z.]+|\s+[iorw]+\s*,\s*[iorw]+)?(?![\w(])|\b(?:amo\w+|lr|sc)\.[wd]\.(?:aqrl|aq|rl)\b"
)
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
STATEMENTS = set("if for while switch catch do else return sizeof alignof constexpr requires".split())


def blank(text: str) -> str:
    """Spaces in the place of everything but line ends, so that positions stay."""
    return re.sub(r"[^\n]", " ", text)


def without_comments(text: str) -> str:
    """C++ without comments; strings stay."""
    token = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"|(?<!\w)'(?:[^'\\\n]|\\.)+'", re.DOTALL)
    return token.sub(lambda found: blank(found[0]) if found[0].startswith("/") else found[0], text)


def closing(text: str, opening: int) -> int:
    """The position of the parenthesis that closes the one at `opening`."""
    depth = 0
    for position in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError("a parenthesis is not closed")


def scope_name(head: str) -> tuple[str, str]:
    """What the text before an opening brace begins: ("class" | "function" | "", its name)."""
    head = re.sub(r"\s+", " ", re.sub(r"\b(?:alignas|noexcept|__attribute__)\s*\([^()]*\)", "", head)).strip()
    if found := re.search(r"\b(?:class|struct|union) (\w+)(?: final)?(?: ?: [^()]*)?$", head):
        return "class", found[1]
    if re.search(r"\bnamespace\b|\benum\b", head):
        return "", ""
    found = re.search(r"((?:\w+::)*~?\w+|operator\s*\S+?)\s*\(", head)
    if found is None or found[1] in STATEMENTS:
        return "", ""
    before = head[: found.start()]
    if "=" in before or "[" in before.replace("[[", ""):  # an initialiser, or a lambda
        return "", ""
    return "function", found[1]


def enclosing(code: str, position: int) -> str:
    """The function around a position, with its classes; the class alone outside of functions."""
    bare = STRING.sub(lambda found: blank(found[0]), code)
    scopes: list[tuple[str, str]] = []
    begin = 0  # of the text that belongs to the next brace
    nested = 0  # parentheses
    for found in re.finditer(r"[(){};]", bare[:position]):
        at, character = found.start(), found[0]
        if character in "()":
            nested += 1 if character == "(" else -1
        elif character == "{":
            inside_function = any(kind == "function" for kind, _ in scopes)
            kind, name = ("", "") if nested else scope_name(bare[begin:at])
            scopes.append(("", "") if inside_function and kind == "function" else (kind, name))
            if kind:
                begin = at + 1
        elif character == "}":
            scopes.pop()
            rest = bare[at + 1 :].lstrip()
            if not nested and not rest.startswith((",", "{", ")")):  # else an initialiser, and the head goes on
                begin = at + 1
        elif character == ";" and not nested:
            begin = at + 1
    names = [name for kind, name in scopes if kind]
    return "::".join(names) if names else "-"


def places_of_cpp(
    path: str, text: str, atomics: dict[str, set[str]], wrong: list[str]
) -> Iterator[tuple[Place, int]]:
    """All places of a C++ source, each with its position. Operations that name no order go to `wrong`."""
    code = without_comments(text)
    strings = [found.span() for found in STRING.finditer(code)]
    bare = STRING.sub(lambda found: blank(found[0]), code)
    covered: list[tuple[int, int]] = []
    parameters = set(re.findall(r"\bmemory_order (\w+)", bare))

    def complain(at: int, what: str) -> None:
        wrong.append(f"{path}:{code.count(chr(10), 0, at) + 1}: {what}")

    def place(operation: str, at: int) -> tuple[Place, int]:
        return (path, enclosing(code, at), operation), at

    for found in ATOMIC_CALL.finditer(bare):
        end = closing(bare, found.end() - 1)
        orders = ORDER.findall(bare, found.start(), end)
        word = re.search(r"\w*$", bare[max(0, found.start() - 80) : found.start()].rstrip())[0] or "…"
        if not orders:
            # The fields of a ring have members of the same names and no order to name.
            passes_on = parameters.intersection(re.findall(r"\w+", bare[found.end() : end]))
            if not passes_on and any(word in names for names in atomics.values()):
                complain(found.start(), f"{word}.{found[1]}() names no memory order, and so is seq_cst")
            continue
        covered.append((found.start(), end))
        if set(orders) != {"relaxed"}:
            yield place(f"{word}.{found[1]}({', '.join(orders)})", found.start())
    for found in STD_FENCE.finditer(bare):
        end = closing(bare, found.end() - 1)
        covered.append((found.start(), end))
        yield place(f"{found[1]}({', '.join(ORDER.findall(bare, found.start(), end))})", found.start())
    for found in FREE_FENCE.finditer(bare):
        if not re.search(r"\bvoid\s+$", bare[: found.start()]):  # the definition is the instruction in it
            yield place(f"{found[1]}()", found.start())
    for found in BUILTIN.finditer(bare):
        complain(found.start(), f"{found[0]}: use arch::atomic, whose orders this test knows")
    own = atomics.get(path.rsplit(".", 1)[0], set()) if not path.startswith("arch/host/") else set()
    for name in own:  # operators are seq_cst; the simulated machine's own words are no atomics
        changed = rf"(?:\+\+|--)(?:\w+(?:\.|->))*{name}\b|\b{name}\s*(?:\+\+|--|[-+|&^]?=(?!=))"
        for found in re.finditer(changed, bare):
            complain(found.start(), f"{found[0]}: an operator of an atomic is seq_cst; name the order")
    loose: dict[Place, int] = {}
    for found in ORDER.finditer(bare):
        if found[1] != "relaxed" and not any(begin <= found.start() < end for begin, end in covered):
            loose.setdefault((path, enclosing(code, found.start()), "memory_order"), found.start())
    yield from loose.items()
    for begin, end in strings:
        if is_in_asm(bare, begin):
            for found in INSTRUCTION.finditer(code[begin:end].replace("\\n", "; ").replace("\\t", "  ")):
                yield place(re.sub(r"\s+", " ", found[0]), begin)


def is_in_asm(bare: str, position: int) -> bool:
    """Whether a string is an argument of an asm statement."""
    opening = bare.rfind("asm", 0, position)
    return opening >= 0 and ";" not in bare[opening:position] and "{" not in bare[opening:position]


def places_of_assembly(path: str, text: str) -> Iterator[tuple[Place, int]]:
    """All places of an assembly source; the function is the label before."""
    label = "-"
    position = 0
    for line in text.splitlines(keepends=True):
        code = line.split("#", 1)[0]
        if found := re.match(r"([A-Za-z_]\w*):", code):
            label = found[1]
        for found in INSTRUCTION.finditer(code):
            yield (path, label, re.sub(r"\s+", " ", found[0])), position + found.start()
        position += len(line)


def sources() -> dict[str, str]:
    """The text of every source, by its path."""
    return {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for folder in FOLDERS
        for file in sorted((ROOT / folder).rglob("*"))
        if file.suffix in SUFFIXES
    }


def declared_atomics(texts: dict[str, str]) -> dict[str, set[str]]:
    """The names of all atomics, by the path of their source without its suffix."""
    atomics: dict[str, set[str]] = {}
    for path, text in texts.items():
        declaration = r"\b(?:arch::atomic|std::atomic|Atomic)<[^;{}()]*>\s+(\w+)\s*[{;=]"
        atomics.setdefault(path.rsplit(".", 1)[0], set()).update(re.findall(declaration, without_comments(text)))
    return atomics


def misplaced_comment(text: str, at: int) -> bool:
    """Whether the fence at this position has a comment after it on its line, or none above."""
    lines = text.splitlines()
    number = text.count("\n", 0, at)
    above = lines[number - 1].strip() if number else ""
    return "//" in lines[number] or not above.startswith("//")


def rows(document: str) -> Iterator[tuple[str, Place, list[str]]]:
    """Every row of the document: its id, its place and its partners."""
    for line in document.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or not re.fullmatch(r"[A-Z]+\d+", cells[0]):
            continue
        if len(cells) != 5:
            raise ValueError(f"row {cells[0]} has {len(cells)} cells, not 5")
        where = re.fullmatch(r"`([^`]+)` `([^`]+)`", cells[1])
        operation = re.fullmatch(r"`([^`]+)`", cells[2])
        if where is None or operation is None:
            raise ValueError(f"row {cells[0]} does not name `file` `function` and `operation`")
        if not cells[3]:
            raise ValueError(f"row {cells[0]} does not say what it orders")
        yield cells[0], (where[1], where[2], operation[1]), re.findall(r"[A-Z]+\d+|[a-z]+", cells[4])


def check(texts: dict[str, str], document: str) -> list[str]:
    """Everything that is wrong, a line each."""
    wrong: list[str] = []
    atomics = declared_atomics(texts)
    in_code: Counter[Place] = Counter()
    for path, text in texts.items():
        assembly = path.endswith(".S")
        for place, at in places_of_assembly(path, text) if assembly else places_of_cpp(path, text, atomics, wrong):
            in_code[place] += 1
            if place[2].startswith("fence_") and misplaced_comment(text, at):
                wrong.append(f"{path}, {place[1]}: the comment of {place[2]} belongs above its line")
    in_document: Counter[Place] = Counter()
    partners: dict[str, list[str]] = {}
    try:
        for name, place, named in rows(document):
            if name in partners:
                wrong.append(f"two rows are called {name}")
            in_document[place] += 1
            partners[name] = named
    except ValueError as error:
        wrong.append(str(error))
    if "--list" in sys.argv:
        for place, count in sorted(in_code.items()):
            print(count, *(f"`{part}`" for part in place))
    for place in sorted(in_code - in_document):
        wrong.append("not in docs/memory-order.md: " + " ".join(f"`{part}`" for part in place))
    for place in sorted(in_document - in_code):
        wrong.append("only in docs/memory-order.md: " + " ".join(f"`{part}`" for part in place))
    for name, named in partners.items():
        if not named:
            wrong.append(f"row {name} names no partner")
        for partner in named:
            if partner in partners and name not in partners[partner]:
                wrong.append(f"row {name} names {partner} as its partner, and {partner} does not name {name}")
            elif partner not in partners and partner not in OUTSIDE:
                wrong.append(f"row {name} names {partner}, which is no row and none of: {', '.join(sorted(OUTSIDE))}")
    print(f"{sum(in_code.values())} places in the code, {sum(in_document.values())} rows")
    return wrong


def check_ports(contract: str, ports: dict[str, str]) -> list[str]:
    """Every fence of a port that orders less than the contract says, or is not there, a line each."""
    wrong: list[str] = []
    promised = re.findall(r"void +(fence_\w+)\(\) +([iorw]+),([iorw]+) ", contract)
    if len(promised) != 5:
        wrong.append(f"{CONTRACT} promises {len(promised)} fences, not 5")
    for path, text in ports.items():
        for name, before, after in promised:
            body = re.search(rf"void {name}\(\) noexcept {{\s*asm volatile\(\"fence ([iorw]+), ([iorw]+)\"", text)
            if body is None:
                wrong.append(f"{path}: {name} is not a single fence")
            elif not (set(before) <= set(body[1]) and set(after) <= set(body[2])):
                wrong.append(f"{path}: {name} is {body[1]},{body[2]}, and {CONTRACT} promises {before},{after}")
    return wrong


def main() -> int:
    """0 if the document and the code agree."""
    wrong = check(sources(), DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "")
    wrong += check_ports(
        (ROOT / CONTRACT).read_text(encoding="utf-8"), {port: (ROOT / port).read_text(encoding="utf-8") for port in PORTS}
    )
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
