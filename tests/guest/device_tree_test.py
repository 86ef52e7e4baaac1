#!/usr/bin/env python3
"""Boots the kernel with device trees that QEMU did not make: both legal ways of telling a thing, and trees that are wrong.

Each is QEMU's own tree, changed as text between two runs of dtc. Disks must be read as fast as ever, and what is odd must be
said, once.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from case import Outcome, argument_parser, run

MEMORY = "256M"
SLOTS = range(1, 9)
FIRST_SLOT = 0x10001000
# Where nothing is on `virt`: between the PLIC and the UART.
NOWHERE = 0xF000000
# In memory, far from what the kernel takes: a device in whose registers nothing ever changes.
STUCK = 0x8F000000
REGISTERS = {0x0: 0x74726976, 0x4: 2, 0x8: 2, 0xC: 0x554D4551}  # magic, version, block device; no features
TWO_DISKS = ("digest", "--disk=4M", "--disk=4M", "--queues=1")
MATCH = ("vda matches the host", "vdb matches the host")


def slot(number: int) -> int:
    """The address of a slot, counted from 1 as their interrupts are."""
    return FIRST_SLOT + 0x1000 * (number - 1)


def in_slots(change: Callable[[int, str], str]) -> Callable[[str], str]:
    """A change of the node of each slot, by its number."""

    def changed(source: str) -> str:
        for number in SLOTS:
            pattern = rf"virtio_mmio@{slot(number):x} \{{.*?\}};"
            source, times = re.subn(pattern, lambda node, number=number: change(number, node[0]), source, flags=re.S)
            assert times == 1, f"slot {number} is {times} times in QEMU's tree"
        return source

    return changed


def substitute(pattern: str, text: str) -> Callable[[str], str]:
    """A change that has to find something."""

    def changed(source: str) -> str:
        source, times = re.subn(pattern, text, source, flags=re.S)
        assert times != 0, f"/{pattern}/ is not in QEMU's tree"
        return source

    return changed


def chain(*changes: Callable[[str], str]) -> Callable[[str], str]:
    """One change after the other."""

    def changed(source: str) -> str:
        for each in changes:
            source = each(source)
        return source

    return changed


def without(name: str) -> Callable[[int, str], str]:
    """A slot without a property."""
    return lambda _, node: re.sub(rf"\n\s*{name} = [^;]*;", "", node)


def extended(_: int, node: str) -> str:
    """A slot with interrupts-extended in place of interrupts and interrupt-parent."""
    return re.sub(r"interrupts = <(\w+)>;\s*interrupt-parent = <(\w+)>;", r"interrupts-extended = <\2 \1>;", node)


def with_line(line: Callable[[int], int]) -> Callable[[int, str], str]:
    """A slot with another interrupt."""
    return lambda number, node: re.sub(r"interrupts = <\w+>", f"interrupts = <{line(number):#x}>", node)


# A word of the PLIC's node, whose cells for an interrupt are two then.
PLIC_OF_TWO_CELLS = substitute(r"(plic@\w+ \{.*?)#interrupt-cells = <0x01>", r"\1#interrupt-cells = <0x02>")
TWO_CELLS = chain(substitute(r"\binterrupts = <(\w+)>;", r"interrupts = <\1 0x04>;"), PLIC_OF_TWO_CELLS)
# That of the harts is for device_tree_test: OpenSBI 1.1 does not boot without it.
WITHOUT_TYPE = substitute(r'\n\s*device_type = "memory";', "")
OTHER_PLIC = chain(
    substitute(r'compatible = "sifive,plic-1.0.0\\0riscv,plic0";', 'compatible = "allwinner,sun20i-d1-plic", "thead,c900-plic";'),
    substitute(r"\n\s*riscv,ndev = <\w+>;", ""),
)  # fmt: skip


def node_of_slot(address: int, line: int | None) -> str:
    """A further slot, at the PLIC's phandle."""
    interrupt = "" if line is None else f"interrupts = <{line:#x}>; interrupt-parent = <PLIC>;"
    return f'virtio_mmio@{address:x} {{ {interrupt} reg = <0 {address:#x} 0 0x1000>; compatible = "virtio,mmio"; }};'


