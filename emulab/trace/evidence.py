"""Looks through the windows that an observation opened, and asks the kernel for what the story still lacks.

What a packet met is known once it was seen: its conntrack entries, routes and rules are asked for afterwards,
for the places and addresses that it came by, until nothing new turns up.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

from emulab.errors import EmulabError
from emulab.kernel.netlink.messages import NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE
from emulab.kernel.netlink.sockdiag import NETLINK_SOCK_DIAG
from emulab.kernel.rules import ipvs as kernel_ipvs
from emulab.lab.client.client import LabClient
from emulab.model.addresses import parse_address, socket_name
from emulab.observe.capture import drops, netfilter, rings, routes
from emulab.observe.capture.listeners import listeners
from emulab.observe.events import (
    Flow,
    Frame,
    KernelDrop,
    LinkState,
    Recording,
    RouteAnswer,
    RuleTrace,
    Sending,
    ServerRecord,
    Tap,
    Translation,
    Unheard,
    VirtualAddress,
)
from emulab.observe.join.needs import Needs, needs
from emulab.observe.join.sightings import Sightings
from emulab.plan.owner import Owner
from emulab.plan.rules import meaning
from emulab.plan.rules.meaning import Meaning

_QUIET = 0.010  # seconds without a packet after which a request is over
_LONGEST = 0.2  # seconds after which it is over though others go on
_LOOK = 0.002
_ROUNDS = 5  # a translation leads to other places, which may translate again

_SILENT = {"ipvs": ("IPVS", NETLINK_GENERIC, kernel_ipvs.ipvsadm_line)}
"""Rules that turn a destination into another one and tell nobody of it, by what `Network.rulesets` calls them: how a
story calls them, and the protocol of sockets and the question that a virtual server of theirs is asked for with."""


_PROGRAMS = "ebpf"
"""Rules of BPF programs, as `Network.rulesets` calls them, which only the lab itself can ask."""


class Programmed(NamedTuple):
    """What a place's BPF programs make of a flow."""

    flow: Flow
    text: str


def _programmed(flow: Flow, found: dict[str, Any]) -> Programmed:
    source, endpoint = found["source"], found["endpoint"]
    to = socket_name(parse_address(endpoint[0]), endpoint[1])
    asked = socket_name(parse_address(flow.destination), flow.destination_port)
    text = f"BPF map lb_flows: {flow.protocol.upper()} {asked} → backend {found['number']}, {to}"
    return Programmed(Flow(flow.protocol, *source, *endpoint), text)


