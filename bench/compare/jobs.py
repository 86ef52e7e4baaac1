"""fio's job files, as far as the comparison looks into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from values import Refusal

# What says how long a job takes, and so makes way for a number of requests.
_DURATION = {"time_based", "runtime", "ramp_time", "number_ios", "io_size", "io_limit", "loops"}
# What orders a job among others makes no sense alone.
_ORDER = {"stonewall", "wait_for", "startdelay", "new_group"}


@dataclass(frozen=True)
class JobFile:
    """The options of [global], and of each job."""

    common: Mapping[str, str]
    jobs: Mapping[str, Mapping[str, str]]

    def options(self, job: str) -> dict[str, str]:
        """What holds for the job."""
        return {**self.common, **self.jobs[job]}

    def writes(self) -> bool:
        """Whether a job changes the contents of the disk."""
        return any("read" != self.kind(job).removeprefix("rand") for job in self.jobs)

    def kind(self, job: str) -> str:
        """read, randwrite, …"""
        options = self.options(job)
        return options.get("rw", options.get("readwrite", "read")).split(":")[0]

    def depth(self, job: str) -> int:
        """How many requests the job keeps in flight."""
        return int(self.options(job).get("iodepth", "1"))

    def block_size(self, job: str) -> int:
        """Bytes in a request of the job."""
        options = self.options(job)
        match = re.fullmatch(r"([0-9]+)([kKmM]?)[bB]?", options.get("bs", options.get("blocksize", "4k")).split(",")[0])
        if match is None:
            raise Refusal(f"the job {job}: bs={options.get('bs')} is not understood; write it like 4k")
        return int(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20}[match[2].lower()]

    def alone(self, job: str, requests: int) -> str:
        """A job file of this job only, for a number of requests instead of a time."""
        kept = {key: value for key, value in self.options(job).items() if key not in _DURATION | _ORDER}
        lines = [f"{key}={value}" if value else key for key, value in kept.items()]
        return "\n".join([f"[{job}]", *lines, f"number_ios={requests}", ""])


def parse(text: str, name: str) -> JobFile:
    """Reads a job file. A [global] counts for the jobs behind it; more than one, or one behind a job, is refused."""
    common: dict[str, str] = {}
    jobs: dict[str, dict[str, str]] = {}
    section: dict[str, str] | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in ";#":
            continue
        header = re.fullmatch(r"\[([^\]]+)\]", line)
        if header is None:
            if section is None:
                raise Refusal(f"{name}:{number}: '{line}' stands in no section; begin with [global] or [a name]")
            key, _, value = line.partition("=")
            section[key.strip()] = value.strip()
        elif header[1] == "global":
            if common or jobs:
                raise Refusal(f"{name}:{number}: one [global] in front of all jobs is understood, no other")
            section = common
        elif header[1] in jobs or re.search(r"[^\w.+-]", header[1]):
            raise Refusal(f"{name}:{number}: give every job a name of its own, of letters, digits and dashes")
        else:
            section = jobs[header[1]] = {}
    if not jobs:
        raise Refusal(f"{name}: there is no job in it")
    return JobFile(common, jobs)
