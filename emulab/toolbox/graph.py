"""A lab as places and links between them, with what these have carried. Blocking, for one thread."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.kernel.netlink.messages import NETLINK_ROUTE
from emulab.lab.client.client import LabClient
from emulab.observe.capture.counters import LinkCounters, link_counters

OVERLAY = "overlay"


@dataclass(frozen=True, slots=True)
class GraphPlace:
    """A place. `node`: that of a pod."""

    name: str
    kind: str  # client | dns | resolver | router | balancer | node | pod
    addresses: tuple[str, ...]
    node: str = ""


@dataclass(frozen=True, slots=True)
class GraphLink:
    """A link of a place to a network, or of a pod to its node. `counters` are those of the place's own end, None where
    it isn't known; `seconds`: the time in which they were counted, 0 for all of it."""

    place: str
    interface: str
    to: str
    to_interface: str
    counters: LinkCounters | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Graph:
    places: tuple[GraphPlace, ...]
    networks: tuple[str, ...]
    links: tuple[GraphLink, ...]

    def of(self, place: str) -> list[GraphLink]:
        return [link for link in self.links if link.place == place]


def graph(client: LabClient, seconds: float = 0.0) -> Graph:
    """A lab as it is; what has passed since it was built, or in the next so many seconds. Raises EmulabError."""
    told = client.request("topology")
    shape = graph_of(told)
    before = _counters(client, shape.places)
    if seconds:
        time.sleep(seconds)
        after = _counters(client, shape.places)
        before = {end: _difference(numbers, before.get(end)) for end, numbers in after.items()}
    links = [
        GraphLink(n.place, n.interface, n.to, n.to_interface, before.get((n.place, n.interface)), seconds)
        for n in shape.links
    ]
    return Graph(shape.places, shape.networks, tuple(links))


def _counters(client: LabClient, places: Sequence[GraphPlace]) -> dict[tuple[str, str], LinkCounters]:
    found = {}
    for place in places:
        with suppress(UserError), _rtnetlink(client, place.name) as sock:  # it may have gone meanwhile
            found.update({(place.name, n): c for n, c in link_counters(sock, place.name).items()})
    return found


def _rtnetlink(client: LabClient, place: str) -> socket.socket:
    family, kind = int(socket.AF_NETLINK), int(socket.SOCK_RAW)
    sock = client.request_socket(target=place, family=family, type=kind, protocol=NETLINK_ROUTE)
    sock.setblocking(True)
    return sock


def _difference(after: LinkCounters, before: LinkCounters | None) -> LinkCounters:
    return after if before is None else LinkCounters(*(a - b for a, b in zip(after, before, strict=True)))


def graph_of(topology: Mapping[str, Any]) -> Graph:
    """The graph that the operation `topology` tells of. Pure."""
    places = tuple(
        GraphPlace(p["name"], p["kind"], tuple(p["addresses"]), p["node"]) for p in topology["places"]
    )
    kinds = {p.name: p.kind for p in places}
    links: list[GraphLink] = []
    for link in topology["links"]:
        ends = [tuple(end) for end in link["ends"]]
        if link["network"]:
            links += (GraphLink(place, interface, link["network"], "") for place, interface in ends)
        elif len(ends) == 2:
            pod, node = sorted(ends, key=lambda end: kinds[end[0]] != "pod")
            links.append(GraphLink(*pod, *node))
    joined = {link.place for link in links}
    links += (  # a plug-in has made its link
        GraphLink(p.name, "eth0", p.node, "") for p in places if p.node and p.name not in joined
    )
    return Graph(places, tuple(topology["networks"]), tuple(links))