class Windows:
    """The taps and sockets of one observation. Opening and closing them blocks."""

    def __init__(self, client: LabClient, **arguments: Any) -> None:
        """Asks the lab for them. Raises EmulabError."""
        self.client = client
        self._where = {"target": arguments["target"], "namespace": arguments["namespace"]}
        opened, descriptors = client.request_descriptors("observe", **arguments)
        self.source = str(opened["source"])
        self.addresses = tuple(map(str, opened["addresses"]))
        self._taps = opened["taps"]
        taps, rest = descriptors[: len(self._taps)], descriptors[len(self._taps) :]
        marked = rest[: len(opened["marked"])]
        self._marked = [
            (place, socket.socket(fileno=fd)) for place, fd in zip(opened["marked"], marked, strict=True)
        ]
        self.rings = [
            rings.Ring(socket.socket(fileno=fd), tap["ring"], tap["hosts"])
            for fd, tap in zip(taps, self._taps, strict=True)
        ]
        self._lost = self._make_room()
        self._drops = drops.DropReader(rest[len(marked) :], opened["drops"]) if opened["drops"] else None
        self._until = 0  # the time (ns) at which nothing was on its way any more
        self._settling = threading.Event()
        self._emptying = threading.Thread(target=self._empty, name="taps", daemon=True)
        self._emptying.start()
        self._queries: dict[tuple[str, int], socket.socket] = {}
        self._programmed: dict[tuple[str, Flow], Programmed | None] = {}
        self._rules: list[RuleTrace] = []
        # By place, of packets that rules were told about.
        self._headers: dict[str, dict[int, netfilter.PacketHeaders]] = {}
        self.lost_rules: set[str] = set()

    def settle(self) -> None:
        """Waits until the last packets of the request have come to rest."""
        self._stop_emptying()
        end = time.monotonic() + _LONGEST
        before, since = -1, time.monotonic()
        while True:  # at least one look, however long the machine was away before it
            now = time.monotonic()
            self._read_rules()
            for ring in self.rings:
                ring.make_room()
            self._until = time.time_ns()
            count = sum(ring.count() for ring in self.rings)
            if count != before:
                before, since = count, now
            elif now - since >= _QUIET:
                break
            if now >= end:
                break
            time.sleep(_LOOK)
        rings.stop_all(self.rings)
        self._read_rules()

    def _make_room(self) -> list[int]:
        """Empties rings that the traffic before the request has filled; how many frames each has lost by then."""
        for ring in self.rings:
            ring.make_room()
        return [ring.lost() for ring in self.rings]

    def _empty(self) -> None:
        """Keeps room in the rings while the request is on its way: others' traffic may fill one in 20 ms."""
        while not self._settling.wait(_LOOK):
            for ring in self.rings:
                ring.make_room()
            if self._drops:
                self._drops.make_room()

    def _stop_emptying(self) -> None:
        self._settling.set()
        self._emptying.join()

    def _read_rules(self) -> None:
        for place, sock in self._marked:
            headers = self._headers.setdefault(place, {})
            found, lost = netfilter.read_traces(sock, place, self.interfaces(place), headers)
            self._rules += found
            if lost:
                self.lost_rules.add(place)

    def interfaces(self, place: str) -> dict[int, str]:
        """The interfaces of a place by index."""
        tap = next(t for t in self._taps if t["place"] == place)
        return {int(index): name for index, name in tap["interfaces"].items()}

    def has_rules(self, place: str, kind: str) -> bool:
        """Whether the lab gave a place rules of a kind. The kernel's answer would be one that loads modules."""
        return any(kind in t["rules"] for t in self._taps if t["place"] == place)

    def taps(self) -> list[Tap]:
        losses = [ring.lost() - before for ring, before in zip(self.rings, self._lost, strict=True)]
        return [
            Tap(t["place"], t["kind"], tuple(t["addresses"]), self.interfaces(t["place"]), lost)
            for t, lost in zip(self._taps, losses, strict=True)
        ]

    def frames(self) -> list[Frame]:
        """Everything that was seen until the request had settled, in the order of time.

        What passes while one tap after the other is closed would be seen at some places only.
        """
        found: list[Frame] = []
        for tap, ring in zip(self._taps, self.rings, strict=True):
            place, names = tap["place"], self.interfaces(tap["place"])
            found += (
                Frame(at, place, names.get(index) or f"if{index}", outgoing, length, data)
                for at, index, outgoing, length, data in ring.frames()
                if at <= self._until
            )
        found.sort(key=attrgetter("time"))
        return found

    def rules(self) -> list[RuleTrace]:
        return self._rules

    def kernel_drops(self) -> list[KernelDrop]:
        return self._drops.read() if self._drops else []

    def records(self, since: int) -> tuple[list[ServerRecord], list[Unheard]]:
        """What the servers told, and who has more to tell of the time from `since` (ns) on."""
        found = self.client.request("observe")
        records = [
            ServerRecord(int(r.pop("time")), r.pop("server"), r.pop("place"), r)
            for r in found["records"]
            if "time" in r
        ]
        late = {server for server, began in found["began"].items() if began > since}
        lost = {server: count for server, count in found["lost"].items() if count}
        unheard = sorted({*found["silent"], *late, *lost})
        return records, [Unheard(server, lost.get(server, 0)) for server in unheard]

    def query(self, place: str, protocol: int) -> socket.socket:
        """A netlink socket of a place."""
        sock = self._queries.get((place, protocol))
        if sock is None:
            family, kind = int(socket.AF_NETLINK), int(socket.SOCK_RAW)
            _, (fd,) = self.client.request_descriptors(
                "observe", place=place, family=family, type=kind, protocol=protocol
            )
            sock = socket.socket(fileno=fd)
            sock.setblocking(True)
            self._queries[place, protocol] = sock
        return sock

    def translated(self, place: str, flow: Flow) -> Programmed | None:
        """What the BPF programs of a place make of a flow as it comes there; None where they leave it alone."""
        if flow.protocol not in ("tcp", "udp") or not self.has_rules(place, _PROGRAMS):
            return None
        if (place, flow) not in self._programmed:
            [found] = self.client.request("observe", translated=[[place, *flow]])
            self._programmed[place, flow] = _programmed(flow, found) if found else None
        return self._programmed[place, flow]

    def close(self) -> None:
        """Lets go of everything. Whoever closes the last of a tap's descriptors waits for the kernel."""
        self._stop_emptying()
        for sock in (*self._queries.values(), *(sock for _, sock in self._marked)):
            sock.close()
        if self._drops:
            self._drops.close()
        rings.close_all(self.rings)


def complete(windows: Windows, sending: Sending) -> tuple[Recording, Sightings]:
    """The recording of a request that has come to rest, and the packets among its frames."""
    records, unheard = windows.records(sending.begun)
    recording = Recording(
        sending=sending,
        taps=windows.taps(),
        frames=windows.frames(),
        records=records,
        unheard=unheard,
        drops=windows.kernel_drops(),
        rules=windows.rules(),
        untold=sorted(windows.lost_rules),
    )
    sightings = Sightings(recording.frames)
    known = Needs()
    for _ in range(_ROUNDS):
        wanted = needs(recording, sightings)
        fresh = wanted.without(known)
        if not fresh:
            break
        known = known.plus(fresh)
        recording = _answered(windows, recording, fresh)
    return recording, sightings


