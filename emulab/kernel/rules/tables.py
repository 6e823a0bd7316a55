"""Writes nftables tables: structure through libnftables, elements as netlink.

A change of several collections' elements is one transaction (NFNL_MSG_BATCH_BEGIN … END, linux/netfilter/nfnetlink.h).
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections.abc import Iterable, Sequence

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netlink.codec import NETLINK_CAP_ACK, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, SOL_NETLINK
from emulab.kernel.netlink.queries import messages
from emulab.kernel.netns import Handle
from emulab.kernel.rules import elements
from emulab.kernel.rules.elements import ElementChange
from emulab.kernel.rules.nft import Nft
from emulab.plan.rules.rulesets import MOST, ruleset_script, stages
from emulab.plan.state import Ruleset

_NETLINK_NETFILTER = 12
_SO_SNDBUFFORCE = 32
_SUBSYS_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_HEADER = struct.Struct("=IHHII")
_WHAT = "change elements of nftables"

Step = str | Sequence[ElementChange]
"""nft's commands, or changes of elements."""


class Steps:
    """How tables become others. Nodes share theirs, so each step is made once for all of them.

    `most`: declarations and rules in one transaction.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[tuple[int, int], list[tuple[Ruleset | None, Step]]] = {}

    def between(self, before: Ruleset | None, after: Ruleset | None) -> list[tuple[Ruleset | None, Step]]:
        """What to do one after the other, each with the table that is there then."""
        pair = (id(before), id(after))
        if pair not in self._known:
            self._known[pair] = _steps(before, after, self._most)
        return self._known[pair]

    def anew(self, after: Ruleset) -> list[tuple[Ruleset | None, Step]]:
        """The same whatever is there."""
        (table, step), *others = self.between(None, after)
        assert isinstance(step, str)  # there are no elements before there is a table
        return [(table, _removal(after) + step), *others]


def _removal(table: Ruleset) -> str:
    """Removes a table, whether it is there or not."""
    name = f"{table.family} {table.table}"
    return f"add table {name}\ndelete table {name}\n"


def _steps(before: Ruleset | None, after: Ruleset | None, most: int) -> list[tuple[Ruleset | None, Step]]:
    if after is None:
        assert before is not None
        return [(None, _removal(before))]
    if before is not None and (changes := elements.element_changes(before, after)) is not None:
        return [(after, changes)]
    found: list[tuple[Ruleset | None, Step]] = []
    for stage in stages(before, after, most):
        known = elements.element_changes(before, stage) if before is not None else None
        found.append((stage, ruleset_script(before, stage) if known is None else known))
        before = stage
    return found


class Tables:
    """nftables of a lab's namespaces."""

    def __init__(self) -> None:
        self._contexts: dict[str, Nft] = {}
        self._sockets: dict[str, ElementSocket] = {}

    def nft(self, handle: Handle) -> Nft:
        """libnftables for a namespace."""
        context = self._contexts.get(handle.name)
        if context is None:
            context = self._contexts[handle.name] = Nft(handle.name, handle.fd)
        return context

    def write(self, handle: Handle, table: Ruleset | None, step: Step) -> None:
        """Does one step, after which `table` is there. Raises KernelError: then the old one is there,
        but for elements that were too many for one transaction.
        """
        if isinstance(step, str):
            self.nft(handle).run(step)
            return
        assert table is not None
        sender = self._sockets.get(handle.name)
        if sender is None:
            sender = self._sockets[handle.name] = ElementSocket(handle.name, handle.fd)
        sender.write(table, step)

    def forget(self, namespace: str) -> None:
        """The namespace goes."""
        self._contexts.pop(namespace, None)
        sender = self._sockets.pop(namespace, None)
        if sender is not None:
            sender.close()

    def close(self) -> None:
        for namespace in {*self._contexts, *self._sockets}:
            self.forget(namespace)


class ElementSocket:
    """Sends elements into a namespace, by a socket that is made there once. Calls block."""

    def __init__(self, namespace: str, fd: int) -> None:
        self._namespace = namespace
        self._socket = netns.inside(fd, _open)
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._socket.close()

    def write(self, table: Ruleset, changes: Iterable[ElementChange]) -> None:
        """Makes the changes in one transaction. Raises KernelError, having changed nothing.

        What is larger than an ordinary user's socket takes (net.core.wmem_max) goes in several, each key's change
        in one; those before the one that is refused are made then.
        """
        todo = list(changes)
        try:
            self._send(elements.encode(table, todo))
        except KernelError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            for part in elements.small(todo):
                self._send(elements.encode(table, part))

    def _send(self, batch: Sequence[tuple[int, int, bytes]]) -> None:
        if not batch:
            return
        # An error is told of any message; that all went well is told of the last one alone, else the answers to a
        # large batch could be more than the socket holds.
        *others, (kind, flags, body) = batch
        edge = struct.pack("!BBH", 0, 0, _SUBSYS_NFTABLES)
        whole = [(_BATCH_BEGIN, 0, edge), *others, (kind, flags | NLM_F_ACK, body), (_BATCH_END, 0, edge)]
        data = bytearray()
        first = last = next(self._numbers)
        for kind, flags, body in whole:
            data += _HEADER.pack(len(body) + 16, kind, flags | NLM_F_REQUEST, last, 0) + body
            data += b"\0" * (-len(body) % 4)
            last = next(self._numbers)
        _make_room(self._socket, len(data))
        try:
            self._socket.send(data)
            code = self._answer(first, last - 2)
        except OSError as error:
            raise KernelError(_WHAT, self._namespace, error.errno or 0) from None
        if code:
            raise KernelError(f"{_WHAT}: {os.strerror(code)}", self._namespace, code)

    def _answer(self, first: int, last: int) -> int:
        """The first error of the messages with these numbers, once the last one has been answered."""
        found = flags = 0
        while True:
            try:
                data = self._socket.recv(1 << 16, flags)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                flags = socket.MSG_DONTWAIT  # more refusals than the socket holds: no others will come
                continue
            for kind, _, body, number in messages(data):
                if kind != NLMSG_ERROR or not first <= number <= last:
                    continue
                (code,) = struct.unpack_from("=i", body)
                found = found or -code
                if number == last or (number == first and code):  # the batch as a whole was refused
                    return found


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)  # an error doesn't repeat the message that it is about
    return sock


def _make_room(sock: socket.socket, size: int) -> None:
    """Lets so much be sent at once, as far as this user may."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= size + 4096:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size + 4096)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size + 4096)
