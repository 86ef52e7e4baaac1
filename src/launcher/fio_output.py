"""What the guest measured in `bench`, as fio 3.33 would report it: its JSON, and its summary for people.

Names, units and rounding are fio's, so that its tools can read what they always read. Where fio speaks of a process,
the hart of the job is meant. What fio cannot know stands apart, under "inflight".
"""

import json
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench_result import DIRECTIONS, SECOND, Group, Job, Latencies, Run, ratio

# Tools ask for the prefix "fio-" and for the version of the format; a reader is to see that fio did not write it.
VERSION = "fio-3.33-inflight"
DEPTHS = ("1", "2", "4", "8", "16", "32", ">=64")
BATCHES = ("0", "4", "8", "16", "32", "64", ">=64")
# A latency counts for the first of these that is above it.
RANGES = (2, 4, 10, 20, 50, 100, 250, 500, 750, 1000)
RANGES_MS = (*RANGES, 2000)
UNITS = (("ns", "nsec", 1, RANGES), ("us", "usec", 1_000, RANGES), ("ms", "msec", 1_000_000, RANGES_MS))

Object = dict[str, Any]


def to_json(run: Run, global_options: Mapping[str, str], now: float, with_bins: bool) -> Object:
    """fio's JSON (with_bins: its json+). `now` is in seconds since 1970."""
    return {
        "fio version": VERSION,
        "timestamp": int(now),
        "timestamp_ms": int(now * 1000),
        "time": time.ctime(now),
        "global options": dict(global_options),
        "jobs": [_json_of_job(run, job, global_options, with_bins) for job in run.entries],
        # Of how long a disk was busy, nothing is known.
        "disk_util": [],
        "inflight": _inflight(run),
    }


def dump(whole: Object) -> str:
    """The JSON as fio lays it out."""
    return json.dumps(whole, indent=2, separators=(",", " : ")) + "\n"


def _json_of_job(run: Run, job: Job, global_options: Mapping[str, str], with_bins: bool) -> Object:
    group = run.group(job.group)
    distributions = {
        f"latency_{unit}": dict(zip(_names_of_ranges(ranges), shares))
        for (unit, _, _, ranges), shares in zip(UNITS, _latency_shares(job))
    }
    own = {key: value for key, value in job.options.items() if global_options.get(key) != value}
    return {
        "jobname": job.name,
        "groupid": job.group,
        "error": job.error,
        "eta": 0,
        "elapsed": run.seconds,
        "job options": own,
        **{name: _json_of_direction(run, job, name, with_bins) for name in DIRECTIONS},
        "sync": {"total_ios": job.sync_ios, "lat_ns": _json_of_latencies(job.sync, job.percentiles, with_bins)},
        "job_runtime": _milliseconds(job.elapsed),
        "usr_cpu": 0.0,
        "sys_cpu": _rounded(_awake_percent(group, job)),
        "ctx": _sleeps(group, job),
        "majf": 0,
        "minf": 0,
        "iodepth_level": dict(zip(DEPTHS, map(_rounded, _shares(job.depths, 0.1)))),
        "iodepth_submit": dict(zip(BATCHES, map(_rounded, _shares(job.submitted, 0.1)))),
        "iodepth_complete": dict(zip(BATCHES, map(_rounded, _shares(job.completed, 0.1)))),
        **{name: {key: _rounded(share) for key, share in shares.items()} for name, shares in distributions.items()},
        "latency_depth": job.depth,
        "latency_target": 0,
        "latency_percentile": 100.0,
        "latency_window": 0,
    }