def further_slot(address: int, line: int | None) -> Callable[[str], str]:
    """One more slot."""

    def changed(source: str) -> str:
        plic = re.search(r"plic@\w+ \{.*?phandle = <(\w+)>", source, flags=re.S)
        assert plic is not None
        return re.sub(r"(soc \{)(.*?)(\n\s*\w+@)", lambda found: found[1] + found[2] + node_of_slot(address, line).replace("PLIC", plic[1]) + found[3],
                      source, count=1, flags=re.S)  # fmt: skip

    return changed


def without_context(first: bool) -> Callable[[str], str]:
    """A PLIC whose first or last context of S-mode (interrupt 9 of a hart) is no context."""
    contexts = r"(plic@\w+ \{[^}]*interrupts-extended = <" + (r"[^>]*?" if first else r"[^>]*") + r") 0x09\b"
    return substitute(contexts, r"\1 0xffffffff")


def reserved(count: int, *further: tuple[int, int]) -> Callable[[str], str]:
    """Memory that is taken: so many single pages all over it, and what else is said."""
    pages = [(0x81000000 + index * 0x100000, 0x1000) for index in range(count)]
    nodes = "".join(f"r@{base:x} {{ reg = <0 {base:#x} 0 {size:#x}>; }};" for base, size in [*pages, *further])
    node = f"reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; {nodes} }};"
    return substitute(r"(\n\s*memory@)", node + r"\1")


def stuck_device() -> tuple[str, ...]:
    """The registers of a device that is only memory."""
    return tuple(
        f"--qemu-arg={word}"
        for offset, value in REGISTERS.items()
        for word in ("-device", f"loader,addr={STUCK + offset:#x},data={value:#x},data-len=4")
    )


@dataclass(frozen=True)
class Tree:
    """A tree, what runs with it, and what is to be said: `notes` are all notes, as regular expressions."""

    name: str
    change: Callable[[str], str]
    arguments: tuple[str, ...] = TWO_DISKS
    says: tuple[str, ...] = MATCH
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    status: int = 0
    seconds: float = 15  # more than a usual run takes on a busy host, and less than one whose interrupts are lost takes
    qemu: tuple[str, ...] = ()




def pci_host_at(address: int) -> Callable[[str], str]:
    """The registers of the PCI host bridge elsewhere, for one bus."""
    return substitute(r"(pci@\w+ \{[^}]*?\breg = <)[^>]*>", rf"\g<1>0 {address:#x} 0 0x100000>")


NOT_THE_PLICS = 700
PCI_DISK = tuple(f"--qemu-arg={word}" for word in (
    "-blockdev", "driver=null-co,node-name=on-pci,size=1048576,read-zeroes=on", "-device", "virtio-blk-pci,drive=on-pci"))
