"""What QEMU does to a disk, one function for each fault: how every single request must end, and what the image must hold."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import stamps
from disk_server import DiskServer
from fault_trial import (
    DISK,
    MEGABYTE,
    SEED,
    TOP,
    Fault,
    Named,
    Node,
    Session,
    Skipped,
    Trial,
    blkdebug,
    file_node,
    finish_soak,
    image,
    judge_soak,
    limit,
    raw,
    throttled,
)
from vm import PATIENCE, Broken, Machine, qemu_release

FAULTS: list[Named] = []
UNMERGED = ("request-merging=off",)  # or an error is that of all requests that QEMU made one of
SOAK_BYTES = 4 * MEGABYTE
ENOSPC = 28


def fault(name: str, slow: bool = False) -> Callable[[Fault], Fault]:
    """Adds the function to the faults, under this name."""

    def add(run: Fault) -> Fault:
        FAULTS.append(Named(name, run, slow))
        return run

    return add


# How the disk is attached for faults that are made over both transports: with the PLIC's line, and with messages.
WAYS: dict[str, tuple[str, ...]] = {"": (), "-pci": ("--transport=pci", "--interrupts=imsic")}


def fault_over_transports(name: str) -> Callable[[Callable[[Trial, tuple[str, ...]], None]], None]:
    """Adds the function to the faults once for each way; it takes the options of that way."""

    def add(run: Callable[[Trial, tuple[str, ...]], None]) -> None:
        for suffix, options in WAYS.items():
            FAULTS.append(Named(name + suffix, lambda trial, options=options: run(trial, options), False))

    return add


def holes(path: Path) -> set[int]:
    """The sectors of a raw image that take no room, as `qemu-img map` finds them."""
    words = ["qemu-img", "map", "-U", "-f", "raw", "--output=json", str(path)]
    extents = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return {sector for each in extents if not each["data"]
            for sector in range(each["start"] // 512, (each["start"] + each["length"]) // 512)}  # fmt: skip


def generation_on(path: Path, sector: int) -> int | None:
    """What a raw image holds there."""
    with open(path, "rb") as file:
        file.seek(sector * stamps.SECTOR)
        return stamps.generation_of(file.read(stamps.SECTOR), SEED, sector)


# ---- errors of single operations ----

# How a request of each kind is written, on sector 8; and its neighbour, on sector 64.
KINDS = {
    "read": ("read 8 1", "read 8+1", " 1*1", "read 64 1", "read 64+1", " 1*1"),
    "write": ("write 8 1 2", "write 8+1", "", "write 64 1 2", "write 64+1", ""),
    "discard": ("discard 8 8", "discard 8+8", "", "discard 64 8", "discard 64+8", ""),
    "write-zeroes": ("zeroes 8 8", "zeroes 8+8", "", "zeroes 64 8", "zeroes 64+8", ""),
}


def fail_one_sector(trial: Trial, iotype: str, once: bool) -> None:
    """One sector fails, once or always; its neighbours never do."""
    path = image(trial.directory / "disk")
    bad, bad_said, bad_holds, good, good_said, good_holds = KINDS[iotype]
    rule = {"iotype": iotype, "sector": 8, "once": once}
    # Nothing is written on sector 8 but by what is tested: a rule for writes hits the preparation, too.
    with trial.requests(raw(blkdebug(file_node(path), rule)), device=UNMERGED) as session:
        session.do("write 64 8 1", "write 64+8 ok")
        if iotype != "write":
            session.do("write 8 8 1", "write 8+8 ok")
        for _ in range(1 if once else 3):
            session.do(bad, f"{bad_said} io_error")
            session.do(good, f"{good_said} ok{good_holds}")
        session.do(bad, f"{bad_said} ok{bad_holds}" if once else f"{bad_said} io_error")
        session.do("flush", "flush 0+0 ok")
    if iotype == "write":
        due = 2 if once else 0
        if generation_on(path, 8) != due:
            raise Broken(f"the image holds generation {generation_on(path, 8)}, not {due}")


def add_single_errors() -> None:
    """Two faults for each kind of operation."""
    for iotype in KINDS:
        for once in (True, False):
            FAULTS.append(
                Named(
                    f"{iotype}-error-{'once' if once else 'always'}",
                    lambda trial, iotype=iotype, once=once: fail_one_sector(trial, iotype, once),
                    False,
                )
            )


add_single_errors()


@fault("flush-error-once")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    with trial.requests(raw(blkdebug(file_node(path), {"iotype": "flush", "once": True}))) as session:
        session.do("write 0 8 1", "write 0+8 ok")
        session.do("flush", "flush 0+0 io_error")
        session.do("flush", "flush 0+0 ok")


@fault("flush-error-always")
def _(trial: Trial) -> None:
    """QEMU leaves out a flush of a disk that was not written to; the others fail."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(blkdebug(file_node(path), {"event": "flush_to_disk", "iotype": "flush"}))) as session:
        session.do("flush", "flush 0+0 ok")
        session.do("write 0 8 1", "write 0+8 ok")
        session.do("flush", "flush 0+0 io_error")
        session.do("read 0 8", "read 0+8 ok 1*8")
        session.do("flush", "flush 0+0 io_error")


@fault("one-of-64-in-flight-fails")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    node = raw(blkdebug(file_node(path), {"iotype": "read", "sector": 41}))
    with trial.requests(node, device=UNMERGED, options=("--queues=4", "--harts=2")) as session:
        due = ["io_error" if number == 41 else "ok 0*1" for number in range(64)]
        for _ in range(3):
            session.do("read 0 1 64", *(f"read {number}+1 {outcome}" for number, outcome in enumerate(due)))