def _json_of_direction(run: Run, job: Job, name: str, with_bins: bool) -> Object:
    direction = job.directions[name]
    bandwidth = int(direction.per_second(direction.bytes))
    return {
        "io_bytes": direction.bytes,
        "io_kbytes": direction.bytes // 1024,
        "bw_bytes": bandwidth,
        "bw": bandwidth // 1024,
        "iops": _rounded(direction.per_second(direction.ios)),
        "runtime": _milliseconds(direction.runtime),
        "total_ios": direction.ios,
        "short_ios": 0,
        "drop_ios": 0,
        "slat_ns": _json_of_latencies(Latencies(), (), False),  # not measured apart, as with fio's disable_slat
        "clat_ns": _json_of_latencies(direction.latencies, job.percentiles, with_bins),
        "lat_ns": _json_of_latencies(direction.latencies, (), False),
        "bw_min": direction.bandwidth.least,
        "bw_max": direction.bandwidth.most,
        "bw_agg": _rounded(_share_of_group(run, job, name)),
        "bw_mean": _rounded(direction.bandwidth.mean),
        "bw_dev": _rounded(direction.bandwidth.deviation),
        "bw_samples": direction.bandwidth.count,
        "iops_min": direction.iops.least,
        "iops_max": direction.iops.most,
        "iops_mean": _rounded(direction.iops.mean),
        "iops_stddev": _rounded(direction.iops.deviation),
        "iops_samples": direction.iops.count,
    }


def _json_of_latencies(latencies: Latencies, percentiles: Sequence[int], with_bins: bool) -> Object:
    report: Object = {
        "min": latencies.least,
        "max": latencies.most,
        "mean": _rounded(latencies.mean),
        "stddev": _rounded(latencies.deviation),
        "N": latencies.count,
    }
    if percentiles and latencies.count:
        found = latencies.percentiles(percentiles)
        report["percentile"] = {f"{percentile / 1_000_000:f}": value for percentile, value in found}
        if with_bins:
            report["bins"] = {str(value): count for value, count in latencies.bins}
    return report


def _inflight(run: Run) -> Object:
    instructions = _instructions(run, run.groups)
    asleep = sum(hart.asleep for group in run.groups for hart in group.harts)
    time_of_harts = sum(group.elapsed * len(group.harts) for group in run.groups)
    return {
        "groups": [_inflight_of_group(run, group) for group in run.groups],
        "jobs": [
            {
                "jobname": job.name,
                "groupid": job.group,
                "harts": list(job.harts),
                "disks": list(job.disks),
            }
            for job in run.entries
        ],
        "notifications": sum(group.notifications for group in run.groups),
        "interrupts": sum(group.interrupts for group in run.groups),
        "mmio_accesses": sum(group.mmio_accesses for group in run.groups),
        "guest_instructions": instructions,
        "asleep_share": _rounded(ratio(asleep, time_of_harts)) if all(group.elapsed for group in run.groups) else None,
        "boot_to_first_read_ns": run.boot_to_first_read or None,
        "memory_kib": run.memory_kib,
    }


def _inflight_of_group(run: Run, group: Group) -> Object:
    instructions = _instructions(run, [group])
    measured = group.elapsed != 0
    iops = ratio(group.ios * SECOND, group.elapsed)
    floor_iops = ratio(group.floor_ios * SECOND, group.floor_elapsed)
    return {
        "groupid": group.number,
        "elapsed_ns": group.elapsed if measured else None,
        "total_ios": group.ios,
        "iops": _rounded(iops) if measured else None,
        "notifications": group.notifications,
        "interrupts": group.interrupts,
        "mmio_accesses": group.mmio_accesses,
        "guest_instructions": instructions,
        "notifications_per_io": _rounded(ratio(group.notifications, group.ios)),
        "interrupts_per_io": _rounded(ratio(group.interrupts, group.ios)),
        "mmio_accesses_per_io": _rounded(ratio(group.mmio_accesses, group.ios)),
        "guest_instructions_per_io": None if instructions is None else _rounded(ratio(instructions, group.ios)),
        "idle_share": _rounded(group.asleep_share()) if measured else None,
        "floor_iops": _rounded(floor_iops) if floor_iops else None,
        "floor_ratio": _rounded(iops / floor_iops) if floor_iops else None,
        "harts": [
            {
                "hart": hart.number,
                "idle_share": _rounded(ratio(hart.asleep, group.elapsed)) if measured else None,
                "sleeps": hart.sleeps,
                "rounds": hart.rounds,
                "resumptions": hart.resumptions,
            }
            for hart in group.harts
        ],
        "queues": [
            {
                "disk": queue.disk,
                "queue": queue.number,
                "requests": queue.requests,
                "notifications": queue.notifications,
                "interrupts": queue.interrupts,
            }
            for queue in group.queues
        ],
    }


