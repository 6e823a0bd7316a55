"""Many datagrams a system call (recvmmsg(2), sendmmsg(2)), which Python has no word for.

A batch has a place for each of some datagrams: what came, and from whom. An answer is written over what it answers, so
that it goes where that came from without anybody having to know where that is.

Neither call waits, so both keep the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import socket
from array import array

_LIBC = ctypes.PyDLL(None)
_INT, _UINT, _POINTER = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
_receive = ctypes.PYFUNCTYPE(_INT, _INT, _POINTER, _UINT, _INT, _POINTER)(("recvmmsg", _LIBC))
_send = ctypes.PYFUNCTYPE(_INT, _INT, _POINTER, _UINT, _INT)(("sendmmsg", _LIBC))
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
        self._inet6 = sock.family == socket.AF_INET6
        self.octets = bytearray(count * size)
        self._names = bytearray(count * _SOCKADDR)
        octets, names = _address(self.octets), _address(self._names)
        self._vectors, self._messages = (_IoVector * count)(), (_Message * count)()
        for i in range(count):
            self._vectors[i] = _IoVector(octets + i * size, size)
            vector = ctypes.addressof(self._vectors) + i * ctypes.sizeof(_IoVector)
            self._messages[i] = _Message(_Header(names + i * _SOCKADDR, _SOCKADDR, vector, 1))
        at, step, length = ctypes.addressof(self._messages), ctypes.sizeof(_Message), _Message.length.offset
        self._fd, self._flags = sock.fileno(), socket.MSG_DONTWAIT
        self._at, self._step = at, step
        self._receiving = _INT(self._fd), _POINTER(at), _UINT(count), _INT(self._flags), None
        self.lengths = memoryview(self._messages).cast("B").cast("I")[length // 4 :: step // 4]
        self._sizes = memoryview(self._vectors).cast("B").cast("L")[1::2]
        self._whole = memoryview(array("L", [size] * count))
        self._received = 0

    def receive(self) -> int:
        """Reads what is there, without waiting: how many datagrams, which have these `lengths`. 0: none, or the socket
        has an error."""
        if self._received == 1:
            self._sizes[0] = self.size
        elif self._received:
            self._sizes[: self._received] = self._whole[: self._received]
        self._received = max(_receive(*self._receiving), 0)
        return self._received

    def write(self, number: int, answer: bytes) -> None:
        """Puts an answer in the place of datagram `number`."""
        at, length = number * self.size, len(answer)
        self.octets[at : at + length] = answer
        self._sizes[number] = length

    def write_rest(self, number: int, rest: bytes) -> None:
        """Puts an answer there but for its first two octets, which are those of what it answers."""
        at, length = number * self.size, len(rest) + 2
        self.octets[at + 2 : at + length] = rest
        self._sizes[number] = length

    def host(self, number: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """From whom datagram `number` came, as sockets have it."""
        at = number * _SOCKADDR
        name = self._names[at : at + _SOCKADDR]
        port = int.from_bytes(name[2:4], "big")
        if not self._inet6:
            return socket.inet_ntop(socket.AF_INET, name[4:8]), port
        scope = int.from_bytes(name[24:28], "little")
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, scope

    def send(self, first: int, end: int) -> None:
        """Sends what is in the places from `first` to before `end`. One that can't be sent is left out."""
        while first < end:
            sent = _send(self._fd, self._at + first * self._step, end - first, self._flags)
            first += sent if sent > 0 else 1


def _address(octets: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(octets)).from_buffer(octets))
