"""Verified I/O while faults come and go: errors of each kind, torn writes, limits, stops, holds, resizes, resets."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_cases import break_ring
from fault_trial import DISK, MEGABYTE, TOP, Trial, blkdebug, compare_image, file_node, finish_soak, image, limit, raw, throttled
from vm import Broken, Machine

DISK_BYTES = 64 * MEGABYTE
QUEUES = 4
HARTS = 4
DEPTH = 64
LONGEST_AGE = 5.0  # seconds that a request may take, beyond the longest that a fault holds it
LONGEST_FAULT = 0.3
SILENCE = 60.0  # seconds without progress

Switch = Callable[[Machine, random.Random], None]


def use_node(machine: Machine, node: str) -> None:
    """Gives the device another node, in the midst of its work."""
    machine.monitor.do("qom-set", path=f"/machine/peripheral/{DISK}", property="drive", value=node)


def for_a_while(dice: random.Random) -> None:
    """How long a fault lasts."""
    time.sleep(dice.uniform(0.02, LONGEST_FAULT))


def with_errors(*rules: dict[str, Any], **more: Any) -> Switch:
    """Puts a node with errors before the disk, and takes it away."""

    def switch(machine: Machine, dice: random.Random) -> None:
        machine.monitor.do("blockdev-add", **blkdebug(TOP, *rules, name="errors", **more))
        use_node(machine, "errors")
        for_a_while(dice)
        use_node(machine, TOP)
        machine.monitor.do("blockdev-del", node_name="errors")

    return switch


def no_space(machine: Machine, dice: random.Random) -> None:
    """One write finds no space; QEMU stops the machine, and somebody continues it."""
    machine.monitor.do("blockdev-add", **blkdebug(TOP, {"iotype": "write", "errno": 28, "once": True}, name="errors"))
    use_node(machine, "errors")
    try:
        machine.monitor.await_event("BLOCK_IO_ERROR", patience=2)
        machine.monitor.await_event("STOP")
        for_a_while(dice)
        use_node(machine, TOP)
        machine.monitor.do("cont")
    except TimeoutError:  # the guest has ended its writes
        use_node(machine, TOP)
    machine.monitor.do("blockdev-del", node_name="errors")


def hold(machine: Machine, dice: random.Random) -> None:
    """One read does not end while all others do."""
    machine.monitor.do("blockdev-add", **blkdebug(TOP, name="errors"))
    use_node(machine, "errors")
    machine.monitor.human(f'qemu-io -d {DISK} "break read_aio A"')
    for_a_while(dice)
    machine.monitor.human(f'qemu-io -d {DISK} "remove_break A"')
    use_node(machine, TOP)
    machine.monitor.do("blockdev-del", node_name="errors")


def throttle(machine: Machine, dice: random.Random) -> None:
    """A limit on requests or on bytes."""
    limits = dice.choice(({"iops-total": 100}, {"bps-total": MEGABYTE}, {"iops-write": 50}))
    machine.monitor.do("qom-set", path="/objects/limit", property="limits", value=limits)
    for_a_while(dice)
    machine.monitor.do("qom-set", path="/objects/limit", property="limits", value=dict.fromkeys(limits, 0))


def stop(machine: Machine, dice: random.Random) -> None:
    """The machine stands still."""
    machine.monitor.do("stop")
    for_a_while(dice)
    machine.monitor.do("cont")


def resize(machine: Machine, dice: random.Random) -> None:
    """The disk grows behind what is used, and shrinks again."""
    for _ in range(dice.randint(1, 5)):
        machine.monitor.do("block_resize", node_name=TOP, size=DISK_BYTES + dice.randint(1, 64) * MEGABYTE)
    machine.monitor.do("block_resize", node_name=TOP, size=DISK_BYTES)


def needs_reset(machine: Machine, dice: random.Random) -> None:
    """The device asks for its reset."""
    break_ring(machine, dice.randrange(QUEUES))


SWITCHES: dict[str, Switch] = {
    "reads fail": with_errors({"iotype": "read"}),
    "writes fail": with_errors({"iotype": "write"}),
    "flushes fail": with_errors({"iotype": "flush"}),
    "discards fail": with_errors({"iotype": "discard"}, {"iotype": "write-zeroes"}),
    "a sector fails": with_errors({"iotype": "read", "sector": 4321}, {"iotype": "write", "sector": 4321}),
    "torn writes": with_errors(*({"iotype": "write", "sector": at} for at in range(40, 131072, 4001)),
                               **{"max-transfer": 4096}),
    "no space": no_space,
    "a request held": hold,
    "throttled": throttle,
    "stopped": stop,
    "resized": resize,
    "needs reset": needs_reset,
}  # fmt: skip


def check_end(machine: Machine, path: Path, resets: int) -> tuple[dict[str, Any], list[str]]:
    """What the guest reports in the end, and what is wrong with it."""
    in_use = [machine.monitor.do("x-query-virtio-queue-status", path=f"/machine/peripheral/{DISK}", queue=queue)["inuse"]
              for queue in range(QUEUES)]  # fmt: skip
    soaked = finish_soak(machine)
    disk, host = soaked.disk, soaked.statistics
    complaints = [f"{name} {disk[name]}" for name in ("mismatches", "in_flight", "memory_lost", "frames_lost", "protocol_violations")
                  if disk[name]]  # fmt: skip
    if soaked.status != 0:
        complaints.append(f"the guest's verdict is {soaked.status}")
    if any(in_use):
        complaints.append(f"QEMU has requests of the guest: {in_use}")
    if disk["begun"] != disk["ended"]:
        complaints.append(f"{disk['begun']} requests begun, {disk['ended']} ended")
    if disk["resets"] != resets:
        complaints.append(f"{disk['resets']} resets; {resets} were due")
    unexpected = {name: count for name, count in disk["statuses"].items()
                  if count and name not in ("ok", "io_error")}  # fmt: skip
    if unexpected:
        complaints.append(f"ended so: {unexpected}")
    if disk["longest_us"] > (LONGEST_AGE + LONGEST_FAULT) * 1e6:
        complaints.append(f"a request took {disk['longest_us'] / 1e6:.1f} s")
    # What is inside when the device asks for its reset goes in again, and may have been done before.
    counted = {
        "rd_operations": disk["reads"],
        "wr_operations": disk["writes"] + disk["write_zeroes"],
        "flush_operations": disk["flushes"],
        "failed_rd_operations": disk["reads_failed"],
        "failed_wr_operations": disk["writes_failed"] + disk["write_zeroes_failed"],
        "failed_flush_operations": disk["flushes_failed"],
    }
    again = resets * DEPTH
    for name, guest in counted.items():
        if not guest <= host[name] <= guest + again:
            complaints.append(f"QEMU counts {host[name]} {name}, the guest {guest}; at most {again} were done twice")
    return disk | {"host": host}, complaints + compare_image(disk, path)


def run(kernel: Path, qemu: str, directory: Path, seed: int, ios: int) -> bool:
    """Runs it to its end, and prints the figures. False if anything is wrong."""
    dice = random.Random(seed)
    path = image(directory / "disk", DISK_BYTES)
    trial = Trial(directory, kernel, qemu)
    done: Counter[str] = Counter()
    started = told = time.monotonic()
    options = (f"--harts={HARTS}", f"--queues={QUEUES}", f"--depth={DEPTH}")
    with trial.soak(throttled(raw(file_node(path))), ios, before=limit(), options=options, gdb=True) as machine:
        machine.await_line("soak: begins")
        lines, last_line = 0, time.monotonic()
        while len(machine.results()) < 2:
            name = dice.choice(list(SWITCHES))
            SWITCHES[name](machine, dice)
            done[name] += 1
            time.sleep(dice.uniform(0, 0.3))
            now = time.monotonic()
            if len(machine.lines) != lines:
                lines, last_line = len(machine.lines), now
            if now - last_line > SILENCE or machine.process.poll() is not None:
                raise Broken(f"no progress; the last lines are {machine.lines[-3:]}")
            if now - told >= 30:
                told = now
                print(f"soak: {machine.lines[-1]}, {done.total()} faults", flush=True)
        disk, complaints = check_end(machine, path, done["needs reset"])
    ended = {name: count for name, count in disk["statuses"].items() if count}
    print(f"soak: {disk['ended']} requests in {time.monotonic() - started:.0f} s, {disk['sectors_checked']} sectors checked, "
          f"{disk['mismatches']} mismatches, {disk['begun'] - disk['ended']} lost\n"
          f"soak: ended so: {ended}\n"
          f"soak: faults: {dict(sorted(done.items()))}\n"
          f"soak: {disk['resets']} resets, {disk['protocol_violations']} protocol violations of the device, the longest request "
          f"{disk['longest_us'] / 1e6:.2f} s\n"
          f"soak: memory lost {disk['memory_lost']}, frames lost {disk['frames_lost']}, requests left inside "
          f"{disk['in_flight']}\n"
          f"soak: reads, writes, flushes: the guest {disk['reads']}, {disk['writes'] + disk['write_zeroes']}, "
          f"{disk['flushes']}; QEMU {disk['host']['rd_operations']}, {disk['host']['wr_operations']}, "
          f"{disk['host']['flush_operations']}; the host agrees with the ledger: {not complaints}", flush=True)  # fmt: skip
    for complaint in complaints:
        print(f"soak: FAILED: {complaint}", flush=True)
    return not complaints
