#!/usr/bin/env python3
"""Asks fio what it makes of job files, and compares: job_file_oracle.py JOB_FILE_DUMP, the program that prints ours.

fio gets a second file that does not exist, so it reads the first one, settles its jobs, prints them, and ends without a
single request."""

import collections
import concurrent.futures
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

JOBS = Path(__file__).resolve().parent / "jobs"
NO_FILE = "no-such-file"
COMPLAINTS = []

# What both refuse: the lines of a section.
REFUSED = [
    "bs", "bs=", "bs=x", "bs=0", "bs=,", "bs==4k", "=4k", "bs 4k", "BS=4k", "iodepth=0", "iodepth", "iodepth=many",
    "rw=random", "rw=READ", "rw", "rw=", "rw=randomread", "rwmixread=101", "rwmixread=", "do_verify", "do_verify=2",
    "do_verify=true", "time_based=true", "time_based=", "stonewall=", "stonewall=yes", "norandommap=on", "verify=none",
    "verify=crc", "verify", "size=", "size=k", "size=all", "io_size=101%", "offset=start", "runtime=", "runtime=s",
    "runtime=soon", "random_distribution=zipf:1", "random_distribution=zipf:1.0", "random_distribution=zipf:",
    "random_distribution=zipf:x", "random_distribution=pareto:0", "random_distribution=pareto:1",
    "random_distribution=pareto:1.5", "random_distribution=flat", "random_distribution", "percentile_list=",
    "percentile_list=x", "percentile_list=101", "percentile_list=-1", "bssplit=x/50:4k/50",
    "bssplit=4k/60:8k/60:16k/:32k/", "randseed=18446744073709551615", "randseed=", "size=9223372036854775808",
    "foo=1", "foo", "direct", "direct=2", "buffered=x", "invalidate", "ioengine=", "name=", "name", "filename=",
    "numjobs=", "numjobs=x", "loops=x", "fsync=x", "fsync", "rate_iops=x", "rate_iops=", "thinktime=x", "number_ios=x",
    "kb_base=512", "iodepth_batch=x", "ramp_time=x", "blockalign=0", "size=1k", "bs=64k\nsize=32k",
    "numjobs=0", "numjobs=4097", "size=(2*3)k", "group_reporting=x", "thread=x", "randrepeat=2", "description=",
]  # fmt: skip

# What fio takes and we refuse: nonsense that it reads as something else without a word, what no disk can do, what is not
# supported here.
REFUSED_HERE = [
    "bs=1.5k", "bs=5", "bs=4kx", "bs=0x10k", "bs=4 k", "bs=4k,8k,16k,32k", "bs=4k,x", "bs=4k:8k", "bs=4kib", "bs=128m",
    "bs=1000000000000000g", "iodepth=-1", "iodepth=65537", "iodepth=4294967297", "include nothing-there", "size=150%", "offset=-4k",
    "runtime=10sec", "runtime=-5", "runtime=1.5", "runtime=10x", "runtime=0x10", "thinktime=2h", "bssplit=4k/50:8k/40",
    "bssplit=4k/60:8k/60", "bssplit=", "bssplit=4k/x", "bssplit=4k/101", "bssplit=4k/50::8k/50", "ba=100",
    "rw=randread:8", "rw=randtrimwrite", "random_distribution=zipf:0", "random_distribution=zipf:-1",
    "random_distribution=normal:5", "random_distribution=zipf:1.1:0.3", "random_distribution=zipf:1.0000001",
    "percentile_list=0", "percentile_list=50:", "percentile_list=50:101", "percentile_list=50x", "verify=md5",
    "verify=sha256", "verify=pattern", "cpus_allowed=x", "cpus_allowed=1-0", "filename=/tmp/file", "filename=vd", "filename=sda",
    "filename=vda:", "direct=0", "buffered=1", "randrepeat=0", "kb_base=1000", "bsrange=4k-64k", "rwmixwrite=30",
    "refill_buffers", "iodepth_low=2", "new_group", "startdelay=3", "loops=-1", "stonewall=2", "rwmixread=50%",
    "size=10z", "randseed=-4", "rate_iops=1000:500",
    ":".join(["percentile_list=50"] + ["60"] * 20),
]  # fmt: skip

