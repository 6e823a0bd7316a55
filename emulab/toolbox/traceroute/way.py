"""The hops to a target, and where packets got another source or destination on their way. Blocking, for one thread."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from emulab.errors import UserError
from emulab.kernel.rules.conntrack import FlowTuple, TrackedFlow
from emulab.lab.client.client import LabClient
from emulab.toolbox.connections import tracked
from emulab.toolbox.traceroute.probes import PROBES, Sender, SentProbe, await_answers

PORTS = {"udp": 33434, "tcp": 80, "icmp": 0}
"""Where to, when nobody says. That of UDP grows by one with each packet, as ports do where nobody listens."""
_MOMENT = 0.02  # seconds
_SILENT = 5  # hops without any answer after which nobody is there any more


class HopAnswer(NamedTuple):
    """The answer to one packet: who sent it ("": nobody), after how long, and why it went no further (`!H`, …)."""

    address: str
    seconds: float
    mark: str


class RouteHop(NamedTuple):
    """A number of routers that a packet may pass, and who told that it would have been one too many. `reached`: the
    target was."""

    number: int
    answers: tuple[HopAnswer, ...]
    reached: bool


class TranslatedFlow(NamedTuple):
    """Where a packet got another source or destination: both directions as the place's kernel tracks it."""

    place: str
    before: FlowTuple
    after: FlowTuple


class RouteSearch:
    """One search for a way. `sent` are the packets that came furthest, once it is over."""

    def __init__(
        self,
        client: LabClient,
        source: str,
        namespace: str,
        address: str,
        protocol: str,
        port: int | None = None,
    ) -> None:
        self._client = client
        self._sender = Sender(client, source, namespace, address)
        self._protocol, self._port = protocol, port
        self._number = 0
        self._last: list[
            tuple[int, int]
        ] = []  # own port and the target's, or identifier, of those that came furthest
        self.reached = False

    def hops(self, most: int, queries: int, wait: float) -> Iterator[RouteHop]:
        """The hops in their order, each when it is known. Raises UserError."""
        silent = 0
        with self._sender.icmp() as icmp:
            for number in range(1, most + 1):
                with ExitStack() as closing:
                    probes = self._sent(number, queries, icmp, closing)
                    await_answers(icmp, self._sender.family, probes, wait)
                    self._last = [(p.key[1], p.port) for p in probes]
                    self.reached = any(p.reached for p in probes)
                    yield RouteHop(
                        number, tuple(HopAnswer(p.answer, p.seconds, p.mark) for p in probes), self.reached
                    )
                    final = self.reached or any(p.mark for p in probes)
                silent = 0 if any(p.done for p in probes) else silent + 1
                if final or silent >= _SILENT:
                    return

    def _sent(self, hops: int, queries: int, icmp: socket.socket, closing: ExitStack) -> list[SentProbe]:
        """Packets for a hop. Each is given a moment, so that its time isn't that of sending others."""
        found = []
        for _ in range(queries):
            probe = PROBES[self._protocol](self._sender, hops)
            closing.callback(probe.close)
            port = PORTS[self._protocol] if self._port is None else self._port
            if self._protocol == "udp" and self._port is None:
                port += self._number
            self._number += 1
            probe.send(port, self._number)
            await_answers(icmp, self._sender.family, [probe], _MOMENT)
            found.append(probe)
        return found

    def translations(self, places: Sequence[str]) -> list[TranslatedFlow]:
        """Where the packets that came furthest were translated, as these places track them, in order."""
        entries: list[tuple[str, TrackedFlow]] = []
        for place in places:
            with suppress(UserError):  # it has gone
                entries += ((place, flow) for flow in tracked(self._client, place, "default"))
        found: list[TranslatedFlow] = []
        for own, port in self._last:
            known = [e for e in entries if self._begins(e[1].first, own, port)]
            found += follow(entries, {flow.first for _, flow in known})
        return list(dict.fromkeys(found))

    def _begins(self, flow: FlowTuple, own: int, port: int) -> bool:
        """Whether a flow is one of ours as it was sent. That of an echo request is told by its addresses alone."""
        if flow.destination != self._sender.address or not flow.protocol.startswith(self._protocol):
            return False
        return self._protocol == "icmp" or (flow.source_port, flow.destination_port) == (own, port)


def follow(entries: Sequence[tuple[str, TrackedFlow]], begun: set[FlowTuple]) -> list[TranslatedFlow]:
    """The translations of flows, and of what they became, in the order in which they were made. Pure."""
    found: list[TranslatedFlow] = []
    known = set(begun)
    while True:
        fresh = [
            TranslatedFlow(place, flow.first, after)
            for place, flow in entries
            if flow.first in known and (after := reverse(flow.second)) != flow.first
        ]
        fresh = [t for t in fresh if t not in found]
        if not fresh:
            return found
        found += fresh
        known |= {t.after for t in fresh}


def reverse(flow: FlowTuple) -> FlowTuple:
    return FlowTuple(flow.protocol, flow.destination, flow.destination_port, flow.source, flow.source_port)