def to_text(run: Run, now: float) -> str:
    """fio's summary for people, and after it what fio cannot tell."""
    lines = [*_headings(run), ""]
    for job in run.entries:
        lines += _text_of_job(run, job, now)
    for group in run.groups:
        lines += _text_of_group(run, group)
    lines += _text_of_inflight(run)
    return "\n".join(lines) + "\n"


def _headings(run: Run) -> list[str]:
    lines = []
    before = None
    for job in run.jobs:
        sizes = ", ".join(f"({name[0].upper()}) {size}B" for name, size in zip(DIRECTIONS, job.block_sizes))
        line = f"{job.name}: (g={job.group}): rw={job.rw}, bs={sizes}, disk={':'.join(job.disks)}, iodepth={job.depth}"
        if line != before:
            lines.append(line)
        elif lines[-1] != "...":
            lines.append("...")
        before = line
    return lines


def _text_of_job(run: Run, job: Job, now: float) -> list[str]:
    group = run.group(job.group)
    error = f"err={job.error:2}" + (f" ({job.error_text})" if job.error else "")
    harts = ",".join(map(str, job.harts))
    lines = [f"{job.name}: (groupid={job.group}, jobs={job.members}): {error}: hart={harts}: {time.ctime(now)}"]
    for name, direction in job.directions.items():
        if direction.ios:
            lines += _text_of_direction(run, job, name)
    for (_, unit, _, ranges), shares in zip(UNITS, _latency_shares(job)):
        shown = [f"{name}={share:3.2f}%" for name, share in zip(_names_of_ranges(ranges), shares) if share > 0]
        lines += [f"  lat ({unit})   : {', '.join(shown[at : at + 5])}" for at in range(0, len(shown), 5)]
    if job.sync.count:
        lines += ["  fsync/fdatasync:", _text_of_latencies("sync", job.sync)]
        lines += _text_of_percentiles("sync", job.sync, job.percentiles)
    lines.append(
        f"  cpu          : usr=0.00%, sys={_awake_percent(group, job):3.2f}%, ctx={_sleeps(group, job)}, majf=0, minf=0"
    )
    for title, names, counts in (
        ("  IO depths    ", DEPTHS, job.depths),
        ("     submit    ", BATCHES, job.submitted),
        ("     complete  ", BATCHES, job.completed),
    ):
        shares = _shares(counts, 0.1)
        lines.append(f"{title}: " + ", ".join(f"{name}={share:3.1f}%" for name, share in zip(names, shares)))
    totals = [job.directions[name].ios for name in DIRECTIONS] + [job.sync_ios]
    lines.append(f"     issued rwts: total={','.join(map(str, totals))} short=0,0,0,0 dropped=0,0,0,0")
    lines.append(f"     latency   : target=0, window=0, percentile=100.00%, depth={job.depth}")
    return lines


def _text_of_direction(run: Run, job: Job, name: str) -> list[str]:
    direction = job.directions[name]
    if direction.is_untimed:
        return [f"  {name}: IOPS and BW not measured ({_short(direction.bytes, 1024)}B)"]
    bandwidth = int(direction.per_second(direction.bytes))
    iops = _short(int(direction.per_second(direction.ios)))
    amount = f"{_short(direction.bytes, 1024)}B/{_milliseconds(direction.runtime)}msec"
    lines = [f"  {name}: IOPS={iops}, BW={_short(bandwidth, 1024)}B/s ({_short(bandwidth)}B/s)({amount})"]
    latencies = direction.latencies
    if latencies.count:
        lines += [_text_of_latencies("clat", latencies), _text_of_latencies(" lat", latencies)]
        lines += _text_of_percentiles("clat", latencies, job.percentiles)
    if direction.bandwidth.count:
        unit, divisor = ("MiB", 1024) if direction.bandwidth.mean > 1024 * 1024 else ("KiB", 1)
        least, most = direction.bandwidth.least // divisor, direction.bandwidth.most // divisor
        mean, deviation = direction.bandwidth.mean / divisor, direction.bandwidth.deviation / divisor
        lines.append(
            f"   bw ({unit:>5}/s): min={least:5}, max={most:5}, per={_share_of_group(run, job, name):3.2f}%, "
            f"avg={mean:5.02f}, stdev={deviation:5.02f}, samples={direction.bandwidth.count}"
        )
    if direction.iops.count:
        samples = direction.iops
        lines.append(
            f"   iops        : min={samples.least:5}, max={samples.most:5}, "
            f"avg={samples.mean:5.02f}, stdev={samples.deviation:5.02f}, samples={samples.count}"
        )
    return lines


