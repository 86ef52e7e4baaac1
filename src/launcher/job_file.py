"""The jobs of `bench` on their way to the guest: a fio job file, or the options of one job on the command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from values import Refusal

TOO_LARGE = 1 << 20
# What fio takes without a value, so that no word after it belongs to it.
FLAGS = (
    "group_reporting", "hipri", "new_group", "norandommap", "stonewall", "thread", "time_based", "wait_for_previous",
)  # fmt: skip
READING = ("read", "randread")
EXAMPLE = "./run bench JOB.fio, or one job in words: ./run bench --rw=randread --bs=4k --iodepth=32"

JobOption = tuple[str, str | None]  # key, and value if it has one


@dataclass(frozen=True)
class JobFile:
    """The text of a job file. `path` is None if `./run` has to make the file."""

    text: str
    path: Path | None

    def location(self, directory: Path) -> Path:
        """Where QEMU finds the file; `directory` is that of this run."""
        return self.path or directory / "job.fio"

    def writes(self) -> bool:
        """Whether a job may change the contents of its disk, by a plain look: all that is not known to read."""
        pairs = (line.partition("=") for line in _lines(self.text))
        patterns = [value.strip() for key, _, value in pairs if key.strip().lower() in ("rw", "readwrite")]
        return any(pattern not in READING for pattern in patterns)

    def global_options(self) -> dict[str, str]:
        """What the [global] sections say, for all jobs."""
        options: dict[str, str] = {}
        section = ""
        for line in _lines(self.text):
            if line.startswith("["):
                section = line
            elif section == "[global]":
                key, _, value = line.partition("=")
                options[key.strip()] = value.strip()
        return options


def read(name: str) -> JobFile:
    """The job file of this name, as it is: what it means is for the guest to say."""
    what = f"bench {name}"
    path = Path(name)
    try:
        if path.exists() and not path.is_file():
            raise Refusal(f"{what}: this is no file; give a fio job file")
        with open(path, "rb") as file:
            data = file.read(TOO_LARGE)
    except FileNotFoundError as error:
        raise Refusal(f"{what}: there is no such file; give a fio job file") from error
    except (OSError, ValueError) as error:
        raise Refusal(f"{what}: may not be read ({error}); give a fio job file") from error
    if not data.strip():
        raise Refusal(f"{what}: the file is empty; a job is a line [name] and lines such as rw=randread")
    if len(data) == TOO_LARGE:
        raise Refusal(f"{what}: 1M or more is too large for a job file")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if re.search(r"[\0-\x08\x0e-\x1f]", text):
        raise Refusal(f"{what}: this is no text; give a fio job file")
    return JobFile(text, path)


def from_options(options: Sequence[JobOption]) -> JobFile:
    """The file of one job whose options stood on the command line; without a value, an option is a switch."""
    names = [value for key, value in options if key == "name"]
    if len(names) > 1:
        raise Refusal("--name: one job fits the command line; several are sections of a job file: ./run bench JOB.fio")
    name = names[0] if names else "job"
    if name is None or re.fullmatch(r"[^\[\]\s][^\[\]\r\n]*", name) is None or name == "global":
        raise Refusal(f"--name: '{name or ''}' cannot name a job; give a word")
    lines = [f"[{name}]"]
    for key, value in options:
        if value is not None and not value.isprintable():
            raise Refusal(f"--{key}: a value is one line of text")
        if key != "name":
            lines.append(key if value is None else f"{key}={value}")
    return JobFile("\n".join(lines) + "\n", None)


def _lines(text: str) -> list[str]:
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and line[0] not in "#;"]
