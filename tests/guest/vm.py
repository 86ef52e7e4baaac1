"""A machine that a test drives while it runs: its console, QEMU's monitor (QMP), and its memory through the GDB stub."""

import json
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from case import ROOT

PATIENCE = 60.0  # seconds for anything; a loaded machine is slow


class Broken(Exception):
    """The machine did not do what the test expects; the words say what."""


class Monitor:
    """QMP over a connected socket. Events are kept until somebody asks for them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(PATIENCE)
        self._file = connection.makefile("r", encoding="utf-8")
        self.events: list[dict[str, Any]] = []
        self._next()  # the greeting
        self.do("qmp_capabilities")

    def _next(self) -> dict[str, Any]:
        try:
            line = self._file.readline()
        except TimeoutError as error:
            raise Broken(f"QEMU's monitor said nothing for {PATIENCE:g} s") from error
        except ConnectionError:
            line = ""
        if not line:
            raise Broken("QEMU closed its monitor")
        message: dict[str, Any] = json.loads(line)
        return message

    def do(self, command: str, **arguments: Any) -> Any:
        """Executes a command; what it returns. Underscores in names of arguments are hyphens."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in arguments.items()}
        self._connection.sendall(json.dumps({"execute": command, "arguments": named}).encode() + b"\n")
        while True:
            message = self._next()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise Broken(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def human(self, line: str) -> str:
        """Executes a line of the monitor for humans; what it prints."""
        return str(self.do("human-monitor-command", command_line=line))

    def await_event(self, name: str, patience: float = PATIENCE, **data: Any) -> dict[str, Any]:
        """The next event of that name with that data; it is taken out. Raises TimeoutError if it does not come."""
        until = time.monotonic() + patience
        while True:
            for event in self.events:
                found = event.get("data", {})
                if event["event"] == name and all(found.get(key) == value for key, value in data.items()):
                    self.events.remove(event)
                    return event
            if time.monotonic() > until:
                raise TimeoutError(f"QEMU did not say {name} {data}; it said {[event['event'] for event in self.events]}")
            # A command that does nothing brings the events that came before it.
            self.do("query-status")
            time.sleep(0.005)

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()
        self._connection.close()


class Memory:
    """The physical memory of a stopped machine, device registers included, through QEMU's GDB stub."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(PATIENCE)
        self._buffer = b""
        self._ask("qSupported")
        if self._ask("Qqemu.PhyMemMode:1") != "OK":
            raise Broken("QEMU's GDB stub does not give physical memory")

    def _packet(self) -> str:
        while True:
            start = self._buffer.find(b"$")
            end = self._buffer.find(b"#", start)
            if start >= 0 and 0 <= end <= len(self._buffer) - 3:
                payload, self._buffer = self._buffer[start + 1 : end], self._buffer[end + 3 :]
                self._connection.sendall(b"+")
                return payload.decode("latin-1")
            data = self._connection.recv(1 << 16)
            if not data:
                raise Broken("QEMU closed its GDB stub")
            self._buffer += data

    def _ask(self, packet: str) -> str:
        self._connection.sendall(f"${packet}#{sum(packet.encode()) & 0xFF:02x}".encode())
        while True:
            answer = self._packet()
            if not answer.startswith("T"):  # a stop that was to be told
                return answer

    def read(self, address: int, length: int) -> bytes:
        """Reads bytes."""
        answer = self._ask(f"m{address:x},{length:x}")
        if answer.startswith("E"):
            raise Broken(f"{length} bytes at {address:#x} cannot be read: {answer}")
        return bytes.fromhex(answer)

    def write(self, address: int, data: bytes) -> None:
        """Writes bytes."""
        if self._ask(f"M{address:x},{len(data):x}:{data.hex()}") != "OK":
            raise Broken(f"{len(data)} bytes at {address:#x} cannot be written")

    def close(self) -> None:
        """Ends the connection; the machine stays as it is."""
        self._connection.close()


class Machine:
    """One QEMU with the kernel, from its start to its end. A context manager: it never outlives its block."""

    def __init__(
        self, words: Sequence[str], directory: Path, more: Sequence[str] = (), gdb: bool = False, log: str = "console",
        apart: bool = False,
    ) -> None:  # fmt: skip
        """Starts the command `words` of QEMU with more words behind it, in a directory. What the console says goes into
        the file `log` there, too. `apart`: what QEMU itself says goes into another, and does not cut the console's lines."""
        self.lines: list[str] = []
        self._new_lines: queue.Queue[str | None] = queue.Queue()
        self._log = open(directory / log, "a", encoding="utf-8")
        monitor, its_monitor = socket.socketpair()
        stub, its_stub = socket.socketpair()
        command = [*words, "-chardev", f"socket,id=monitor,fd={its_monitor.fileno()}"]
        command += ["-mon", "chardev=monitor,mode=control", *more]
        if gdb:
            command += ["-chardev", f"socket,id=gdb,fd={its_stub.fileno()}", "-gdb", "chardev:gdb"]
        self.command = command
        self._log.write(f"$ {shlex.join(command)}\n")
        self._log.flush()
        with open(directory / f"{log}.qemu" if apart else os.devnull, "ab") as complaints:
            self.process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=complaints if apart else subprocess.STDOUT,
                pass_fds=(its_monitor.fileno(), its_stub.fileno()), start_new_session=True,
            )  # fmt: skip
        its_monitor.close()
        its_stub.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.monitor = Monitor(monitor)
            self._stub: socket.socket | None = stub
            self._memory: Memory | None = None
            if not gdb:
                stub.close()
                self._stub = None
        except Broken as error:
            self.stop()
            raise Broken(f"{error}: {' '.join(self.lines[-3:])}") from error

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            self._log.write(line + "\n")
            self._log.flush()
            self.lines.append(line)
            self._new_lines.put(line)
        self._new_lines.put(None)

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def memory(self) -> Memory:
        """Only while the machine is stopped."""
        if self._memory is None:
            assert self._stub is not None
            self._memory = Memory(self._stub)
        return self._memory

    def await_line(self, beginning: str, patience: float = PATIENCE) -> str:
        """The next line that begins so. Lines before it are passed over, but a complaint of the kernel is not."""
        until = time.monotonic() + patience
        while True:
            try:
                line = self._new_lines.get(timeout=max(until - time.monotonic(), 0.001))
            except queue.Empty:
                raise Broken(f"no line '{beginning}…' within {patience:g} s; the last was {self.lines[-1:]}") from None
            if line is None:
                raise Broken(f"QEMU ended before the line '{beginning}…'; the last were {self.lines[-3:]}")
            if line.startswith(beginning):
                return line
            if line.startswith(("error: ", "panic: ")):
                raise Broken(f"the kernel says: {line}")

    def says_nothing_like(self, beginning: str, seconds: float) -> None:
        """Waits so long, and holds it against the machine if it says such a line meanwhile."""
        time.sleep(seconds)
        while not self._new_lines.empty():
            line = self._new_lines.get()
            if line is not None and line.startswith(beginning):
                raise Broken(f"unexpected: {line}")

    def type(self, line: str) -> None:
        """Types a line on the console."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def results(self) -> list[dict[str, Any]]:
        """What the guest reported so far."""
        return [json.loads(line.removeprefix("@result ")) for line in self.lines if line.startswith("@result ")]

    def await_end(self, patience: float = PATIENCE) -> int:
        """Until QEMU has ended with the guest's verdict, which this returns."""
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Broken(f"QEMU did not end within {patience:g} s; the last lines are {self.lines[-3:]}") from None
        self._reader.join()
        return status

    def kill(self) -> None:
        """SIGKILL, and every line that was on its way."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join()

    def stop(self) -> None:
        """Ends QEMU, whatever it does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass
        if hasattr(self, "monitor"):
            self.monitor.close()
        if getattr(self, "_stub", None) is not None:
            self._stub.close()
        self._log.close()


def qemu_command(program: str, kernel: Path, qemu: str, *arguments: str) -> list[str]:
    """The command by which `./run` would boot the program: what is tested is what users run."""
    words = ["./run", program, "--dry-run", "--kernel", str(kernel), "--qemu", qemu, *arguments]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        raise Broken(f"{shlex.join(words)}: {told.stderr.strip()}")
    return shlex.split(told.stdout)


def qemu_release(qemu: str) -> tuple[int, ...]:
    """Such as (7, 2, 22)."""
    told = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in told.split("version ")[1].split()[0].split("."))


def backports_qemu() -> str:
    """The path of the QEMU of the distribution's backports, fetched if need be."""
    sys.path[:0] = [str(ROOT / "bench" / "compare"), str(ROOT / "src" / "launcher")]
    import backports

    programs = backports.qemu(ROOT / "build" / "compare", print)
    return str(programs / "qemu-system-riscv64")
