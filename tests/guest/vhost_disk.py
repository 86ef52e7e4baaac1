"""A disk of our own behind QEMU, by the vhost-user protocol, for what no disk of QEMU's does. It answers GET_ID as it is told
to, or never, and reads as zeroes. One queue, no EVENT_IDX, no indirect descriptors.
"""

import array
import mmap
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# VHOST_USER_*: the requests that QEMU makes.
GET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 1, 5, 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL_FEATURES, GET_CONFIG = 12, 13, 15, 24
VERSION, REPLY, NEED_REPLY = 1, 1 << 2, 1 << 3
HAS_CONFIG, HAS_REPLY_ACK, HAS_PROTOCOL_FEATURES, VERSION_1 = 1 << 9, 1 << 3, 1 << 30, 1 << 32

IN, GET_ID = 0, 8
OK, UNSUPPORTED = 0, 2
NEXT = 1

Answer = Callable[[], tuple[int, bytes] | None]  # status and serial number; None: no answer, ever


@dataclass
class _Queue:
    size: int = 0
    addresses: dict[str, int] = field(default_factory=dict)  # in QEMU's address space
    next: int = 0
    kick: int | None = None
    call: int | None = None


class VhostDisk:
    """Listens at `path` from its making on, for one machine; lives on a thread until stop().

    The length in each used element is smaller by `short_by` than what was written: some devices forget the status byte.
    """

    def __init__(self, path: Path, sectors: int, answer: Answer, short_by: int = 0) -> None:
        self._sectors = sectors
        self._answer = answer
        self._short_by = short_by
        self._regions: list[tuple[int, int, int, mmap.mmap, int]] = []  # guest address, size, QEMU's address, memory, offset
        self._queue = _Queue()
        self.asked = 0  # requests of the type GET_ID
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, also if no machine has come."""
        os.close(self._end)
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        if self._listener not in select.select([self._listener, self._ended], [], [])[0]:
            return
        with self._listener.accept()[0] as machine:
            while True:
                waits = [machine, self._ended, *([] if self._queue.kick is None else [self._queue.kick])]
                ready = select.select(waits, [], [])[0]
                if self._ended in ready or (machine in ready and not self._serve(machine)):
                    return
                if self._queue.kick in ready:
                    os.read(self._queue.kick, 8)
                    self._work()

    def _serve(self, machine: socket.socket) -> bool:
        """One message of QEMU; false at the end."""
        header, files, _, _ = socket.recv_fds(machine, 12, 8)
        if len(header) < 12:
            return False
        request, flags, size = struct.unpack("<III", header)
        body = machine.recv(size, socket.MSG_WAITALL) if size else b""
        answer = self._do(request, body, files)
        if answer is None and flags & NEED_REPLY:
            answer = struct.pack("<Q", 0)
        if answer is not None:
            machine.sendall(struct.pack("<III", request, VERSION | REPLY, len(answer)) + answer)
        return True

    def _do(self, request: int, body: bytes, files: list[int]) -> bytes | None:
        queue = self._queue
        if request == GET_FEATURES:
            return struct.pack("<Q", VERSION_1 | HAS_PROTOCOL_FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", HAS_CONFIG | HAS_REPLY_ACK)
        if request == GET_CONFIG:
            offset, size = struct.unpack_from("<II", body)
            return body[:12] + struct.pack("<Q", self._sectors).ljust(512, b"\0")[offset : offset + size]
        if request == SET_MEM_TABLE:
            self._regions = []
            for index, file in enumerate(files):
                guest, size, qemu, offset = struct.unpack_from("<QQQQ", body, 8 + 32 * index)
                self._regions.append((guest, size, qemu, mmap.mmap(file, size + offset), offset))
                os.close(file)
        elif request == SET_VRING_NUM:
            queue.size = struct.unpack_from("<II", body)[1]
        elif request == SET_VRING_BASE:
            queue.next = struct.unpack_from("<II", body)[1]
        elif request == SET_VRING_ADDR:
            queue.addresses = dict(zip(("descriptors", "used", "available"), struct.unpack_from("<QQQ", body, 8)))
        elif request == SET_VRING_KICK:
            queue.kick = files[0] if files else None
        elif request == SET_VRING_CALL:
            queue.call = files[0] if files else None
        elif request == GET_VRING_BASE:
            queue.kick = None
            return body[:4] + struct.pack("<I", queue.next)
        return None

    def _at(self, address: int, of_qemu: bool = False) -> tuple[mmap.mmap, int]:
        for guest, size, qemu, memory, offset in self._regions:
            begin = qemu if of_qemu else guest
            if begin <= address < begin + size:
                return memory, address - begin + offset
        raise ValueError(f"no memory at {address:#x}")

    def _work(self) -> None:
        queue = self._queue
        available, available_at = self._at(queue.addresses["available"], of_qemu=True)
        used, used_at = self._at(queue.addresses["used"], of_qemu=True)
        while struct.unpack_from("<H", available, available_at + 2)[0] != queue.next & 0xFFFF:
            head = struct.unpack_from("<H", available, available_at + 4 + 2 * (queue.next % queue.size))[0]
            queue.next += 1
            written = self._request(head)
            if written is None:
                continue
            index = struct.unpack_from("<H", used, used_at + 2)[0]
            struct.pack_into("<II", used, used_at + 4 + 8 * (index % queue.size), head, written - self._short_by)
            struct.pack_into("<H", used, used_at + 2, (index + 1) & 0xFFFF)
            if queue.call is not None:
                os.write(queue.call, struct.pack("<Q", 1))

    def _request(self, head: int) -> int | None:
        """The bytes written into one request; None if it is never to be answered."""
        table, table_at = self._at(self._queue.addresses["descriptors"], of_qemu=True)
        parts = []
        while True:
            address, length, flags, following = struct.unpack_from("<QIHH", table, table_at + 16 * head)
            parts.append((*self._at(address), length))
            if not flags & NEXT:
                break
            head = following
        header, *data, (status_memory, status_at, _) = parts
        kind = struct.unpack_from("<I", header[0], header[1])[0]
        status, contents = (OK, b"") if kind == IN else (UNSUPPORTED, b"")
        if kind == GET_ID:
            self.asked += 1
            answer = self._answer()
            if answer is None:
                return None
            status, contents = answer
        written = 1
        for memory, at, length in data if kind in (IN, GET_ID) else []:
            memory[at : at + length] = contents.ljust(length, b"\0")[:length]
            written += length
        status_memory[status_at] = status
        return written