# What fio refuses and we take: a blank behind `=` where no number follows, and the polling that its default engine cannot do.
TAKEN_HERE = ["rw = randread", "verify= crc32c", "random_distribution= zipf", "hipri=1", "hipri"]


def ask_fio(path, directory, *options):
    """What fio prints, and what it complains of."""
    ran = subprocess.run(["fio", *options, str(path), NO_FILE], capture_output=True, cwd=directory, timeout=30)
    return ran.stdout.decode("latin-1"), ran.stderr.decode("latin-1")


def takes(path, directory):
    """Whether fio takes the file: it then comes to the one that does not exist."""
    return f"unable to open '{NO_FILE}'" in ask_fio(path, directory)[1]


def ask_us(dump, paths):
    """What the parser says of each file."""
    lines = subprocess.run([dump, *map(str, paths)], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def bytes_of(text):
    """A size as fio prints it, rounded to four digits."""
    number, unit = re.fullmatch(r"([\d.]+)(B|KiB|MiB|GiB)", text).groups()
    return float(number) * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)


class Section:
    """What fio read in a section, and in those of [global] before it."""

    def __init__(self, before=None):
        self.numbers = dict(before.numbers) if before else {}  # the last number of each option
        self.lists = dict(before.lists) if before else {}  # its numbers, one for each direction
        self.texts = dict(before.texts) if before else {}
        self.percentiles = list(before.percentiles) if before else []
        self.files = list(before.files) if before else []
        self.harts = before.harts if before else 0

    def put(self, option, values):
        """The numbers that one line gave, None where fio found none: those without one keep what was."""
        if not any(value is not None for value in values):
            return
        self.numbers[option] = [value for value in values if value is not None][-1]
        whole = list(self.lists.get(option, [0, 0, 0]))
        for i, value in enumerate(values):
            whole[i] = whole[i] if value is None else value
        if values[-1] is not None:
            whole[len(values) :] = [values[-1]] * (3 - len(values))
        self.lists[option] = whole


def read_log(log):
    """The sections in a log of fio's parser, and the jobs that it made of them."""
    everything = section = Section()
    sections, jobs, option, values = [], [], "", []
    # Behind the process, which has five places or more; the last line of a file has no end of its own.
    for line in re.sub(r"\n?(parse|file) +(?=\d)[\d ]{5}\d* ", "\n", log).splitlines():
        if not line.startswith((" ", "__handle_option", "add file", "resize file", "file ", "set cpu", "SET ")):
            section.put(option, values)  # the option before is complete
            values = []
        if found := re.fullmatch(r"Parsing section \[(.*)\]", line):
            option = ""
            section = everything if found[1].startswith("global") else Section(everything)
            if section is not everything:
                sections.append(section)
        elif found := re.fullmatch(r"handle_option=([^,]+), ptr=(.*)", line):
            option = found[1]
            section.texts[option] = found[2]
            if option == "percentile_list":
                section.percentiles = []
            if option == "cpus_allowed":
                section.harts = 0
        elif found := re.fullmatch(r" +ret=(\d), out=(-?\d+)", line):
            values.append(None if found[1] == "1" else int(found[2]))
        elif found := re.fullmatch(r" +out=([\d.]+)", line):
            section.percentiles.append(round(float(found[1]) * 1_000_000))
        elif found := re.fullmatch(r"set cpu allowed (\d+)", line):
            section.harts |= 1 << int(found[1])
        elif option == "filename" and (found := re.fullmatch(r"add file (.*)", line)):
            section.files.append(found[1].removeprefix("/dev/"))
        elif found := re.fullmatch(
            r"(.*): \(g=(\d+)\): rw=(\w+), bs=\(R\) (\S+)-(\S+), \(W\) (\S+)-(\S+), \(T\) (\S+)-(\S+), "
            r"ioengine=\w+, iodepth=(\d+)",
            line,
        ):
            jobs.append(found.groups())
            option, section = "", Section()  # what follows are defaults
    return sections, jobs


def size_of(number):
    """A number of fio's as the size that it means: percent are counted downwards from 2^64."""
    return {"bytes": 0, "percent": 2**64 - 1 - number} if number >= 2**64 - 101 else {"bytes": number, "percent": 0}


