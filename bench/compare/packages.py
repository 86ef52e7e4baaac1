"""Packages of the distribution for another architecture or suite. apt fetches them from the mirror that this machine
uses, and checks them against the keys it trusts. They are unpacked, not installed, so no root is needed."""

import os
import pwd
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from values import Refusal

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
_PATIENCE = 900.0  # seconds for one call of apt


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources. The options are its fields about trusting the mirror, by their deb822 names."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def deb822(self, architecture: str) -> str:
        """The entry in the format of .sources files."""
        fields = [("Types", "deb"), ("URIs", self.uri), ("Suites", self.suite), ("Components", "main")]
        fields += [("Architectures", architecture), *self.options]
        return "".join(f"{key}: {value}\n" for key, value in fields) + "\n"


# Options of the one-line format, and the deb822 fields with the same meaning.
_TRUST = {"signed-by": "Signed-By", "trusted": "Trusted", "check-valid-until": "Check-Valid-Until"}


def parse_sources(text: str) -> Iterator[Source]:
    """The binary sources in a file of apt sources, of either format."""
    if not re.search(r"^Types:", text, re.MULTILINE | re.IGNORECASE):
        for line in text.splitlines():
            match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
            if match is None:
                continue
            pairs = [word.partition("=") for word in (match[1] or "").split()]
            options = tuple((_TRUST[key], value) for key, _, value in pairs if key in _TRUST)
            yield Source(match[2], match[3], tuple(match[4].split()), options)
        return
    for paragraph in re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)):
        # A field continues in lines that begin with a blank: Signed-By may contain a whole key.
        parts = re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        fields = {key.lower(): value.strip() for key, value in parts}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        options = tuple((name, fields[key]) for key, name in _TRUST.items() if key in fields)
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()), options)


def host_codename() -> str:
    """The name of the release that this machine runs, such as bookworm."""
    match = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise Refusal("this system does not say which release of Debian it is (/etc/os-release)")
    return match[1]


def host_mirror() -> Source:
    """The mirror of this machine's own release."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Refusal(f"the guest is made from Debian's packages, and there is no {tool} here")
    codename = host_codename()
    files = [_SOURCES[0], *sorted(_SOURCES[1].glob("*.list")), *sorted(_SOURCES[1].glob("*.sources"))]
    for file in files:
        if file.is_file():
            for source in parse_sources(file.read_text(encoding="utf-8")):
                if source.suite == codename and "main" in source.components:
                    return source
    raise Refusal(f"apt's sources name no mirror of {codename} main; the guest's packages come from there")


@dataclass(frozen=True)
class Repository:
    """Suites for one architecture, with lists and state of their own in `directory`."""

    directory: Path
    architecture: str
    suites: tuple[str, ...]
    knows_installed: bool  # whether packages that this machine has installed count as present

    def update(self) -> None:
        """Fetches the package lists."""
        state = self.directory / "apt"
        for needed in ("state/lists/partial", "cache/archives/partial"):
            (state / needed).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        mirror = host_mirror()
        if not mirror.options:
            mirror = replace(mirror, options=(("Signed-By", str(KEYRING)),))
        entries = "".join(replace(mirror, suite=suite).deb822(self.architecture) for suite in self.suites)
        (state / "mirror.sources").write_text(entries, encoding="utf-8")
        settings = {
            "Dir::State": state / "state",
            "Dir::State::Status": "/var/lib/dpkg/status" if self.knows_installed else state / "status",
            "Dir::Cache": state / "cache",
            "Dir::Etc::SourceList": state / "mirror.sources",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Architecture": self.architecture,
            "APT::Sandbox::User": pwd.getpwuid(os.geteuid()).pw_name,
        }
        text = "".join(f'{key} "{value}";\n' for key, value in settings.items())
        text += f'APT::Architectures {{ "{self.architecture}"; }};\n'
        (state / "apt.conf").write_text(text, encoding="utf-8")
        self._apt("update", "-q", "-oAPT::Update::Error-Mode=any")

    def closure(self, names: Sequence[str]) -> dict[str, str]:
        """The packages that an installation would fetch, including dependencies, and their versions."""
        suite = ["-t", self.suites[0]]
        listed = self._apt("install", "--print-uris", "-y", "-qq", "--no-install-recommends", *suite, *names)
        return parse_uris(listed)

    def fetch(self, versions: Mapping[str, str]) -> list[Path]:
        """Downloads the packages into the directory; apt checks their checksums."""
        place = self.directory / "packages"
        place.mkdir(exist_ok=True)
        self._apt("download", "-q", *(f"{name}={version}" for name, version in versions.items()), cwd=place)
        return sorted(place.glob("*.deb"))

    def _apt(self, *words: str, cwd: Path | None = None) -> str:
        environment = os.environ | {"APT_CONFIG": str(self.directory / "apt" / "apt.conf"), "LC_ALL": "C"}
        try:
            ended = subprocess.run(
                ["apt-get", *words],
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise Refusal(f"apt-get {words[0]} did not end within {_PATIENCE:.0f} s; is the mirror up?") from error
        if ended.returncode != 0:
            raise Refusal(f"the packages cannot be fetched: apt-get {words[0]}: {apt_complaint(ended.stderr)}")
        return ended.stdout


def apt_complaint(said: str) -> str:
    """The decisive line of apt's messages, with a remedy if one is known."""
    complaints = [line[3:].strip() for line in said.splitlines() if line.startswith(("E: ", "W: "))]
    keys = next((line for line in complaints if "NO_PUBKEY" in line or "not signed" in line), None)
    if keys is not None:
        return f"{keys} (the package debian-archive-keyring is older than the suite: install a newer one)"
    return complaints[0] if complaints else "it failed without a message"


def parse_uris(listed: str) -> dict[str, str]:
    """The packages and their versions in the output of `apt-get --print-uris`."""
    files = re.finditer(r"^'[^']*' ([a-z0-9][a-z0-9+.-]*)_([^_\s]+)_\S+\.deb ", listed, re.MULTILINE)
    return {match[1]: urllib.parse.unquote(match[2]) for match in files}


def unpack(package: Path, place: Path) -> None:
    """Unpacks one package."""
    command = ["dpkg-deb", "-x", str(package), str(place)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if ended.returncode != 0:
        raise Refusal(f"{package} cannot be unpacked: {' '.join(ended.stderr.split())}")


def cached(directory: Path, assemble: Callable[[Path], None]) -> Path:
    """Returns the directory, made by `assemble` now or in an earlier run. An incomplete one never has this name."""
    if not directory.is_dir():
        half = directory.with_name(directory.name + ".half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        assemble(half)
        half.rename(directory)
    return directory


def host_architecture() -> str:
    """The package architecture of this machine."""
    ended = subprocess.run(["dpkg", "--print-architecture"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return ended.stdout.strip()
