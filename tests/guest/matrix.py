"""Digest and verify over transports, interrupt controllers, rings and their features, queues, queue sizes and harts: all of it, or
every pair of values. Run as a program, it lists what QEMU does not offer."""

from collections.abc import Sequence
from itertools import combinations, product

from case import Case, Image

# What is varied. verify and digest both run on each combination.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "transport": ("mmio", "mmio-legacy", "pci", "pci-legacy"),  # pci with imsic: messages (MSI-X); else its pin
    "interrupts": ("plic", "aplic", "imsic"),
    "ring": ("split", "packed"),
    "queues": ("1", "4"),
    "event_idx": ("on", "off"),
    "indirect_desc": ("on", "off"),
    "queue_size": ("4", "8", "16", "128", "256", "1024"),
    "harts": ("1", "2", "4", "8"),
}
# Pairs of values that QEMU does not offer together, with the reason.
SKIPPED = {
    ("mmio-legacy", "packed"): "the legacy interface has no packed rings",
    ("pci-legacy", "packed"): "the legacy interface has no packed rings",
}
DEPTH = 128
IMAGE = Image("noise", (8 << 20) + 512)

Combination = tuple[str, ...]
Pair = tuple[tuple[int, str], tuple[int, str]]


def pairs_of(combination: Combination) -> set[Pair]:
    """Every pair of values of different parameters in the combination."""
    return set(combinations(enumerate(combination), 2))


def pairwise(every: Sequence[Combination]) -> list[Combination]:
    """A few of the combinations, in which every pair of values occurs: always the one that adds the most pairs."""
    pairs = {combination: pairs_of(combination) for combination in every}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(every, key=lambda combination: len(pairs[combination] & missing))
        missing -= pairs[best]
        chosen.append(best)
    return chosen


def why_skipped(combination: Combination) -> str | None:
    """Why QEMU does not offer the combination; None if it does."""
    return next((why for pair, why in SKIPPED.items() if set(pair) <= set(combination)), None)


def cases(marked: bool = True) -> list[Case]:
    """All combinations that QEMU offers. Those that only the full matrix has are marked, which takes half a second."""
    every: list[Combination] = [each for each in product(*PARAMETERS.values()) if why_skipped(each) is None]
    few = set(pairwise(every) if marked else every)
    made = []
    for combination in every:
        transport, interrupts, ring, queues, event_idx, indirect_desc, queue_size, harts = combination
        name = f"{transport}-{interrupts}-{ring}-{queues}x{queue_size}-event_idx_{event_idx}-indirect_{indirect_desc}-harts_{harts}"
        machine = (
            f"--transport={transport}", f"--interrupts={interrupts}", f"--queues={queues}", f"--queue-size={queue_size}",
            f"--depth={DEPTH}", f"--harts={harts}", f"--device=packed={'on' if ring == 'packed' else 'off'}",
            f"--device=event_idx={event_idx}", f"--device=indirect_desc={indirect_desc}", "--append=poll=off",
        )  # fmt: skip
        guest = [f"disks.0.queues.# == {queues}", "disks.0.resets == 0"]
        guest += [f"disks.0.queues.*.{counter} > 0" for counter in ("requests", "notifications", "interrupts")]
        if int(queues) * int(queue_size) < DEPTH:
            guest.append("disks.0.waited > 0")  # for room in a ring
        if transport == "pci" and interrupts == "imsic":
            guest.append("disks.0.queues.*.interrupts_elsewhere == 0")
        full_only = combination not in few
        made.append(
            Case(f"digest-{name}", ("digest", "--disk", "{noise}", *machine, "--append=bs=16k"),
                 says=("vda matches the host",), guest=tuple(guest), images=(IMAGE,), full_only=full_only)
        )  # fmt: skip
        made.append(
            Case(f"verify-{name}", ("verify", "--disk", "4M", *machine), says=("the host agrees: vda, 1024 blocks",),
                 guest=(*guest, "disks.0.wrong_blocks == 0"), full_only=full_only)
        )  # fmt: skip
    return made


if __name__ == "__main__":
    for pair, reason in SKIPPED.items():
        print(f"skipped: {' with '.join(pair)}: {reason}")
    made = cases()
    print(f"{len(made)} cells, of which the usual run takes {sum(not each.full_only for each in made)}")