TREES = [
    Tree("as it is", lambda source: source),
    Tree("interrupts-extended", in_slots(extended)),
    Tree("two cells", TWO_CELLS),
    Tree("two cells, extended", chain(PLIC_OF_TWO_CELLS, in_slots(
        lambda number, node: re.sub(r"> *;$", ">;", re.sub(r"interrupts-extended = <(\w+) (\w+)>", r"interrupts-extended = <\1 \2 0x04>", extended(number, node)))))),
    Tree("memory without device_type", WITHOUT_TYPE),
    Tree("another PLIC, of as many sources as there can be", OTHER_PLIC),
    Tree("a hundred reservations", reserved(100)),
    Tree("no interrupts", in_slots(without("interrupts")),
         notes=(r"vda has no interrupt in the device tree: it is polled", r"vdb has no interrupt in the device tree: it is polled")),
    Tree("no such interrupt", in_slots(with_line(lambda number: NOT_THE_PLICS + number)),
         notes=(rf"gives vda line {NOT_THE_PLICS + 8}, which the interrupt controller does not have: it is polled",
                rf"gives vdb line {NOT_THE_PLICS + 7}, which the interrupt controller does not have: it is polled")),
    # Of 9 disks' worth of lines only that of nobody: their interrupts lead nowhere.
    Tree("another's interrupt", in_slots(with_line(lambda number: 40 + number)),
         arguments=("digest", "--disk=4M", "--disk=4M", "--append=bs=4k poll=off", "--depth=2"),
         notes=(r"no interrupt of vda arrives on line 48, .*: it is polled", r"no interrupt of vdb arrives on line 47, .*: it is polled")),
    Tree("swapped interrupts", in_slots(with_line(lambda number: {8: 7, 7: 8}.get(number, number))),
         arguments=("digest", "--disk=16M", "--disk=16M", "--append=bs=4k poll=off", "--depth=2"),
         notes=(r"vda interrupts on line 8, but the device tree says 7: it is served anyway",
                r"vdb interrupts on line 7, but the device tree says 8: it is served anyway")),
    Tree("swapped interrupts, any hart", in_slots(with_line(lambda number: {8: 7, 7: 8}.get(number, number))),
         arguments=("digest", "--disk=4M", "--disk=4M", "--append=interrupts=any", "--harts=2", "--queues=2"),
         notes=(r"(vd[ab] interrupts on line [78], but|)",) * 2),
    *(Tree(f"a hart that the PLIC does not serve, the {which}", without_context(which == "first"),
           arguments=("verify", "--disk=4M", "--harts=2", "--queues=2", f"--append=interrupts={routing} poll=off"),
           says=("the host agrees: vda",))
      for which in ("first", "last") for routing in ("on", "any")),
    Tree("one line for all", in_slots(with_line(lambda _: 8)),
         notes=(r"vdb interrupts on line 7|no interrupt of vdb arrives on line 8|",)),
    Tree("a PCI host bridge where nothing responds", pci_host_at(NOWHERE),
         notes=("devices on PCI are left out: nothing responds at the address",)),
    Tree("a PCI host bridge in memory", pci_host_at(0x88000000),
         notes=("devices on PCI are left out: .* within the machine's memory",)),
    Tree("a PCI host bridge with a window in memory",
         substitute(r"(0x2000000 0x00 0x40000000 0x00 )0x40000000", r"\g<1>0x80000000"), arguments=("info", "--disk=1M"),
         qemu=PCI_DISK, says=("^vdb, PCI 00:01.0: cannot be used: ", "^vda, slot 0x10008000: block"),
         notes=("devices on PCI cannot be used: .* within the machine's memory", "vdb, PCI 00:01.0 cannot be used: .*")),
    Tree("a PCI host bridge without ranges", substitute(r"(pci@\w+ \{[^}]*?)\branges = <[^>]*>;", r"\1"),
         arguments=("info", "--disk=1M"), qemu=PCI_DISK, says=("^vdb, PCI 00:01.0: cannot be used: ", "^vda, slot 0x10008000: block"),
         notes=("devices on PCI cannot be used: .* malformed ranges", "vdb, PCI 00:01.0 cannot be used: .*")),
    Tree("a slot where nothing answers", further_slot(NOWHERE, 9),
         notes=(rf"slot {NOWHERE:#x} cannot be used: no device responds at this address",)),
    Tree("a slot where nothing answers, shown", further_slot(NOWHERE, 9), arguments=("info", "--disk=1M"),
         says=(rf"^slot {NOWHERE:#x}: cannot be used: no device responds at this address", "^vda, slot 0x10008000: block"),
         notes=(rf"slot {NOWHERE:#x} cannot be used: no device responds at this address",)),
    *(Tree(f"a bad disk, {program}", chain(further_slot(STUCK, 9), reserved(0, (STUCK, 0x1000))),
           arguments=(program, "--disk=4M", *words), says=says, status=status, qemu=stuck_device(),
           notes=(rf"vda, slot {STUCK:#x} cannot be used: .*VERSION_1",), errors=errors)
      for program, words, status, says, errors in (
          ("info", (), 0, (rf"^vda, slot {STUCK:#x}: cannot be used: .*VERSION_1", "^vdb, slot 0x10008000: block"), ()),
          ("digest", (), 1, ("^digest: vdb [0-9]+ 4194304",), (r"^error: digest: vda cannot be used: .*VERSION_1",)),
          ("verify", (), 1, ("^verify: vdb, 1024 blocks",), (r"^error: verify: vda cannot be used: .*VERSION_1",)),
          ("iops", ("--append=ios=1000",), 1, (), (r"^error: iops: vda cannot be used: .*VERSION_1",)),
          ("bench", ("--rw=read",), 1, (), (r"^error: line [0-9]+: job .*: vda cannot be used: .*VERSION_1",)),
          ("bench", ("--rw=read", "--filename=vdb"), 0, ("^job: .groupid=0, jobs=1.: err= 0",), ()),
      )),
    Tree("no node of a slot is right", in_slots(without("reg")), arguments=("info",), says=("there is no VIRTIO device",),
         notes=("8 virtio,mmio nodes of the device tree are left out",)),
]  # fmt: skip


