"""Asking the kernel over netlink, telling it what to change, and reading what it answers.

A batch is one `send` of at most `CHUNK` messages. Only the last asks for an acknowledgement (NLM_F_ACK); the kernel
reports every error unasked, with the sequence number that tells whose it is, and goes on with the rest (RFC 3549,
section 2.3). A transaction of nfnetlink is one `send`, too, of which the kernel does all or nothing
(NFNL_MSG_BATCH_BEGIN … END, linux/netfilter/nfnetlink.h).
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.errors import KernelError
from emulab.kernel.netlink.codec import STRING, AttributeTable
from emulab.kernel.netlink.messages import (
    HEADER,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    Message,
    framed,
    received,
)

CHUNK = 200
_BUFFER = 1 << 16
_ATTEMPTS = 5
_SO_SNDBUFFORCE = 32
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_ERROR_CODE = struct.Struct("=i")
_ERROR_TEXT = AttributeTable({"NLMSGERR_ATTR_MSG": (1, STRING)})
_sequence = itertools.count(1)


class Refused(OSError):
    """The kernel's answer to a question is an error; `errno` says which."""


@dataclass(frozen=True, slots=True)
class MessageFailure:
    """What the kernel said about the message at `index` of a batch."""

    index: int
    errno: int
    text: str


# one request


def ask_kernel(sock: socket.socket, kind: int, payload: bytes) -> bytes:
    """The payload of the kernel's answer to a question that has one. Raises Refused."""
    return _answers_to(sock, Message(kind, 0, payload))[0][0]


def command(sock: socket.socket, kind: int, payload: bytes) -> None:
    """Sends a change and waits until it is made. Raises Refused."""
    _answers_to(sock, Message(kind, NLM_F_ACK, payload))


def dump(sock: socket.socket, kind: int, payload: bytes, what: str) -> list[bytes]:
    """The payloads of a whole table, asked for again when it changed meanwhile. Raises KernelError."""
    try:
        for _ in range(_ATTEMPTS):
            found, torn = _answers_to(sock, Message(kind, NLM_F_DUMP, payload))
            if not torn:
                break
    except OSError as error:
        raise KernelError(what, errno=error.errno or 0) from None
    return found


def _answers_to(sock: socket.socket, message: Message) -> tuple[list[bytes], bool]:
    sequence = next(_sequence) & 0xFFFFFFFF
    sock.send(framed(message, sequence))
    found: list[bytes] = []
    torn = False
    while True:
        for answer, flags, body, of in received(sock.recv(_BUFFER)):
            if of != sequence:
                continue  # left over from a question whose answer nobody waited for
            torn = torn or bool(flags & NLM_F_DUMP_INTR)
            if answer in (NLMSG_ERROR, NLMSG_DONE):  # a dump may also fail on the way
                if code := _code(body):
                    raise Refused(code, os.strerror(code))
                return found, torn
            found.append(body)
            if not message.flags & NLM_F_DUMP:
                return found, torn  # ctnetlink says NLM_F_MULTI of its single answer, too


def _code(body: bytes) -> int:
    """The errno in an error or at the end of a dump; 0: none."""
    code: int = -_ERROR_CODE.unpack_from(body)[0]
    return max(code, 0)


# many requests


class Framed(NamedTuple):
    """Messages as they are sent together. Nothing of them is a socket's own, so that many can send the same."""

    data: bytes
    messages: int


def frame_batch(messages: Sequence[Message]) -> list[Framed]:
    """Messages in loads of at most `CHUNK`."""
    loads: list[Framed] = []
    for start in range(0, len(messages), CHUNK):
        part = messages[start : start + CHUNK]
        data = bytearray()
        for number, message in enumerate(part, 1):
            data += framed(message, number, NLM_F_ACK if number == len(part) else 0)
        loads.append(Framed(bytes(data), len(part)))
    return loads


def send_batch(sock: socket.socket, messages: Sequence[Message]) -> list[MessageFailure]:
    """Sends messages in order and returns what failed. The socket blocks; the kernel works meanwhile."""
    return send_framed(sock, frame_batch(messages))


def send_framed(sock: socket.socket, loads: Iterable[Framed]) -> list[MessageFailure]:
    """Sends loads of messages in order and returns what failed, numbered through all loads."""
    failures: list[MessageFailure] = []
    start = 0
    for load in loads:
        # An error is an answer of its own, so that many must fit in the socket's receive buffer.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.send(load.data)
        failures += (MessageFailure(start + f.index, f.errno, f.text) for f in _failures(sock, load.messages))
        start += load.messages
    return failures


def _failures(sock: socket.socket, last: int) -> list[MessageFailure]:
    failures: list[MessageFailure] = []
    while True:
        for kind, flags, body, sequence in received(sock.recv(_BUFFER)):
            if kind == NLMSG_ERROR:
                if code := _code(body):
                    failures.append(MessageFailure(sequence - 1, code, _text(body, flags, code)))
                if sequence == last:
                    return failures


def _text(body: bytes, flags: int, code: int) -> str:
    """The kernel's own words (NETLINK_EXT_ACK), else errno's."""
    behind = _ERROR_CODE.size + HEADER.size  # the header of the message at fault, without the rest of it
    said = _ERROR_TEXT.decode(body, behind) if flags & NLM_F_ACK_TLVS else {}
    return said.get("NLMSGERR_ATTR_MSG") or os.strerror(code)


# all or nothing


def transact(sock: socket.socket, subsystem: int, messages: Sequence[Message]) -> int:
    """Sends messages of a subsystem of nfnetlink as one transaction; the errno for which it was refused, or 0.

    Raises OSError when it can't be sent.
    """
    edge = struct.pack("!BBH", 0, 0, subsystem)
    whole = [Message(_BATCH_BEGIN, 0, edge), *messages, Message(_BATCH_END, 0, edge)]
    numbers = [next(_sequence) for _ in whole]
    data = bytearray()
    for number, message in zip(numbers, whole, strict=True):
        # An error is told of any message; that all went well is told of the last one alone, else the answers to a
        # large batch could be more than the socket holds.
        data += framed(message, number, NLM_F_ACK if number == numbers[-2] else 0)
        data += b"\0" * (-len(message.payload) % 4)
    _make_room(sock, len(data))
    sock.send(data)
    return _refusal(sock, numbers[0], numbers[-2])


def _refusal(sock: socket.socket, first: int, last: int) -> int:
    """The first error of the messages with these numbers, once the last one has been answered."""
    found = flags = 0
    while True:
        try:
            data = sock.recv(_BUFFER, flags)
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            flags = socket.MSG_DONTWAIT  # more refusals than the socket holds: no others will come
            continue
        for kind, _, body, number in received(data):
            if kind != NLMSG_ERROR or not first <= number <= last:
                continue
            code = _code(body)
            found = found or code
            if number == last or (number == first and code):  # the batch as a whole was refused
                return found


def _make_room(sock: socket.socket, size: int) -> None:
    """Lets a socket send so many bytes at once, as far as this user may."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= size + 4096:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size + 4096)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size + 4096)