@fault("error-in-a-rule-file")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    rules = trial.directory / "rules"
    rules.write_text('[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "16"\n', encoding="utf-8")
    with trial.requests(raw(blkdebug(file_node(path), config=str(rules))), device=UNMERGED) as session:
        session.do("read 15 1 3", "read 15+1 ok 0*1", "read 16+1 io_error", "read 17+1 ok 0*1")
        session.do("read 8 16", "read 8+16 io_error")


@fault("error-legacy-transport")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    rules = ({"iotype": "read", "sector": 3}, {"iotype": "write", "sector": 5})
    node = raw(blkdebug(file_node(path), *rules))
    with trial.requests(node, device=UNMERGED, options=("--transport=mmio-legacy",)) as session:
        session.do("write 4 1 1 2", "write 4+1 ok", "write 5+1 io_error")
        session.do("read 2 1 3", "read 2+1 ok 0*1", "read 3+1 io_error", "read 4+1 ok 1*1")


@fault("merged-requests-fail-together")
def _(trial: Trial) -> None:
    """QEMU makes one request of neighbours; all of it fails, and none is lost. Alone each ends as it should."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(blkdebug(file_node(path), {"iotype": "read", "sector": 8}))) as session:
        outcomes = [session.outcome(number) for number in session.begin("read 0 1 16", 16)]
        if outcomes[8] != "read 8+1 io_error":
            raise Broken(f"the bad sector ended so: {outcomes[8]}")
        if odd := [text for text in outcomes if not text.endswith(("io_error", "ok 0*1"))]:
            raise Broken(f"neither well nor with an error: {odd}")
        for sector in range(6, 11):
            session.do(f"read {sector} 1", f"read {sector}+1 " + ("io_error" if sector == 8 else "ok 0*1"))


# ---- torn and split requests ----


@fault("torn-write")
def _(trial: Trial) -> None:
    """QEMU cuts a write into pieces, of which the third fails: a failed write is not one that has not happened."""
    path = image(trial.directory / "disk")
    node = raw(blkdebug(file_node(path), {"iotype": "write", "sector": 16, "once": True}, **{"max-transfer": 4096}))
    with trial.requests(node) as session:
        session.do("write 0 32 2", "write 0+32 io_error")
        session.do("read 0 32", "read 0+32 ok 2*16 0*16")
        session.do("write 0 32 3", "write 0+32 ok")
        session.do("read 0 32", "read 0+32 ok 3*32")


@fault("split-requests")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    with trial.requests(raw(blkdebug(file_node(path), **{"max-transfer": 4096}))) as session:
        session.do("write 3 100 7", "write 3+100 ok")
        session.do("read 0 128", "read 0+128 ok 0*3 7*100 0*25")


@fault("torn-read")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    node = raw(blkdebug(file_node(path), {"iotype": "read", "sector": 20, "once": True}, **{"max-transfer": 4096}))
    with trial.requests(node) as session:
        session.do("read 0 64", "read 0+64 io_error")
        session.do("read 0 64", "read 0+64 ok 0*64")


@fault("discards-in-pieces")
def _(trial: Trial) -> None:
    """The driver cuts a discard by the device's limit. One piece fails, and so does the whole; all others are done."""
    path = image(trial.directory / "disk")
    limits = ("max-discard-sectors=8", "max-write-zeroes-sectors=8")
    rules = ({"iotype": "discard", "sector": 24, "once": True}, {"iotype": "write-zeroes", "sector": 88, "once": True})
    with trial.requests(raw(blkdebug(file_node(path), *rules)), device=limits) as session:
        session.do("write 0 128 1", "write 0+128 ok")
        session.do("discard 0 64", "discard 0+64 io_error")
        session.do("read 0 64", "read 0+64 ok 0*24 1*8 0*32")
        session.do("zeroes 64 64", "zeroes 64+64 io_error")
        session.do("read 64 64", "read 64+64 ok 0*24 1*8 0*32")
        session.do("zeroes 0 128", "zeroes 0+128 ok")
        session.do("read 0 128", "read 0+128 ok 0*128")


# ---- policies: what QEMU does about an error ----


@fault("no-space-reported")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    node = raw(blkdebug(file_node(path), {"iotype": "write", "errno": ENOSPC, "sector": 8}))
    with trial.requests(node, device=("werror=report", *UNMERGED)) as session:
        session.do("write 0 8 1 3", "write 0+8 ok", "write 8+8 io_error", "write 16+8 ok")
        session.do("read 0 24", "read 0+24 ok 1*8 0*8 1*8")


def stop_and_go(trial: Trial, iotype: str, errno: int, policy: str, command: str, due: str) -> None:
    """An error stops the machine; whoever continues it repeats the request, which ends once."""
    path = image(trial.directory / "disk")
    node = raw(blkdebug(file_node(path), {"iotype": iotype, "errno": errno, "sector": 8, "once": True}))
    with trial.requests(node, device=(policy, *UNMERGED)) as session:
        session.do("write 64 8 1", "write 64+8 ok")
        late = session.begin(command)
        session.monitor.await_event("BLOCK_IO_ERROR")
        session.monitor.await_event("STOP")
        session.pending(*late)
        session.monitor.do("cont")
        session.expect(late, due)
        session.do("read 64 8", "read 64+8 ok 1*8")
        session.do("flush", "flush 0+0 ok")


@fault("no-space-stops")
def _(trial: Trial) -> None:
    stop_and_go(trial, "write", ENOSPC, "werror=stop", "write 8 8 2", "write 8+8 ok")


@fault("no-space-stops-by-default")
def _(trial: Trial) -> None:
    stop_and_go(trial, "write", ENOSPC, "werror=enospc", "write 8 8 2", "write 8+8 ok")