def distribution_of(text):
    """Kind and parameter, with fio's own parameters (FIO_DEF_ZIPF and FIO_DEF_PARETO) where none is given."""
    kind, _, parameter = text.partition(":")
    default = {"random": 0, "zipf": 1.1, "pareto": 0.2}[kind]
    return ["random", "zipf", "pareto"].index(kind), round(float(parameter or default) * 1_000_000)


def expected_of(section, job, group_before):
    """A job of ours as fio's log has it; and fio's sizes, rounded, apart."""
    name, group, rw, *sizes, iodepth = job
    numbers, depth = section.numbers, int(iodepth)
    expected = {"name": name, "rw": rw, "iodepth": depth, "new_group": int(group) != group_before}
    for option, default in {
        "rwmixread": 50, "randseed": 0, "number_ios": 0, "runtime": 0, "ramp_time": 0, "thinktime": 0, "numjobs": 1,
        "fsync": 0, "fdatasync": 0, "do_verify": 1, "stonewall": 0, "group_reporting": 0, "hipri": 0,
    }.items():  # fmt: skip
        expected[option] = numbers.get(option, default)
    for option in ("size", "offset", "io_size"):
        expected[option] = size_of(numbers.get(option, 0))
    expected["loops"] = numbers.get("loops", 1) or 1
    expected["time_based"] = int(bool(numbers.get("time_based", 0) and numbers.get("runtime", 0)))
    batch = numbers.get("iodepth_batch", 1)
    expected["iodepth_batch_submit"] = batch if 0 < batch < depth else depth
    expected["iodepth_batch_complete_min"] = min(numbers.get("iodepth_batch_complete_min", 1), depth)
    expected["rate_iops"] = section.lists.get("rate_iops", [0, 0, 0])
    expected["blockalign"] = section.lists.get("ba", [0, 0, 0]) if rw.startswith("rand") else [0, 0, 0]
    kind, parameter = distribution_of(section.texts.get("random_distribution", "random"))
    expected["distribution"], expected["parameter"] = kind, parameter
    smallest = [bytes_of(size) for size in sizes[::2]]
    aligned = any(align not in (0, size) for align, size in zip(expected["blockalign"], smallest))
    expected["norandommap"] = int(bool(numbers.get("norandommap", 0) or kind or aligned))
    expected["verify"] = int(section.texts.get("verify", "0") != "0")
    expected["percentile_list"] = sorted(section.percentiles)
    expected["filenames"] = section.files
    expected["cpus_allowed"] = section.harts
    return expected, smallest, [bytes_of(size) for size in sizes[1::2]]


def compare(path, ours, directory):
    """Every job of a file that both take."""
    log, complaints = ask_fio(path, directory, "--debug=parse,file")
    sections, jobs = read_log(log)
    if ours["refused"] or NO_FILE not in complaints:
        COMPLAINTS.append(f"{path.name}: we say {ours['refused']}, fio says {complaints}")
        return 0
    if not len(jobs) == len(sections) == len(ours["jobs"]):
        COMPLAINTS.append(f"{path.name}: {len(ours['jobs'])} jobs of ours, {len(jobs)} of fio's")
        return 0
    group = 0
    for number, (section, job, our) in enumerate(zip(sections, jobs, ours["jobs"])):
        expected, smallest, largest = expected_of(section, job, group)
        group = int(job[1])
        our["new_group"] = bool(our["stonewall"]) and number != 0
        found = {name: our[name] for name in expected}
        for name, value in expected.items():
            if found[name] != value:
                COMPLAINTS.append(f"{path.name}, {our['name']}: {name} is {found[name]} and {value} of fio's")
        for i, sizes in enumerate(our["bs"]):
            for what, is_fio in (("smallest", smallest[i]), ("largest", largest[i])):
                if abs(sizes[what] - is_fio) > is_fio / 1000:
                    COMPLAINTS.append(f"{path.name}, {our['name']}: {what} of {i} is {sizes[what]} and {is_fio} of fio's")
    if complaints.count("time_based requires") != ours["notes"].count("time_based changes nothing"):
        COMPLAINTS.append(f"{path.name}: {ours['notes']}, and fio says {complaints}")
    turned_off = [
        our for our in ours["jobs"]
        if our["norandommap"] and not our["distribution"] and ["norandommap", ""] not in our["options"]
    ]  # fmt: skip
    if complaints.count("turns off randommap") != len(turned_off):
        COMPLAINTS.append(f"{path.name}: {len(turned_off)} random maps turned off, and fio says {complaints}")
    return len(jobs)


