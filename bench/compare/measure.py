"""Runs both guests, and makes the rows of the table from the results."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import counts
import linux
import processes
import table
from jobs import JobFile
from table import Row
from values import Refusal

# Two numbers of requests: the difference between two runs excludes the costs of starting and ending.
FEW, MANY = 1000, 6000


@dataclass(frozen=True)
class Setting:
    """The settings of all runs."""

    run: Path  # ./run
    machine: tuple[str, ...]  # its options for the machine and the disk
    append: tuple[str, ...]  # boot arguments of ours
    iothread: bool
    memory: str | None  # of Linux, if it differs
    timeout: float
    job_text: str
    job_file: JobFile
    scratch: Path

    def qemu_command(self, *more: str) -> list[str]:
        """QEMU's command, as `./run` prints it for a program that does not change it."""
        command = [str(self.run), "info", "--dry-run", *self.machine, *more]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if ended.returncode != 0:
            raise Refusal(" ".join(ended.stderr.split()).removeprefix("run: "))
        return shlex.split(ended.stdout)


def run_ours(setting: Setting, job: str, more: Sequence[str] = (), append: Sequence[str] = ()) -> dict[str, Any]:
    """Runs our kernel with a job file. Returns its output, which has the form of fio's."""
    job_file, output = setting.scratch / "ours.fio", setting.scratch / "ours.json"
    job_file.write_text(job, encoding="utf-8")
    output.unlink(missing_ok=True)
    command = [str(setting.run), "bench", str(job_file), *setting.machine, *more]
    if boot_arguments := [*setting.append, *append]:
        command += ["--append", " ".join(boot_arguments)]
    command += ["--output-format=json", "--output", str(output)]
    process = processes.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said = process.communicate(timeout=setting.timeout)[0].decode("utf-8", errors="replace")
    except subprocess.TimeoutExpired as error:
        raise Refusal(f"./run bench was not done after {setting.timeout:g} s; see --timeout") from error
    finally:
        processes.stop(process)
    if process.returncode != 0:
        last = (said.strip().splitlines() or ["it said nothing"])[-1].removeprefix("run: ")
        raise Refusal(f"./run bench ended with status {process.returncode}: {last}")
    try:
        report = json.loads(output.read_text(encoding="utf-8"))
        if not report["jobs"]:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refusal("./run bench wrote no JSON with jobs in it") from error
    return dict(report)


@dataclass(frozen=True)
class LinuxRun:
    """The results of one run of Linux with the whole job file."""

    fio: dict[str, Any]
    first_read_ns: int  # by the kernel's own clock
    since_reset_ns: int  # by the machine's
    memory_kib: int
    interrupts: int  # of the disk, as the kernel counts them


# The free memory is read a second after fio has begun, when fio has allocated everything.
_TIMED = """
cat /proc/interrupts >/tmp/before
(sleep 1; cat /proc/meminfo >/tmp/meminfo) &
fio --output-format=json --output=/tmp/out --eta=never {defaults} /job/job.fio >/tmp/said 2>&1 ||
    cat /tmp/said >>/tmp/out
cat /proc/interrupts >/tmp/after
show fio /tmp/out
show meminfo /tmp/meminfo
show before /tmp/before
show after /tmp/after
"""


def run_linux(setting: Setting, guest: linux.Guest) -> LinuxRun:
    """Boots Linux, and runs the whole job file with fio."""
    ours = setting.qemu_command()
    script = _TIMED.format(defaults=linux.fio_defaults(setting.job_text))
    archive = linux.initrd(guest, setting.scratch, script, {"job.fio": setting.job_text})
    said = linux.run(linux.command(ours, guest, archive, setting.memory), setting.timeout)
    first = said.mark("first-read")
    free = re.search(r"^MemAvailable: +([0-9]+) kB$", "\n".join(said.texts.get("meminfo", [])), re.MULTILINE)
    if free is None:
        raise Refusal("the Linux guest did not report its memory; let the first job last two seconds")
    words = linux.command(ours, guest, archive, setting.memory)
    memory = counts.kibibytes(words[words.index("-m") + 1]) - int(free[1]) - guest.unpacked // 1024
    interrupts = disk_interrupts(said.texts["after"]) - disk_interrupts(said.texts["before"])
    return LinuxRun(said.fio("fio"), first.uptime_ns, first.ticks * 100, memory, interrupts)