@fault("write-error-stops")
def _(trial: Trial) -> None:
    stop_and_go(trial, "write", 5, "werror=stop", "write 8 8 2", "write 8+8 ok")


@fault("read-error-stops")
def _(trial: Trial) -> None:
    stop_and_go(trial, "read", 5, "rerror=stop", "read 8 8", "read 8+8 ok 0*8")


@fault("stopped-for-long")
def _(trial: Trial) -> None:
    """Ten times what a request may take: the guest's time stands still with the guest."""
    path = image(trial.directory / "disk")
    node = raw(blkdebug(file_node(path), {"iotype": "write", "sector": 8, "once": True}))
    with trial.requests(node, device=("werror=stop",), append=("request_timeout=1",)) as session:
        late = session.begin("write 8 8 2")
        session.monitor.await_event("STOP")
        time.sleep(3)
        session.monitor.do("cont")
        session.expect(late, "write 8+8 ok")


@fault("ignored-write-errors-are-found")
def _(trial: Trial) -> None:
    """The negative control: QEMU says ok of a write that it has not done. The oracle must see it."""
    path = image(trial.directory / "disk", SOAK_BYTES)
    node = raw(blkdebug(file_node(path), {"iotype": "write", "sector": 1000}))
    with trial.soak(node, 20000, device=("werror=ignore",), append=("depth=8",)) as machine:
        try:
            soaked = finish_soak(machine)
        except Broken as error:  # what the guest says of it
            if "are not as they should be" not in str(error):
                raise
            soaked = finish_soak(machine)
        if soaked.status != 1 or soaked.disk["mismatches"] == 0:
            raise Broken(f"lost writes were not found: verdict {soaked.status}, {soaked.disk['mismatches']} mismatches")


# ---- slow disks ----


@fault("throttled")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    node = throttled(file_node(path))
    with trial.requests(raw(node), before=limit(iops_total=40), device=UNMERGED) as session:
        started = time.monotonic()
        session.do("write 0 1 1 60", *(f"write {number}+1 ok" for number in range(60)))
        if time.monotonic() - started < 0.3:
            raise Broken("nothing was slow")
        session.do("read 0 60", "read 0+60 ok 1*60")


@fault("slower-than-its-time-limit")
def _(trial: Trial) -> None:
    """Four requests a second, and twenty in line, longer than a disk may take for one: a device that makes progress is not
    late."""
    path = image(trial.directory / "disk")
    how: dict[str, Any] = {"before": limit(iops_total=4), "append": ("request_timeout=2",)}
    with trial.requests(throttled(raw(file_node(path))), device=UNMERGED, **how) as session:
        session.do("read 0 1 20", *(f"read {number}+1 ok 0*1" for number in range(20)))


@fault("throttle-switched-during-io")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk", SOAK_BYTES)
    node = throttled(file_node(path))
    with trial.soak(raw(node), 10000, before=limit(), append=("depth=32",)) as machine:
        for _ in range(5):
            for most in (50, 0):
                machine.monitor.do("qom-set", path="/objects/limit", property="limits", value={"iops-total": most})
                time.sleep(0.1)
        judge_soak(finish_soak(machine), path)


@fault("delay")
def _(trial: Trial) -> None:
    """Each request takes 50 ms, eight together not much more."""
    node = {"driver": "null-co", "size": MEGABYTE, "latency-ns": 50_000_000, "read-zeroes": True}
    with trial.requests(node, device=UNMERGED) as session:
        started = time.monotonic()
        session.do("read 0 1 64", *(f"read {number}+1 ok 0*1" for number in range(64)))
        took = time.monotonic() - started
        if not 0.05 <= took < 64 * 0.05:
            raise Broken(f"64 requests of 50 ms took {took:.2f} s")


@fault("one-request-held")
def _(trial: Trial) -> None:
    """One request does not end, all others do, and then it does."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(blkdebug(file_node(path))), device=UNMERGED) as session:
        session.monitor.human(f'qemu-io -d {DISK} "break read_aio A"')
        held = session.begin("read 0 1")
        session.pending(*held)
        for _ in range(3):
            session.do("write 8 8 1 16", *(f"write {8 + 8 * number}+8 ok" for number in range(16)))
            session.do("read 8 8 16", *(f"read {8 + 8 * number}+8 ok 1*8" for number in range(16)))
        session.pending(*held, seconds=0.1)
        session.monitor.human(f'qemu-io -d {DISK} "resume A"')
        session.expect(held, "read 0+1 ok 0*1")


# ---- the life of the machine ----


@fault("stop-and-continue")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk", SOAK_BYTES)
    with trial.soak(raw(file_node(path)), 15000, options=("--harts=2", "--queues=2")) as machine:
        for _ in range(20):
            machine.monitor.do("stop")
            time.sleep(0.01)
            machine.monitor.do("cont")
            time.sleep(0.02)
        judge_soak(finish_soak(machine), path)


@fault("stopped-with-requests-inside")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    with trial.requests(raw(blkdebug(file_node(path))), device=UNMERGED) as session:
        session.monitor.human(f'qemu-io -d {DISK} "break write_aio A"')
        held = session.begin("write 0 8 1")
        session.pending(*held)
        session.monitor.human(f'qemu-io -d {DISK} "resume A"')
        session.monitor.do("stop")  # waits for what is inside
        session.monitor.do("cont")
        session.expect(held, "write 0+8 ok")
        session.do("read 0 8", "read 0+8 ok 1*8")


def qcow2(path: Path, name: str = "format0") -> Node:
    """A node on a qcow2 image."""
    return {"driver": "qcow2", "node-name": name, "discard": "unmap", "file": file_node(path)}


def make_qcow2(path: Path, size: int, *more: str) -> Path:
    """A new qcow2 image."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *more, str(path), str(size)], check=True)
    return path


