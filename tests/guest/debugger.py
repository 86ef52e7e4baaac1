"""A debugger's connection to a QEMU that runs: what a test does to a guest that does not know of it."""

import socket
import time
from pathlib import Path
from types import TracebackType

PATIENCE = 20  # seconds for one answer
TP, PC = 4, 32  # numbers of registers


class Debugger:
    """Speaks the remote protocol of GDB. The guest stands still from the connection on, until `resume`."""

    def __init__(self, place: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(place))
        self._received = b""
        self._send("?")
        self._receive(stop=True)
        self.ask("qXfer:features:read:target.xml:0,100")  # before that, QEMU tells no single register

    def __enter__(self) -> "Debugger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, text: str) -> str:
        """Sends a packet and returns the answer."""
        self._send(text)
        return self._receive(stop=False)

    def resume(self) -> None:
        """Lets the guest run on."""
        self._send("c")

    def stop(self) -> None:
        """Stops the guest again."""
        self._socket.sendall(b"\x03")
        self._receive(stop=True)

    def register(self, hart: int, number: int) -> int:
        """A register of a hart, by QEMU's number of it."""
        self._select(hart)
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")

    def set_register(self, hart: int, number: int, value: int) -> None:
        """Changes it."""
        self._select(hart)
        self._succeed(f"P{number:x}={value.to_bytes(8, 'little').hex()}")

    def write(self, address: int, data: bytes) -> None:
        """Writes to memory, read-only memory included."""
        self._succeed(f"M{address:x},{len(data):x}:{data.hex()}")

    def _select(self, hart: int) -> None:
        self._succeed(f"Hg{hart + 1:x}")

    def _succeed(self, text: str) -> None:
        answer = self.ask(text)
        if answer != "OK":
            raise RuntimeError(f"QEMU refuses {text}: {answer}")

    def _send(self, text: str) -> None:
        data = text.encode()
        self._socket.sendall(b"$" + data + b"#%02x" % (sum(data) % 256))

    def _receive(self, stop: bool) -> str:
        """The next packet that says that the guest has stopped, which may come more than once; or the next other one."""
        while True:
            begin = self._received.find(b"$")
            end = self._received.find(b"#", begin)
            if begin >= 0 and end >= 0 and len(self._received) >= end + 3:
                text = self._received[begin + 1 : end]
                self._received = self._received[end + 3 :]
                self._socket.sendall(b"+")
                if text.startswith((b"T", b"S")) == stop:
                    return text.decode()
                continue
            more = self._socket.recv(1 << 16)
            if not more:
                raise RuntimeError("QEMU has ended")
            self._received += more


def connect(place: Path) -> Debugger:
    """Connects as soon as there is something to connect to."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return Debugger(place)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