def _text_of_latencies(title: str, latencies: Latencies) -> str:
    unit, divisor = "nsec", 1
    for name, size in (("msec", 1_000_000), ("usec", 1_000)):
        if latencies.least > 2 * size and latencies.most > 100 * size - 1 and latencies.deviation > size:
            unit, divisor = name, size
            break
    least, most = (_short(value // divisor, 1000, 6) for value in (latencies.least, latencies.most))
    mean, deviation = latencies.mean / divisor, latencies.deviation / divisor
    return f"    {title} ({unit}): min={least}, max={most}, avg={mean:5.02f}, stdev={deviation:5.02f}"


def _text_of_percentiles(title: str, latencies: Latencies, wanted: Sequence[int]) -> list[str]:
    found = latencies.percentiles(wanted)
    least, most = found[0][1], found[-1][1]
    unit, divisor = "nsec", 1
    for name, size in (("msec", 1_000_000), ("usec", 1_000)):
        if least > 2 * size and most > 100 * size - 1:
            unit, divisor = name, size
            break
    width = max(5, len(str(most // divisor)))
    words = [f"{percentile / 1_000_000:5.2f}th=[{-(-value // divisor):{width}}]" for percentile, value in found]
    per_line = (80 - 7) // (12 + width)
    rows = [", ".join(words[at : at + per_line]) for at in range(0, len(words), per_line)]
    return [f"    {title} percentiles ({unit}):", *(f"     | {row}," for row in rows[:-1]), f"     | {rows[-1]}"]


def _text_of_group(run: Run, group: Group) -> list[str]:
    lines = ["", f"Run status group {group.number} (all jobs):"]
    for name in DIRECTIONS:
        members = [job.directions[name] for job in run.entries if job.group == group.number]
        if any(direction.is_untimed for direction in members):
            lines.append(f"{name.upper():>7}: bw not measured")
            continue
        members = [direction for direction in members if direction.runtime]
        if not members:
            continue
        rates = [int(direction.per_second(direction.bytes)) for direction in members]
        amount = sum(direction.bytes for direction in members)
        runtimes = [_milliseconds(direction.runtime) for direction in members]
        figures = [_bandwidth_of_group(run, group.number, name), min(rates), max(rates)]
        total, minimum, maximum = (f"{_short(figure, 1024)}B/s" for figure in figures)
        total_si, min_si, max_si = (f"{_short(figure)}B/s" for figure in figures)
        lines.append(
            f"{name.upper():>7}: bw={total} ({total_si}), {minimum}-{maximum} ({min_si}-{max_si}), "
            f"io={_short(amount, 1024)}B ({_short(amount)}B), run={min(runtimes)}-{max(runtimes)}msec"
        )
    return lines


def _text_of_inflight(run: Run) -> list[str]:
    whole = _inflight(run)
    lines = ["", "inflight:"]
    for group in whole["groups"]:
        per_io = [f"{name}={group[name + '_per_io']:.3f}" for name in ("notifications", "interrupts", "mmio_accesses")]
        if group["guest_instructions_per_io"] is not None:
            per_io.append(f"guest_instructions={group['guest_instructions_per_io']:.1f}")
        lines.append(f"  group {group['groupid']} per IO: {', '.join(per_io)}")
        if group["floor_iops"] is None:
            floor = "not run"
        else:
            floor = f"IOPS={_short(int(group['floor_iops']))}, ratio={group['floor_ratio']:.3f}"
        lines.append(f"     floor     : {floor}")
        for hart in group["harts"]:
            idle = "not measured" if hart["idle_share"] is None else f"{hart['idle_share'] * 100:.1f}%"
            lines.append(
                f"     hart {hart['hart']:<5}: idle={idle}, sleeps={hart['sleeps']}, "
                f"rounds={hart['rounds']}, resumptions={hart['resumptions']}"
            )
        for queue in group["queues"]:
            name = f"{queue['disk']} q{queue['queue']}"
            lines.append(
                f"     {name:10}: requests={queue['requests']}, notifications={queue['notifications']}, "
                f"interrupts={queue['interrupts']}"
            )
    first_read = f"{run.boot_to_first_read // 1000}usec" if run.boot_to_first_read else "not measured"
    lines.append(f"  boot to first read={first_read}, memory={run.memory_kib}KiB")
    return lines


def _rounded(number: float) -> float:
    return round(number, 6)  # as fio prints its numbers


def _milliseconds(nanoseconds: int) -> int:
    """Rounded down, but not to 0: fio takes that for something that did not run."""
    return max(1, nanoseconds // 1_000_000) if nanoseconds else 0


def _short(number: int, thousand: int = 1000, width: int = 4) -> str:
    """The number in so many characters, with its prefix, cut as fio cuts it: 63.6Mi, 582k."""
    binary, decimal = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), ("", "k", "M", "G", "T", "P", "E")
    prefixes = iter(binary if thousand == 1024 else decimal)
    prefix = next(prefixes)
    remainder = None
    while len(str(number)) > width:
        prefix = next(prefixes)
        number, remainder = divmod(number, thousand)
    if remainder is None:
        return f"{number}{prefix}"
    digits = width - len(str(number)) - 1
    if digits < 1:
        return f"{number + (2 * remainder >= thousand)}{prefix}"
    decimals = f"{remainder / thousand:.{digits}f}"
    return f"{number + int(decimals[0])}{decimals[1:]}{prefix}"


def _shares(counts: Sequence[int], least: float) -> list[float]:
    """In percent; what is there at all is at least `least`, so that it is seen."""
    return [max(least, 100 * count / sum(counts)) if count else 0.0 for count in counts]


def _latency_shares(job: Job) -> list[list[float]]:
    """For each of UNITS, the shares of all latencies in its ranges."""
    counts = [[0] * (len(ranges) + (unit == "ms")) for unit, _, _, ranges in UNITS]
    for value, count in job.latencies.bins:
        index = 0 if value < 1_000 else 1 if value < 1_000_000 else 2
        _, _, size, ranges = UNITS[index]
        counts[index][bisect_right(ranges, value // size)] += count
    shares = iter(_shares([count for of_unit in counts for count in of_unit], 0.01))
    return [[next(shares) for _ in of_unit] for of_unit in counts]


def _names_of_ranges(ranges: Sequence[int]) -> list[str]:
    return [str(edge) for edge in ranges] + ([f">={ranges[-1]}"] if ranges is RANGES_MS else [])


def _bandwidth_of_group(run: Run, group: int, name: str) -> int:
    """Bytes per second of all its jobs in this direction, while any of them ran."""
    members = [job.directions[name] for job in run.entries if job.group == group]
    if any(one.is_untimed for one in members):
        return 0
    return int(ratio(sum(one.bytes for one in members) * SECOND, max(one.runtime for one in members)))


def _share_of_group(run: Run, job: Job, name: str) -> float:
    """How much of its group's bandwidth the samples of the job were, in percent."""
    samples = job.directions[name].bandwidth
    if samples.count == 0:
        return 0.0
    whole = _bandwidth_of_group(run, job.group, name)
    return min(100.0, int(samples.mean) * 100 / (whole / 1024)) if whole > 1024 else 100.0


def _awake_percent(group: Group, job: Job) -> float:
    return 100 - 100 * group.asleep_share(job.harts) if group.elapsed else 0.0


def _sleeps(group: Group, job: Job) -> int:
    return sum(hart.sleeps for hart in group.harts if hart.number in job.harts)


def _instructions(run: Run, groups: Iterable[Group]) -> int | None:
    """Only a clock that counts instructions makes them mean something. It is one for all harts, so none has a number of its own."""
    return sum(group.instructions for group in groups) if run.counts_instructions else None