def job(machine: Machine, command: str, **arguments: Any) -> None:
    """Runs a job of QEMU's to its end."""
    machine.monitor.do(command, **{"job-id": "job", **arguments})
    machine.monitor.await_event("JOB_STATUS_CHANGE", id="job", status="concluded")
    found = next(each for each in machine.monitor.do("query-jobs") if each["id"] == "job")
    if "error" in found:
        raise Broken(f"{command}: {found['error']}")
    machine.monitor.do("job-dismiss", id="job")


def go_on(machine: Machine, size: int, node: str = TOP) -> None:
    """Continues a machine that was loaded. QEMU (7.2 and 10.0) does not load the timer of a hart: one that sleeps until a time
    may sleep for ever. An interrupt ends that: the disk is told its size once more."""
    machine.monitor.do("cont")
    machine.monitor.do("block_resize", node_name=node, size=size)


@fault("savevm-and-loadvm")
def _(trial: Trial) -> None:
    """A machine that is loaded goes on where it was saved, with the disk as it was then; its clock goes back."""
    path = make_qcow2(trial.directory / "disk", MEGABYTE)
    with trial.requests(qcow2(path)) as session:
        session.do("write 0 8 1", "write 0+8 ok")
        job(session.machine, "snapshot-save", tag="then", vmstate=TOP, devices=[TOP])
        session.do("write 0 8 2", "write 0+8 ok")
        session.do("read 0 8", "read 0+8 ok 2*8")
        time.sleep(2)
        job(session.machine, "snapshot-load", tag="then", vmstate=TOP, devices=[TOP])
        go_on(session.machine, MEGABYTE)
        session.undone_after(1)
        session.do("read 0 8", "read 0+8 ok 1*8")
        session.do("write 8 8 3 8", *(f"write {8 + 8 * number}+8 ok" for number in range(8)))
        session.do("flush", "flush 0+0 ok")


@fault("loadvm-during-io")
def _(trial: Trial) -> None:
    """The same with requests in flight, twice, after longer than a request may take: nothing is late, lost, or reset."""
    path = make_qcow2(trial.directory / "disk", SOAK_BYTES)
    node = throttled(qcow2(path))
    with trial.soak(node, 6000, before=limit(iops_total=2000), append=("depth=32", "request_timeout=2")) as machine:
        time.sleep(0.3)
        job(machine, "snapshot-save", tag="then", vmstate="format0", devices=["format0"])
        time.sleep(0.5)
        for _ in range(2):
            job(machine, "snapshot-load", tag="then", vmstate="format0", devices=["format0"])
            go_on(machine, SOAK_BYTES)
            time.sleep(1)
        soaked = finish_soak(machine)
    soaked.statistics.clear()  # QEMU's go on counting, the guest's have gone back
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(path), str(trial.directory / "raw")], check=True)
    judge_soak(soaked, trial.directory / "raw")


@fault("migration-during-io")
def _(trial: Trial) -> None:
    """The machine moves into a file, and goes on in another QEMU, which has the same disk."""
    path = image(trial.directory / "disk", SOAK_BYTES)
    state = trial.directory / "state"
    node = throttled(raw(file_node(path)))
    how: dict[str, Any] = {"before": limit(iops_total=3000), "append": ("depth=32",), "options": ("--harts=2", "--queues=2")}
    with trial.soak(node, 6000, **how) as machine:
        time.sleep(0.5)
        machine.monitor.do("migrate", uri=f"exec:cat >{state}")
        until = time.monotonic() + PATIENCE
        while (status := machine.monitor.do("query-migrate").get("status")) != "completed":
            if status == "failed" or time.monotonic() > until:
                raise Broken(f"the migration is {status}")
            time.sleep(0.02)
    with trial.soak(node, 6000, more=("-incoming", f"exec:cat {state}"), **how) as machine:
        machine.monitor.await_event("RESUME")
        go_on(machine, SOAK_BYTES)
        soaked = finish_soak(machine)
    soaked.statistics.clear()  # each QEMU has its part
    judge_soak(soaked, path)


@fault("system-reset")
def _(trial: Trial) -> None:
    """The machine begins anew with requests in flight, and finds the disk as it left it."""
    path = image(trial.directory / "disk")
    node = throttled(raw(file_node(path)))
    with trial.requests(node, before=limit(iops_total=200), device=UNMERGED, more=("-action", "reboot=reset")) as session:
        for generation in (1, 2, 3):
            session.do(f"write 0 8 {generation}", "write 0+8 ok")
            inside = session.begin("write 8 8 9 100", 100)
            session.outcome(inside[0])  # the others wait for their turn
            session.monitor.do("system_reset")
            session.restarted()
            session.do("read 0 8", f"read 0+8 ok {generation}*8")


@fault("resize-storm")
def _(trial: Trial) -> None:
    """The disk grows and shrinks behind what is used, a hundred times, during I/O."""
    path = image(trial.directory / "disk", SOAK_BYTES)
    with trial.soak(raw(file_node(path)), 10000, options=("--harts=2", "--queues=2")) as machine:
        machine.await_line("soak: begins")
        for number in range(100):
            size = SOAK_BYTES + (number % 7) * MEGABYTE
            machine.monitor.do("block_resize", node_name=TOP, size=size)
        machine.monitor.do("block_resize", node_name=TOP, size=SOAK_BYTES)
        judge_soak(finish_soak(machine), path)


