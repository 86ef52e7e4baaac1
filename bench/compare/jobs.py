"""fio's job files, as far as the comparison needs them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from values import Refusal

# Options that limit a job. JobFile.alone() replaces them by a number of requests.
_DURATION = {"time_based", "runtime", "ramp_time", "number_ios", "io_size", "io_limit", "loops"}
# Options that order jobs, which have no meaning for one job alone.
_ORDER = {"stonewall", "wait_for", "startdelay", "new_group"}


@dataclass(frozen=True)
class JobFile:
    """The options of [global], and of each job."""

    common: Mapping[str, str]
    jobs: Mapping[str, Mapping[str, str]]

    def options(self, job: str) -> dict[str, str]:
        """The effective options of the job."""
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
        """A job file of this job only, with a number of requests instead of a duration."""
        kept = {key: value for key, value in self.options(job).items() if key not in _DURATION | _ORDER}
        lines = [f"{key}={value}" if value else key for key, value in kept.items()]
        return "\n".join([f"[{job}]", *lines, f"number_ios={requests}", ""])


def parse(text: str, name: str) -> JobFile:
    """Parses a job file. It may have one [global], before all jobs; others are refused."""
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
                raise Refusal(f"{name}:{number}: '{line}' is in no section; begin with [global] or [a name]")
            key, _, value = line.partition("=")
            section[key.strip()] = value.strip()
        elif header[1] == "global":
            if common or jobs:
                raise Refusal(f"{name}:{number}: only one [global] is supported, before all jobs")
            section = common
        elif header[1] in jobs or re.search(r"[^\w.+-]", header[1]):
            raise Refusal(f"{name}:{number}: give every job a name of its own, of letters, digits and dashes")
        else:
            section = jobs[header[1]] = {}
    if not jobs:
        raise Refusal(f"{name}: the file has no job")
    return JobFile(common, jobs)