def make_tree(directory: Path, harts: int, change: Callable[[str], str]) -> Path:
    """QEMU's own tree for this machine, changed."""
    original, source, changed = (directory / name for name in ("qemu.dtb", "changed.dts", "changed.dtb"))
    machine = "virt,aclint=on" if harts > 1 else "virt"
    words = ["-machine", f"{machine},dumpdtb={original}", "-smp", str(harts), "-m", MEMORY, "-nodefaults", "-display", "none"]
    subprocess.run(["qemu-system-riscv64", "-bios", "none", *words], check=True, stderr=subprocess.DEVNULL)
    dtc = ["dtc", "-q", "-I", "dtb", "-O", "dts", str(original)]
    source.write_text(change(subprocess.run(dtc, check=True, capture_output=True, text=True).stdout))
    subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(changed), str(source)], check=True)
    return changed


def complaints_about(tree: Tree, outcome: Outcome) -> list[str]:
    """What is wrong, in words."""
    complaints = []
    if outcome.status != tree.status:
        complaints.append(f"expected the exit status {tree.status}, found {outcome.status}")
    if outcome.seconds > tree.seconds:
        complaints.append(f"expected it to take {tree.seconds} s at the most, found {outcome.seconds:.1f} s")
    for pattern in tree.says:
        if not any(re.search(pattern, line) for line in outcome.lines):
            complaints.append(f"expected a line that matches /{pattern}/")
    for kind, wanted in (("note: ", tree.notes), ("error: ", tree.errors)):
        told = [line for line in outcome.lines if line.startswith(kind)]
        for pattern in wanted:
            found = next((line for line in told if re.search(pattern, line)), None)
            if found is not None:
                told.remove(found)
            elif not re.fullmatch(pattern, ""):
                complaints.append(f"expected '{kind}' that matches /{pattern}/")
        complaints += [f"expected nothing else to be said, found '{line}'" for line in told]
    return complaints


def main() -> int:
    """The exit status."""
    parser = argument_parser(__doc__)
    parser.add_argument("names", nargs="*", help="only these trees")
    given = parser.parse_args()
    failed = 0
    for tree in TREES:
        if given.names and tree.name not in given.names:
            continue
        with tempfile.TemporaryDirectory(dir=given.scratch.resolve(), prefix="device-tree-") as name:
            harts = next((int(word.split("=")[1]) for word in tree.arguments if word.startswith("--harts=")), 1)
            changed = make_tree(Path(name), harts, tree.change)
            words = [*tree.arguments, "--qemu-arg=-dtb", f"--qemu-arg={changed}", *tree.qemu]
            if harts == 1:
                words.append("--harts=1")
            outcome = run(words, given.kernel.resolve(), Path(name), 60)
            complaints = complaints_about(tree, outcome)
            print(f"{tree.name}: {'FAILED' if complaints else 'passed'} in {outcome.seconds:.1f} s")
            if complaints:
                failed += 1
                print(outcome.explain(complaints))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