def compare_shares(dump, directory):
    """The sizes of requests that fio makes of bssplit, against the shares that we have."""
    even = ":".join(f"{number}k/" for number in range(1, 14))
    for split in ("4k/50:1k/:32k/", "4k:8k:16k", "4k/100:512/", "64k/10:32k/90", even, "4k/30:8k/30:2k/:1k/:512/"):
        path = directory / "shares.fio"
        path.write_text(
            f"[a]\nrw=randread\nioengine=null\nsize=100g\nnumber_ios=40000\nnorandommap\nbssplit={split}\n"
            "write_iolog=shares.log\n"
        )
        (directory / "shares.log").unlink(missing_ok=True)  # fio adds to it
        subprocess.run(["fio", str(path)], cwd=directory, capture_output=True, check=True, timeout=60)
        lines = [line.split() for line in (directory / "shares.log").read_text().splitlines()]
        seen = collections.Counter(int(fields[-1]) for fields in lines if "read" in fields)
        path.write_text(f"[a]\nbssplit={split}\n")
        ours = ask_us(dump, [path])[0]["jobs"][0]["bs"][0]["shares"]
        total = sum(seen.values())
        if total < 40000 or set(seen) - {size for size, _ in ours}:
            COMPLAINTS.append(f"bssplit={split}: fio made {dict(seen)}")
        for size, percent in ours:
            if abs(100 * seen[size] / total - percent) > 1.2:
                COMPLAINTS.append(f"bssplit={split}: {size} has {100 * seen[size] / total:.1f} %, and {percent} of ours")


def compare_names(dump, directory):
    """No option that fio has is called unknown."""
    engines = subprocess.run(["fio", "--enghelp"], capture_output=True, text=True, check=False).stdout.split(":")[1].split()
    asked = ["--cmdhelp=all", *(f"--enghelp={engine}" for engine in engines)]
    helps = [subprocess.run(["fio", what], capture_output=True, text=True, check=False).stdout for what in asked]
    names = sorted(set(re.findall(r"^ *([a-z][a-z0-9_-]*) *:", "".join(helps), re.MULTILINE)))
    paths = []
    for number, name in enumerate(names):
        paths.append(directory / f"name{number}.fio")
        paths[-1].write_text(f"[a]\n{name}=?\n")
    for name, ours in zip(names, ask_us(dump, paths)):
        if ours["refused"] and ("is unknown" in ours["refused"] or "is no option" in ours["refused"]):
            COMPLAINTS.append(f"{name} is an option of fio, and we say {ours['refused']}")
    if len(names) < 200:
        COMPLAINTS.append(f"fio named only {len(names)} options")


def main():
    """The exit status."""
    dump = sys.argv[1]
    files = sorted(JOBS.glob("*.fio"))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        jobs = sum(compare(path, ours, directory) for path, ours in zip(files, ask_us(dump, files)))
        lines = [(line, False, False) for line in REFUSED]
        lines += [(line, True, False) for line in REFUSED_HERE] + [(line, False, True) for line in TAKEN_HERE]
        paths = []
        for number, (line, _, _) in enumerate(lines):
            paths.append(directory / f"line{number}.fio")
            paths[-1].write_text(f"[a]\n{line}\n")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            theirs = list(pool.map(lambda path: takes(path, directory), paths))
        for taken, ours, (line, fio_takes, we_take) in zip(theirs, ask_us(dump, paths), lines):
            if taken != fio_takes:
                COMPLAINTS.append(f"{line!r}: fio {'refuses' if fio_takes else 'takes'} it")
            if (ours["refused"] is None) != we_take:
                COMPLAINTS.append(f"{line!r}: we say {ours['refused']}")
        compare_shares(dump, directory)
        compare_names(dump, directory)
    print("\n".join(COMPLAINTS) or f"{jobs} jobs of {len(files)} files, and {len(lines)} lines, are as fio has them")
    return 1 if COMPLAINTS else 0


if __name__ == "__main__":
    sys.exit(main())