def _answered(windows: Windows, recording: Recording, wanted: Needs) -> Recording:
    translations = [t for place, flow in sorted(wanted.translations) if (t := _entry(windows, place, flow))]
    servers = [s for t in translations if (s := _virtual_server(windows, t))]
    links = [link for place in sorted(wanted.links) for link in _links(windows, place)]
    there = [
        listener
        for place, protocol, port in sorted(wanted.listeners)
        for listener in listeners(windows.query(place, NETLINK_SOCK_DIAG), place, protocol, port)
    ]
    rules, owners = _explained(windows, recording.rules, wanted)
    return replace(
        recording,
        translations=[*recording.translations, *_fresh(recording.translations, translations)],
        virtual_servers=[*recording.virtual_servers, *servers],
        routes=[*recording.routes, *_routes(windows, wanted)],
        links=[*recording.links, *links],
        listeners=[*recording.listeners, *there],
        rules=rules,
        owners={**recording.owners, **owners},
    )


def _fresh(known: Iterable[Translation], found: Iterable[Translation]) -> list[Translation]:
    seen = set(known)
    return [t for t in dict.fromkeys(found) if t not in seen]


def _entry(windows: Windows, place: str, flow: Flow) -> Translation | None:
    """What a place makes of a flow: its connection tracking, behind its BPF programs where it has some."""
    tracking = windows.query(place, NETLINK_NETFILTER)
    made = windows.translated(place, flow)
    if made is None:
        return netfilter.translation_of(tracking, place, flow)
    if made.flow.source != flow.source:  # the node's own request: its connection tracking sees it afterwards
        return Translation(place, flow, made.flow.reverse)
    behind = netfilter.translation_of(tracking, place, made.flow)
    return Translation(place, flow, behind.reply if behind else made.flow.reverse)


def _virtual_server(windows: Windows, translation: Translation) -> VirtualAddress | None:
    """The virtual server that translated a destination, of which no rule tells; None where there was none."""
    place, flow, to = translation.place, translation.original, translation.translated
    named = flow.protocol, flow.destination, flow.destination_port
    if made := windows.translated(place, flow):
        return VirtualAddress(place, *named, made.text)
    for kind, (title, protocol, describe) in _SILENT.items() if flow[3:] != to[3:] else ():
        if windows.has_rules(place, kind) and (text := describe(windows.query(place, protocol), *named)):
            return VirtualAddress(place, *named, f"{title} {text}")
    return None


def _links(windows: Windows, place: str) -> list[LinkState]:
    return routes.links(windows.query(place, NETLINK_ROUTE), place)


def _routes(windows: Windows, wanted: Needs) -> list[RouteAnswer]:
    found = []
    for place, destination, source, interface in sorted(wanted.routes):
        names = windows.interfaces(place)
        index = next((i for i, name in names.items() if name == interface), 0)
        sock = windows.query(place, NETLINK_ROUTE)
        found.append(routes.route(sock, place, destination, source, index, names))
    return found


def _explained(
    windows: Windows, rules: Sequence[RuleTrace], wanted: Needs
) -> tuple[list[RuleTrace], dict[tuple[str, str, int], Owner]]:
    """The rules with their texts and meanings, and the owners of the addresses."""
    chains = sorted(wanted.chains)
    if not chains and not wanted.owners:
        return list(rules), {}
    answer = windows.client.request("observe", chains=chains, owners=sorted(wanted.owners))
    known: dict[tuple[str, str, str, str, int], tuple[str, Meaning | None]] = {}
    for (place, family, table, chain), found in zip(chains, answer["chains"], strict=True):
        by_handle: dict[int, tuple[str, Meaning | None]] = {
            int(handle): (text, None) for handle, text in found.get("handles", {}).items()
        }
        if "texts" in found:
            try:
                sock = windows.query(place, NETLINK_NETFILTER)
                handles = netfilter.rule_handles(sock, family, table, chain)
            except EmulabError:
                handles = []
            if len(handles) == len(found["texts"]):  # else it has changed since
                meanings = map(meaning.from_json, found["meanings"])
                by_handle = dict(zip(handles, zip(found["texts"], meanings, strict=True), strict=True))
        known.update({(place, family, table, chain, h): rule for h, rule in by_handle.items()})
    named = []
    for step in rules:
        rule = known.get((step.place, step.family, step.table, step.chain, step.handle))
        named.append(replace(step, rule=rule[0], meaning=rule[1]) if rule else step)
    owners = {(p, a, int(n)): Owner(**o) for p, a, n, o in answer["owners"]}
    return named, owners