@fault_over_transports("resize-below-what-is-used")
def _(trial: Trial, way: tuple[str, ...]) -> None:
    path = image(trial.directory / "disk")
    with trial.requests(raw(file_node(path)), options=way) as session:
        session.do("write 2000 8 1", "write 2000+8 ok")
        for _ in range(3):
            session.monitor.do("block_resize", node_name=TOP, size=MEGABYTE // 2)
            await_capacity(session, 1024)
            session.do("read 2000 8", "read 2000+8 out_of_range")
            session.do("read 1020 8", "read 1020+8 out_of_range")
            session.do("read 1016 8", "read 1016+8 ok 0*8")
            session.monitor.do("block_resize", node_name=TOP, size=MEGABYTE)
            await_capacity(session, 2048)
            session.do("read 2000 8", "read 2000+8 ok 0*8")


@fault_over_transports("capacity-events")
def _(trial: Trial, way: tuple[str, ...]) -> None:
    """A coroutine that waits for changes of the capacity is told of each; the host finds the size in the image."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(file_node(path)), options=("--harts=2", "--queues=2", *way)) as session:
        session.machine.type("watch 20")
        await_capacity(session, MEGABYTE // 512)  # it has begun
        for number in range(20):
            size = MEGABYTE * (2 + number % 3) // 2 + MEGABYTE
            session.monitor.do("block_resize", node_name=TOP, size=size)
            line = session.machine.await_line("capacity has changed to ")
            if line != f"capacity has changed to {size // 512}":
                raise Broken(f"the size is {size}: {line}")
            if path.stat().st_size != size:
                raise Broken(f"the image has {path.stat().st_size} bytes")
            session.do(f"write {size // 512 - 1} 1 1", f"write {size // 512 - 1}+1 ok")
        session.machine.type("wait")
        session.machine.await_line("idle")


@fault_over_transports("write-zeroes-of-each-kind")
def _(trial: Trial, way: tuple[str, ...]) -> None:
    """What the host finds in the image after discards and write-zeroes: holes where the device may unmap, zeroes everywhere."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(file_node(path)), options=way) as session:
        for sector in range(0, 2048, 128):
            session.do(f"write {sector} 128 1", f"write {sector}+128 ok")
        full = path.stat().st_blocks
        if found := holes(path):
            raise Broken(f"the image has holes before the first discard, at {min(found)}")
        session.do("zeroes 0 128", "zeroes 0+128 ok")
        session.do("unmap 256 512", "unmap 256+512 ok")
        session.do("discard 1024 512", "discard 1024+512 ok")
        session.do("ranges 1792 8 4", "ranges 1792+8 ok")
        session.do("erase 0 8", "erase 0+8 unsupported")
        session.do("lifetime", "lifetime 0+0 unsupported")
        session.do("flush", "flush 0+0 ok")
        data = path.read_bytes()
        for first, count in ((0, 128), (256, 512), *((1792 + 16 * number, 8) for number in range(4))):
            if any(data[first * 512 : (first + count) * 512]):
                raise Broken(f"the image has something other than zeroes in the {count} sectors from {first} on")
        for sector in (128, 255, 768, 1023, 1536, 1800, 2047):
            if not any(data[sector * 512 : (sector + 1) * 512]):
                raise Broken(f"sector {sector} was not to be zeroed")
        freed = full - path.stat().st_blocks
        if freed < 1000:  # the file system may keep a block for itself
            raise Broken(f"the discard and the unmap have freed {freed} sectors of the image, of 1024")
        found = holes(path)
        if missing := {*range(256, 768), *range(1024, 1536)} - found:
            raise Broken(f"{len(missing)} sectors that were unmapped or discarded are no hole, from {min(missing)} on")
        if more := found & {*range(128, 256), *range(768, 1024), *range(1536, 1792), *range(1856, 2048)}:
            raise Broken(f"{len(more)} sectors are holes that nobody has discarded, from {min(more)} on")


@fault_over_transports("write-cache-switched")
def _(trial: Trial, way: tuple[str, ...]) -> None:
    """The mode is switched with writes in flight, and QEMU says that its cache has it."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(file_node(path)), options=("--harts=2", "--queues=2", *way)) as session:

        def mode_is(enabled: bool) -> None:
            session.machine.type("mode")
            line = session.machine.await_line("write cache ")
            disks = [each for each in session.monitor.do("query-block") if DISK in each.get("qdev", "")]
            of_qemu = disks[0]["inserted"]["cache"]["writeback"]
            if line != f"write cache {'on' if enabled else 'off'}" or of_qemu != enabled:
                raise Broken(f"the guest says '{line}', and QEMU {of_qemu}")

        mode_is(True)
        for number in range(4):
            enabled = number % 2 == 1
            inside = session.begin("write 0 8 1 50", 50)
            session.do(f"cache {int(enabled)}", f"cache {int(enabled)}+0 ok")
            for each in inside:
                session.outcome(each)
            mode_is(enabled)


def await_capacity(session: Session, sectors: int) -> None:
    """Until the guest knows."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        session.machine.type("capacity")
        if session.machine.await_line("capacity ") == f"capacity {sectors}":
            return
    raise Broken(f"the guest does not know that the capacity is {sectors}")


@fault("shrinks-with-requests-inside")
def _(trial: Trial) -> None:
    """What is inside when the disk shrinks ends well or with an error, and what lies below ends well."""
    path = image(trial.directory / "disk")
    node = throttled(raw(file_node(path)))
    with trial.requests(node, before=limit(iops_total=100), device=UNMERGED) as session:
        numbers = session.begin("read 1000 1 48", 48)
        session.monitor.do("block_resize", node_name=TOP, size=MEGABYTE // 2)
        for sector, number in enumerate(numbers, 1000):
            outcome = session.outcome(number).split(maxsplit=2)[2]
            allowed = ("ok 0*1",) if sector < 1024 else ("ok 0*1", "io_error", "out_of_range")
            if outcome not in allowed:
                raise Broken(f"a read of sector {sector} ended with {outcome}")


@fault("drive-del-during-io")
def _(trial: Trial) -> None:
    """The medium is gone for ever: every request ends, with an error from there on, and so does the machine."""
    path = image(trial.directory / "disk")
    node = throttled(raw(file_node(path)))
    with trial.requests(node, before=limit(iops_total=100), device=UNMERGED, drive=True) as session:
        session.do("write 0 1 1", "write 0+1 ok")
        numbers = session.begin("read 0 1 48", 48)
        session.monitor.human("drive_del drive0")
        for number in numbers:
            outcome = session.outcome(number).split(maxsplit=2)[2]
            if outcome not in ("ok 0*1", "ok 1*1", "io_error"):
                raise Broken(f"request {number} ended with {outcome}")
        session.do("read 0 1 8", *(f"read {number}+1 io_error" for number in range(8)))
        session.do("write 0 1 2", "write 0+1 io_error")


# ---- a disk on a server ----


SOCKET = "nbd"


class Server(DiskServer):
    """qemu-nbd."""

    def __init__(self, path: Path) -> None:
        socket = path.parent / SOCKET
        words = ["qemu-nbd", "--persistent", "--shared=4", "--format=raw", "--socket", str(socket), str(path)]
        super().__init__(words, ready=socket)
        if shutil.which("qemu-nbd") is None:
            raise Skipped("qemu-nbd is not installed (package qemu-utils)")
        self.start()

    def node(self, reconnect_delay: int) -> Node:
        """QEMU's side of it."""
        server = {"type": "unix", "path": SOCKET}
        return {"driver": "nbd", "server": server, "reconnect-delay": reconnect_delay}


@contextlib.contextmanager
def server_of(path: Path) -> Iterator[Server]:
    """A server for the time of a block."""
    server = Server(path)
    try:
        yield server
    finally:
        server.kill()


@fault("server-comes-back-in-time")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    with server_of(path) as server, trial.requests(server.node(20), device=UNMERGED) as session:
        session.do("write 0 8 1", "write 0+8 ok")
        for _ in range(2):
            server.kill()
            waiting = session.begin("write 8 8 2 4", 4) + session.begin("read 0 8 1", 1)
            session.pending(*waiting)
            server.start()
            session.expect(waiting, *(f"write {8 + 8 * number}+8 ok" for number in range(4)), "read 0+8 ok 1*8")


@fault("server-comes-back-too-late")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    with server_of(path) as server, trial.requests(server.node(1), device=UNMERGED) as session:
        session.do("write 0 8 1", "write 0+8 ok")
        server.kill()
        session.do("read 0 8 4", *(f"read {8 * number}+8 io_error" for number in range(4)))
        server.start()
        until = time.monotonic() + PATIENCE
        while session.outcome(session.begin("read 0 8")[0]) != "read 0+8 ok 1*8":
            if time.monotonic() > until:
                raise Broken("the disk does not come back with its server")


@fault("server-dies-without-patience")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    with server_of(path) as server, trial.requests(server.node(0), device=UNMERGED) as session:
        session.do("read 0 8", "read 0+8 ok 0*8")
        server.kill()
        session.do("read 0 8 4", *(f"read {8 * number}+8 io_error" for number in range(4)))
        session.do("write 0 8 1", "write 0+8 io_error")
        session.do("flush", "flush 0+0 io_error")


@fault("server-away-longer-than-the-time-limit", slow=True)
def _(trial: Trial) -> None:
    """QEMU does not let go of a request whose server is away, not even for a reset, which waits inside the device."""
    path = image(trial.directory / "disk")
    with server_of(path) as server, trial.requests(server.node(60), append=("request_timeout=2",)) as session:
        session.do("write 0 8 1", "write 0+8 ok")
        server.kill()
        waiting = session.begin("read 0 8")
        time.sleep(8)
        server.start()
        outcome = session.outcome(waiting[0])
        if outcome not in ("read 0+8 ok 1*8", "read 0+8 timed_out"):
            raise Broken(f"the request ended with {outcome}")
        session.do("read 0 8", "read 0+8 ok 1*8")
        session.resets = None


# ---- jobs of QEMU's under I/O ----


def soak_and(trial: Trial, does: Callable[[Machine], None], node: Node, below: Path) -> None:
    """A soak during which something is done; afterwards the image `below` holds all of it."""
    with trial.soak(node, 15000, append=("depth=32",)) as machine:
        machine.await_line("soak: begins")
        does(machine)
        if machine.results():
            raise Broken("the soak ended before the job: it is too short to show anything")
        judge_soak(finish_soak(machine), below)


def complete_job(trial: Trial, machine: Machine) -> None:
    """Makes the device change to the other image: in the midst of I/O where QEMU can, and in a stopped machine before 8.0,
    which may end with a failed assertion (child->perm & BLK_PERM_WRITE) where a write comes meanwhile."""
    stops = qemu_release(trial.qemu) < (8, 0)
    if stops:
        machine.monitor.do("stop")
    machine.monitor.do("job-complete", id="job")
    machine.monitor.await_event("JOB_STATUS_CHANGE", id="job", status="null")
    if stops:
        machine.monitor.do("cont")


@fault("snapshot-during-io")
def _(trial: Trial) -> None:
    """A new image takes the writes from the midst of the I/O on; then it is committed back, in the midst of it."""
    base = image(trial.directory / "disk", SOAK_BYTES)
    top = make_qcow2(trial.directory / "top", SOAK_BYTES)

    def snapshot(machine: Machine) -> None:
        machine.monitor.do("blockdev-add", **{**qcow2(top, "top"), "backing": None, "file": file_node(top, "top-file")})
        machine.monitor.do("blockdev-snapshot", node=TOP, overlay="top")
        machine.monitor.do("block-commit", job_id="job", device="top")
        machine.monitor.await_event("JOB_STATUS_CHANGE", id="job", status="ready")
        complete_job(trial, machine)

    soak_and(trial, snapshot, raw(file_node(base)), base)


@fault("mirror-during-io")
def _(trial: Trial) -> None:
    """The disk moves to another image in the midst of I/O; the old one hears nothing of what comes after."""
    source = image(trial.directory / "disk", SOAK_BYTES)
    target = image(trial.directory / "target", SOAK_BYTES)

    def mirror(machine: Machine) -> None:
        machine.monitor.do("blockdev-add", **raw(file_node(target, "target-file"), "target"))
        machine.monitor.do("blockdev-mirror", job_id="job", device=TOP, target="target", sync="full")
        machine.monitor.await_event("JOB_STATUS_CHANGE", id="job", status="ready")
        complete_job(trial, machine)

    soak_and(trial, mirror, raw(file_node(source)), target)


@fault("backup-during-io")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk", SOAK_BYTES)
    target = image(trial.directory / "target", SOAK_BYTES)

    def backup(machine: Machine) -> None:
        machine.monitor.do("blockdev-add", **raw(file_node(target, "target-file"), "target"))
        machine.monitor.do("blockdev-backup", job_id="job", device=TOP, target="target", sync="full")
        machine.monitor.await_event("JOB_STATUS_CHANGE", id="job", status="null")

    soak_and(trial, backup, raw(file_node(path)), path)
    wrong = [sector for sector, data in stamps.written_sectors(target)
             if stamps.generation_of(data, SEED, sector) is None]  # fmt: skip
    if wrong:
        raise Broken(f"the backup holds nothing of the guest's in sector {wrong[0]}")


# ---- geometry ----


@fault("alignment-of-the-file")
def _(trial: Trial) -> None:
    """The file takes 4096 bytes at a time, so QEMU reads before it writes less."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(blkdebug(file_node(path), align=4096)), device=UNMERGED) as session:
        session.do("write 0 16 1", "write 0+16 ok")
        session.do("write 3 1 2 4", *(f"write {3 + number}+1 ok" for number in range(4)))
        session.do("read 0 16", "read 0+16 ok 1*3 2*4 1*9")


@fault("blocks-of-4096")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    blocks = ("logical_block_size=4096", "physical_block_size=4096")
    with trial.requests(raw(file_node(path)), device=blocks) as session:
        session.do("read 0 1", "read 0+1 invalid_argument")
        session.do("write 1 8 1", "write 1+8 invalid_argument")
        session.do("write 8 8 1", "write 8+8 ok")
        session.do("discard 0 4", "discard 0+4 invalid_argument")
        session.do("read 0 16", "read 0+16 ok 0*8 1*8")


@fault("read-only-disk")
def _(trial: Trial) -> None:
    path = image(trial.directory / "disk")
    node = raw(file_node(path, **{"read-only": True}), **{"read-only": True})
    with trial.requests(node) as session:
        session.do("read 0 8", "read 0+8 ok 0*8")
        session.do("write 0 8 1", "write 0+8 read_only")
        session.do("zeroes 0 8", "zeroes 0+8 read_only")
        session.do("discard 0 8", "discard 0+8 read_only")
        session.do("flush", "flush 0+0 ok")


@fault("read-only-backing")
def _(trial: Trial) -> None:
    """What is below an image is read through it, and stays as it was."""
    base = image(trial.directory / "base")
    with open(base, "r+b") as file:
        file.write(b"".join(stamps.contents(SEED, sector, 5) for sector in range(64)))
    before = base.read_bytes()
    base.chmod(0o444)
    top = make_qcow2(trial.directory / "disk", MEGABYTE, "-b", str(base), "-F", "raw")
    with trial.requests({"driver": "qcow2", "file": file_node(top)}) as session:
        session.do("read 0 128", "read 0+128 ok 5*64 0*64")
        session.do("write 8 8 6", "write 8+8 ok")
        session.do("zeroes 16 8", "zeroes 16+8 ok")
        session.do("read 0 64", "read 0+64 ok 5*8 6*8 0*8 5*40")
    if base.read_bytes() != before:
        raise Broken("the base was written")


@fault("compared-by-qemu")
def _(trial: Trial) -> None:
    """A raw file beside a qcow2 image: QEMU ends if a read ever finds them different."""
    one = image(trial.directory / "disk", SOAK_BYTES)
    other = make_qcow2(trial.directory / "other", SOAK_BYTES)
    # A discard leaves the two different, and rightly so; and QEMU 7.2 has a fault in writing zeroes to such a pair.
    pair = {"driver": "blkverify", "raw": file_node(one), "test": qcow2(other, "test")}
    pair["test"]["file"]["node-name"] = "file1"
    with trial.soak(pair, 6000, device=("discard=off", "write-zeroes=off")) as machine:
        judge_soak(finish_soak(machine), one)


@fault_over_transports("flush-covers-what-ended-before")
def _(trial: Trial, way: tuple[str, ...]) -> None:
    """QEMU's own log of what reached it: the flush of one queue comes after the writes of all."""
    path = image(trial.directory / "disk")
    log = image(trial.directory / "log", 0)
    node = {"driver": "blklogwrites", "file": file_node(path), "log": file_node(log, "log"),
            "log-sector-size": 512, "log-super-update-interval": 1}  # fmt: skip
    with trial.requests(node, device=UNMERGED, options=("--queues=4", *way)) as session:
        for _ in range(4):
            session.do("write 0 8 1 16", *(f"write {8 * number}+8 ok" for number in range(16)))
            session.do("flush", "flush 0+0 ok")
    entries = read_write_log(log)
    if entries != (["write"] * 16 + ["flush"]) * 4:
        raise Broken(f"QEMU logged {entries}")


def read_write_log(path: Path) -> list[str]:
    """The entries of a log in the format of Linux's dm-log-writes."""
    data = path.read_bytes()
    magic, _, count = (int.from_bytes(data[at : at + 8], "little") for at in (0, 8, 16))
    if magic != 0x6A736677736872:
        raise Broken("QEMU wrote no log")
    entries = []
    at = 512
    for _ in range(count):
        _, sectors, flags, length = (int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "little") for i in range(4))
        kinds = {0: "write", 1: "flush", 4: "discard"}
        entries.append(kinds.get(flags, f"flags {flags}"))
        at += 512 + (0 if flags & 4 else sectors * 512)
    return entries


# ---- a device that asks for its reset ----


STATUS = 0x70  # registers of virtio-mmio
QUEUE_NOTIFY = 0x50
DRIVER_OK = 0xF  # and nothing else: in use, and well
NEEDS_RESET = 0x40


def break_ring(machine: Machine, queue: int = 0) -> None:
    """Offers the device a chain that cannot be, as memory that goes bad would, and rings the doorbell: the device then needs
    a reset. The machine is stopped meanwhile."""
    machine.monitor.do("stop")
    registers = registers_of_disk(machine)
    until = time.monotonic() + PATIENCE
    while read_register(machine, registers + STATUS) != DRIVER_OK:  # it is in a reset
        if time.monotonic() > until:
            raise Broken("the device does not come out of its reset")
        machine.monitor.do("cont")
        time.sleep(0.01)
        machine.monitor.do("stop")
    path = f"/machine/peripheral/{DISK}"
    ring = machine.monitor.do("x-query-virtio-queue-status", path=path, queue=queue)
    available, size = ring["vring-avail"], ring["vring-num"]
    index = int.from_bytes(machine.memory.read(available + 2, 2), "little")
    machine.memory.write(available + 4 + 2 * (index % size), b"\xff\xff")
    machine.memory.write(available + 2, (index + 1 & 0xFFFF).to_bytes(2, "little"))
    machine.memory.write(registers + QUEUE_NOTIFY, queue.to_bytes(4, "little"))
    status = read_register(machine, registers + STATUS)
    if not status & NEEDS_RESET:
        raise Broken(f"the device does not ask for a reset: its status is {status:#x}")
    machine.monitor.do("cont")


def read_register(machine: Machine, address: int) -> int:
    """A register of a device; they are read as a whole."""
    return int.from_bytes(machine.memory.read(address, 4), "little")


def registers_of_disk(machine: Machine) -> int:
    """Of the first slot in which there is a disk."""
    for slot in (0x10001000 + 0x1000 * number for number in range(8)):
        if read_register(machine, slot + 8) == 2:  # DeviceID: block
            return slot
    raise Broken("there is no disk")


@fault("device-needs-reset")
def _(trial: Trial) -> None:
    """An idle device asks for its reset, thirty times: the requests after it end well."""
    path = image(trial.directory / "disk")
    with trial.requests(raw(file_node(path)), gdb=True) as session:
        for number in range(30):
            session.do(f"write 0 8 {number + 1}", "write 0+8 ok")
            break_ring(session.machine)
            session.do("read 0 8", f"read 0+8 ok {number + 1}*8")
        session.resets = 30


@fault("device-needs-reset-during-io")
def _(trial: Trial) -> None:
    """What the guest gave the device, and the device has not done, goes in again and ends well."""
    path = image(trial.directory / "disk", SOAK_BYTES)
    with trial.soak(raw(file_node(path)), 20000, options=("--harts=2", "--queues=2"), gdb=True) as machine:
        machine.await_line("soak: begins")
        for number in range(10):
            break_ring(machine, number % 2)
            time.sleep(0.05)
        if machine.results():
            raise Broken("the soak ended before the last reset: it is too short to show anything")
        judge_soak(finish_soak(machine), path, resets=10)


# ---- a thread of its own ----


@fault("error-in-a-thread-of-its-own")
def _(trial: Trial) -> None:
    trial.needs((8, 1), "cannot serve this disk from a thread")
    path = image(trial.directory / "disk")
    rules = ({"iotype": "read", "sector": 3}, {"iotype": "write", "sector": 5})
    node = raw(blkdebug(file_node(path), *rules))
    with trial.requests(node, device=UNMERGED, options=("--iothread", "--queues=2")) as session:
        for _ in range(5):
            session.do("write 4 1 1 2", "write 4+1 ok", "write 5+1 io_error")
            session.do("read 2 1 3", "read 2+1 ok 0*1", "read 3+1 io_error", "read 4+1 ok 1*1")


@fault("stop-and-continue-in-a-thread-of-its-own")
def _(trial: Trial) -> None:
    trial.needs((8, 1), "cannot serve this disk from a thread")
    path = image(trial.directory / "disk", SOAK_BYTES)
    with trial.soak(raw(file_node(path)), 15000, options=("--iothread", "--harts=2", "--queues=2")) as machine:
        for _ in range(20):
            machine.monitor.do("stop")
            time.sleep(0.01)
            machine.monitor.do("cont")
            time.sleep(0.02)
        judge_soak(finish_soak(machine), path)