def disk_interrupts(lines: Sequence[str]) -> int:
    """The interrupts of VIRTIO devices in /proc/interrupts, summed over all harts."""
    return sum(int(word) for line in lines if re.search(r"\bvirtio[0-9]+(-\S+)?$", line)
               for word in re.findall(r"(?<=\s)[0-9]+(?=\s)", re.split(r"SiFive|APLIC|IMSIC|PCI-MSIX?", line)[0].partition(":")[2]))  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """Counts per request of one job. None if the longer run counted less than the shorter one, because runs then vary
    by more than what the requests take."""

    instructions: float | None
    accesses: float | None
    doorbells: float | None
    interrupts: float | None


# The first fio of a boot does more work than later ones, so it is not counted.
_COUNTED = """
fio --output=/dev/null --eta=never {defaults} "/job/{first}-{few}.fio" >/dev/null 2>&1
for requests in {few} {many}; do
    for name in {jobs}; do
        wait_at "before/$name/$requests"
        fio --output-format=json --output=/tmp/out --eta=never {defaults} "/job/$name-$requests.fio" >/tmp/said 2>&1 ||
            cat /tmp/said >>/tmp/out
        wait_at "after/$name/$requests"
        show "$name/$requests" /tmp/out
    done
done
"""


def count_linux(setting: Setting, guest: linux.Guest, plugin: Path) -> dict[str, Counted]:
    """Counts what Linux needs for a request of each job, in two boots."""
    names = list(setting.job_file.jobs)
    jobs = {f"{name}-{size}.fio": setting.job_file.alone(name, size) for name in names for size in (FEW, MANY)}
    defaults = linux.fio_defaults(setting.job_text)
    script = _COUNTED.format(few=FEW, many=MANY, first=names[0], jobs=" ".join(names), defaults=defaults)
    archive = linux.initrd(guest, setting.scratch, script, jobs)

    def boot(words: list[str], look: Callable[[], Any]) -> tuple[linux.Said, dict[str, Any]]:
        seen: dict[str, Any] = {}

        def keep(name: str) -> None:
            seen[name] = look()

        return linux.run(linux.command(words, guest, archive, setting.memory), setting.timeout, keep), seen

    trace = counts.Trace(_fresh(setting.scratch / "trace"), setting.iothread)
    said, accesses = boot([*setting.qemu_command(), *trace.arguments()], trace.so_far)
    counter = counts.Instructions(plugin, setting.scratch / "count")
    icount, instructions = boot([*setting.qemu_command("--icount"), *counter.arguments()], counter.so_far)
    counted = {}
    for name in names:

        def requests(of: linux.Said, size: int, name: str = name) -> int:
            return table.requests_of(of.fio(f"{name}/{size}")["jobs"][0])

        def accesses_of(size: int, name: str = name) -> counts.Accesses:
            done: counts.Accesses = accesses[f"after/{name}/{size}"]
            return done.since(accesses[f"before/{name}/{size}"])

        def instructions_of(size: int, name: str = name) -> int:
            return int(instructions[f"after/{name}/{size}"] - instructions[f"before/{name}/{size}"])

        counted[name] = per_request(
            accesses_of(MANY).since(accesses_of(FEW)),
            requests(said, MANY) - requests(said, FEW),
            instructions_of(MANY) - instructions_of(FEW),
            requests(icount, MANY) - requests(icount, FEW),
        )
    return counted


FLOORLESS = ["floor=off"]  # because the raw loop after a job would be counted as well


def count_ours(setting: Setting, plugin: Path) -> dict[str, Counted]:
    """Counts what our kernel needs for a request of each job, in four boots for each job."""
    counted = {}
    for name in setting.job_file.jobs:
        accesses, traced, instructions, ran = [], [], [], []
        for size in (FEW, MANY):
            job = setting.job_file.alone(name, size)
            trace = counts.Trace(_fresh(setting.scratch / "trace"), setting.iothread)
            traced.append(_requests(run_ours(setting, job, _for_qemu(trace.arguments()), FLOORLESS)))
            accesses.append(trace.so_far())
            counter = counts.Instructions(plugin, setting.scratch / "count")
            # poll=off, because the instructions of a hart that polls depend on the speed of the host.
            words = ["--icount", *_for_qemu(counter.arguments())]
            ran.append(_requests(run_ours(setting, job, words, [*FLOORLESS, "poll=off"])))
            instructions.append(counter.so_far())
        counted[name] = per_request(
            accesses[1].since(accesses[0]),
            traced[1] - traced[0],
            instructions[1] - instructions[0],
            ran[1] - ran[0],
        )
    return counted


