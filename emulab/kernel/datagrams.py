"""Many datagrams a system call (recvmmsg(2), sendmmsg(2)), which Python has no word for.

A batch has a place for each of some datagrams: what came, and from whom. An answer is written over what it answers, so
that it goes where that came from without anybody having to know where that is.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from array import array

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_LIBC.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_SOCKADDR = 28  # struct sockaddr_in6


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr, which is padded to whole words."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.c_void_p),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr: a header, and the length of what came or went."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class DatagramBatch:
    """The datagrams of one socket that are read at once. Datagram number i begins at `i * size` of `octets`."""

    def __init__(self, sock: socket.socket, count: int, size: int) -> None:
        self.size = size
        self._fd, self._inet6, self._count = sock.fileno(), sock.family == socket.AF_INET6, count
        self.octets = bytearray(count * size)
        self._names = bytearray(count * _SOCKADDR)
        octets, names = _address(self.octets), _address(self._names)
        self._vectors, self._messages = (_IoVector * count)(), (_Message * count)()
        for i in range(count):
            self._vectors[i] = _IoVector(octets + i * size, size)
            vector = ctypes.addressof(self._vectors) + i * ctypes.sizeof(_IoVector)
            self._messages[i] = _Message(_Header(names + i * _SOCKADDR, _SOCKADDR, vector, 1))
        self._at = ctypes.addressof(self._messages)
        self._step = ctypes.sizeof(_Message)
        words = memoryview(self._messages).cast("B").cast("I")
        self._lengths = words[_Message.length.offset // 4 :: self._step // 4]
        self._sizes = memoryview(self._vectors).cast("B").cast("L")[1::2]
        self._whole = memoryview(array("L", [size] * count))
        self._received = 0

    def receive(self) -> list[int]:
        """Reads what is there, without waiting. The length of each datagram. Raises OSError."""
        if self._received:
            self._sizes[: self._received] = self._whole[: self._received]
        self._received = 0
        found = _LIBC.recvmmsg(self._fd, self._at, self._count, socket.MSG_DONTWAIT, None)
        if found < 0:
            raise _failure()
        self._received = found
        return self._lengths[:found].tolist()

    def write(self, number: int, answer: bytes) -> None:
        """Puts an answer in the place of datagram `number`."""
        at, length = number * self.size, len(answer)
        self.octets[at : at + length] = answer
        self._sizes[number] = length

    def write_rest(self, number: int, rest: bytes) -> None:
        """Puts an answer there but for its first two octets, which are those of what it answers."""
        at, end = number * self.size + 2, number * self.size + 2 + len(rest)
        self.octets[at:end] = rest
        self._sizes[number] = len(rest) + 2

    def host(self, number: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """From whom datagram `number` came, as sockets have it."""
        at = number * _SOCKADDR
        name = self._names[at : at + _SOCKADDR]
        port = int.from_bytes(name[2:4], "big")
        if not self._inet6:
            return socket.inet_ntop(socket.AF_INET, name[4:8]), port
        scope = int.from_bytes(name[24:28], "little")
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, scope

    def address(self, number: int) -> bytes:
        """The octets of the address from which datagram `number` came."""
        at = number * _SOCKADDR
        return bytes(self._names[at + 8 : at + 24] if self._inet6 else self._names[at + 4 : at + 8])

    def send(self, first: int, end: int) -> None:
        """Sends what is in the places from `first` to before `end`. One that can't be sent is left out."""
        while first < end:
            sent = _LIBC.sendmmsg(self._fd, self._at + first * self._step, end - first, socket.MSG_DONTWAIT)
            first += sent if sent > 0 else 1


def _address(octets: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(octets)).from_buffer(octets))


def _failure() -> OSError:
    number = ctypes.get_errno() or errno.EIO
    return OSError(number, os.strerror(number))
