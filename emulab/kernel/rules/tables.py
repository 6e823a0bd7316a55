"""Writes nftables tables: structure through libnftables, elements as netlink.

A change of several collections' elements is one transaction.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Sequence
from functools import cached_property

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netlink import nftables
from emulab.kernel.netlink.messages import (
    NETLINK_CAP_ACK,
    NETLINK_NETFILTER,
    SOL_NETLINK,
    Message,
    open_socket,
)
from emulab.kernel.netlink.requests import transact
from emulab.kernel.netns import Handle
from emulab.kernel.rules import elements
from emulab.kernel.rules.elements import ElementChange
from emulab.kernel.rules.nft import Nft
from emulab.plan.rules.rulesets import MOST, ruleset_script, ruleset_stages
from emulab.plan.state import Ruleset

_WHAT = "change elements of nftables"

_MOST_CONTEXTS = 64
"""libnftables' contexts that are kept. Each has a socket that it waits for with select(2), which ends the process at a
number above 1,023, and keeps what it has read of its tables. One is made in a millisecond."""


class ElementStep:
    """Changes of elements, encoded once for all nodes."""

    def __init__(self, table: Ruleset, changes: Sequence[ElementChange]) -> None:
        self.table = table  # the one that is there then
        self.changes = changes

    @cached_property
    def messages(self) -> list[Message]:
        return elements.encode(self.table, self.changes)


TableStep = str | ElementStep
"""nft's commands, or changes of elements."""


class Steps:
    """How tables become others. Nodes share theirs, so each step is made once for all of them.

    `most`: declarations and rules in one transaction.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[tuple[int, int], list[tuple[Ruleset | None, TableStep]]] = {}

    def between(
        self, before: Ruleset | None, after: Ruleset | None
    ) -> list[tuple[Ruleset | None, TableStep]]:
        """What to do one after the other, each with the table that is there then."""
        pair = (id(before), id(after))
        if pair not in self._known:
            self._known[pair] = _steps(before, after, self._most)
        return self._known[pair]

    def anew(self, after: Ruleset) -> list[tuple[Ruleset | None, TableStep]]:
        """The steps to a table whatever is there now."""
        (table, step), *others = self.between(None, after)
        assert isinstance(step, str)  # there are no elements before there is a table
        return [(table, _removal(after) + step), *others]


_TO_LINK = re.compile(r'\b(fwd|dup) to "([^"]+)"')


def _by_index(script: str, handle: Handle) -> str:
    """Links that packets are handed over to, by index: libnftables looks names up once, in whatever namespace."""
    return (
        _TO_LINK.sub(lambda m: f"{m[1]} to {handle.indexes[m[2]]}", script) if "netdev" in script else script
    )


def _removal(table: Ruleset) -> str:
    """Removes a table, whether it is there or not."""
    name = f"{table.family} {table.table}"
    return f"add table {name}\ndelete table {name}\n"


def _steps(
    before: Ruleset | None, after: Ruleset | None, most: int
) -> list[tuple[Ruleset | None, TableStep]]:
    if after is None:
        assert before is not None
        return [(None, _removal(before))]
    if before is not None and (changes := elements.element_changes(before, after)) is not None:
        return [(after, ElementStep(after, changes))]
    found: list[tuple[Ruleset | None, TableStep]] = []
    for stage in ruleset_stages(before, after, most):
        known = elements.element_changes(before, stage) if before is not None else None
        found.append((stage, ruleset_script(before, stage) if known is None else ElementStep(stage, known)))
        before = stage
    return found


class Tables:
    """nftables of a lab's namespaces."""

    def __init__(self) -> None:
        self._contexts: dict[str, Nft] = {}
        self._sockets: dict[str, ElementSocket] = {}

    def nft(self, handle: Handle) -> Nft:
        """libnftables for a namespace."""
        context = self._contexts.pop(handle.name, None)
        if context is None:
            if len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)), None)
            context = Nft(handle.name, handle.fd)
        self._contexts[handle.name] = context  # at the end: the first is the one that nobody used for longest
        return context

    def write(self, handle: Handle, step: TableStep) -> None:
        """Does one step. Raises KernelError: then the old table is there, but for elements that were too many for one
        transaction.
        """
        if isinstance(step, str):
            self.nft(handle).run(_by_index(step, handle))
            return
        sender = self._sockets.get(handle.name)
        if sender is None:
            sender = self._sockets[handle.name] = ElementSocket(handle.name, handle.fd)
        sender.write(step)

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

    def close(self) -> None:
        self._socket.close()

    def write(self, step: ElementStep) -> None:
        """Makes the changes in one transaction. Raises KernelError, having changed nothing.

        What is larger than an ordinary user's socket takes (net.core.wmem_max) goes in several, each key's change
        in one; those before the one that is refused are made then.
        """
        try:
            self._send(step.messages)
        except KernelError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            for part in elements.small(step.changes):
                self._send(elements.encode(step.table, part))

    def _send(self, batch: Sequence[Message]) -> None:
        if not batch:
            return
        try:
            code = transact(self._socket, nftables.SUBSYSTEM, batch)
        except OSError as error:
            raise KernelError(_WHAT, self._namespace, error.errno or 0) from None
        if code:
            raise KernelError(f"{_WHAT}: {os.strerror(code)}", self._namespace, code)


def _open() -> socket.socket:
    sock = open_socket(NETLINK_NETFILTER)
    sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)  # an error doesn't repeat the message that it is about
    return socket.socket(fileno=netns.lift(sock.detach()))