def per_request(accesses: counts.Accesses, traced: int, instructions: int, ran: int) -> Counted:
    """The differences between the long and the short run, divided by the requests."""
    if traced <= 0 or ran <= 0:
        raise Refusal(f"the job did not do {MANY - FEW} requests more when it was asked to: is the disk too small?")

    def share(count: int, of: int) -> float | None:
        return count / of if count >= 0 else None

    return Counted(
        share(instructions, ran),
        share(accesses.all, traced),
        share(accesses.doorbells, traced),
        share(accesses.claims, traced),
    )


def _requests(report: dict[str, Any]) -> int:
    return sum(table.requests_of(job) for job in report["jobs"])


def _for_qemu(words: Sequence[str]) -> list[str]:
    return [word for argument in words for word in ("--qemu-arg", argument)]


def _fresh(file: Path) -> Path:
    file.unlink(missing_ok=True)
    return file


def limit(qemu_img: str, disk: str, job_file: JobFile, name: str, seconds: float = 1.0) -> float | None:
    """The I/O per second of `qemu-img bench` on the same contents, without a guest or a device. None if it cannot do
    the same (another disk than null:SIZE, or reads mixed with writes)."""
    kind = job_file.kind(name)
    if not disk.startswith("null:") or kind not in ("read", "randread", "write", "randwrite"):
        return None
    size = counts.kibibytes(disk.removeprefix("null:")) * 1024
    image = "json:" + json.dumps({"driver": "null-co", "size": size, "read-zeroes": True})
    writes = ["-w"] if kind.endswith("write") else []
    requests = 20000
    while True:
        command = [qemu_img, "bench", "-c", str(requests), "-d", str(job_file.depth(name))]
        command += ["-s", str(job_file.block_size(name)), "-t", "none", *writes, image]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        match = re.search(r"completed in ([0-9.]+) seconds", ended.stdout)
        if match is None:
            raise Refusal(f"qemu-img bench: {' '.join(ended.stderr.split())[:200]}")
        took = float(match[1])
        if took >= seconds / 2:
            return requests / took
        requests = int(requests * min(100, seconds / max(took, 0.001)))


def rows(
    job_file: JobFile,
    ours: Sequence[dict[str, Any]],
    theirs: Sequence[LinuxRun],
    counted_ours: dict[str, Counted],
    counted_linux: dict[str, Counted],
    limits: dict[str, float | None],
    iothread: bool,
) -> list[Row]:
    """The rows of the table. Notifications of a disk with an I/O thread are left out: they cannot be counted."""
    made = []
    for name in job_file.jobs:
        one = [job for job in (table.job_of(report, name) for report in ours) if job is not None]
        other = [job for job in (table.job_of(run.fio, name) for run in theirs) if job is not None]
        made.append(Row(name, "IOPS", [*map(table.iops_of, one)], [*map(table.iops_of, other)], limits.get(name)))
        for label, percentile in (("p50 us", "50.000000"), ("p99 us", "99.000000")):
            measured = [[value for job in jobs if (value := table.latency_of(job, percentile)) is not None]
                        for jobs in (one, other)]  # fmt: skip
            made.append(Row(name, label, *measured))
        for label, field in (
            ("instructions per I/O", "instructions"),
            ("MMIO accesses per I/O", "accesses"),
            ("notifications per I/O", "doorbells"),
            ("interrupts per I/O", "interrupts"),
        ):
            values = [[value] if name in counted and (value := getattr(counted[name], field)) is not None else []
                      for counted in (counted_ours, counted_linux)]  # fmt: skip
            if name in {*counted_ours, *counted_linux} and not (iothread and field == "doorbells"):
                made.append(Row(name, label, *values))
    said = [report.get("inflight", {}) for report in ours]
    boot = [float(each["boot_to_first_read_ns"]) / 1e6 for each in said if each.get("boot_to_first_read_ns")]
    made.append(Row("all", "boot to first I/O, ms", boot, [run.first_read_ns / 1e6 for run in theirs]))
    memory = [float(each["memory_kib"]) / 1024 for each in said if "memory_kib" in each]
    made.append(Row("all", "memory, MiB", memory, [run.memory_kib / 1024 for run in theirs]))
    return made
