"""The sockets of places in their states, beside the connections that their kernels track, counted by place and by the
object at the other end. Blocking, for one thread."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.errors import KernelError, UserError
from emulab.kernel.netlink.messages import NETLINK_NETFILTER
from emulab.kernel.netlink.requests import dump
from emulab.kernel.netlink.sockdiag import (
    NETLINK_SOCK_DIAG,
    SOCK_DIAG_BY_FAMILY,
    SocketState,
    everything,
    state_of,
)
from emulab.kernel.rules import conntrack
from emulab.kernel.rules.conntrack import FlowTuple, TrackedFlow
from emulab.lab.client.client import LabClient
from emulab.lab.client.naming import ObjectNames, Peer

_FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))
_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class PlaceConnections:
    """What a place has. The names of places are as `exec` takes them, NAMESPACE.POD for pods."""

    place: str
    sockets: Sequence[SocketState]
    tracked: Sequence[TrackedFlow]

    @property
    def states(self) -> Counter[str]:
        return Counter(map(column, self.sockets))


class ObjectConnections(NamedTuple):
    """What leads to an object: sockets by state, and tracked connections."""

    states: Counter[str]
    tracked: int


def column(found: SocketState) -> str:
    """What a socket is counted as: its state, or UDP."""
    return found.state if found.protocol == "tcp" else "UDP"


def connections(client: LabClient, targets: Sequence[str], namespace: str) -> list[PlaceConnections]:
    """What places have now; of all without targets. Raises EmulabError."""
    if targets:
        return [_of(client, target, namespace) for target in targets]
    found = []
    for place in client.request("topology")["places"]:
        with suppress(UserError):  # it has gone meanwhile
            found.append(_of(client, place["name"], namespace))
    return found


def _of(client: LabClient, target: str, namespace: str) -> PlaceConnections:
    return PlaceConnections(
        target, list(_sockets(client, target, namespace)), tracked(client, target, namespace)
    )


def _sockets(client: LabClient, target: str, namespace: str) -> Iterator[SocketState]:
    with _netlink(client, target, namespace, NETLINK_SOCK_DIAG) as sock:
        for protocol in ("tcp", "udp"):
            for family in _FAMILIES:
                question = everything(family, protocol)
                what = f"list the {protocol} sockets of {target}"
                yield from (state_of(b, protocol) for b in dump(sock, SOCK_DIAG_BY_FAMILY, question, what))


def tracked(client: LabClient, target: str, namespace: str) -> list[TrackedFlow]:
    """What a place's kernel tracks; nothing where it doesn't tell."""
    with _netlink(client, target, namespace, NETLINK_NETFILTER) as sock:
        try:
            return conntrack.flows(sock, target)
        except KernelError:
            return []  # a kernel without ctnetlink


def _netlink(client: LabClient, target: str, namespace: str, protocol: int) -> socket.socket:
    family, kind = int(socket.AF_NETLINK), int(socket.SOCK_RAW)
    sock = client.request_socket(
        target=target, namespace=namespace, family=family, type=kind, protocol=protocol
    )
    sock.setblocking(True)
    return sock


def peers_of(found: Iterable[PlaceConnections]) -> Iterator[Peer]:
    """All whose names are shown."""
    for one in found:
        for s in one.sockets:
            yield s.protocol, s.address, s.port
            yield s.protocol, s.peer, s.peer_port
        for flow in one.tracked:
            for side in (flow.first, flow.second):
                yield from ends(side)


def ends(side: FlowTuple) -> tuple[Peer, Peer]:
    """Source and destination of one direction."""
    protocol = side.protocol
    return (protocol, side.source, side.source_port), (protocol, side.destination, side.destination_port)


def by_object(found: Iterable[PlaceConnections], names: ObjectNames) -> dict[str, ObjectConnections]:
    """What leads to each object: sockets whose peer it is, and tracked connections that are to it, as they begin or
    as they are answered."""
    states: dict[str, Counter[str]] = {}
    leading: Counter[str] = Counter()
    for one in found:
        for s in one.sockets:
            if name := names.name(s.protocol, s.peer, s.peer_port):
                states.setdefault(name, Counter())[column(s)] += 1
        for flow in one.tracked:
            leading.update({names.name(*ends(flow.first)[1]), names.name(*ends(flow.second)[0])} - {""})
    return {
        name: ObjectConnections(states.get(name, Counter()), leading[name])
        for name in sorted({*states, *leading})
    }


def shown(peer: Peer, names: ObjectNames) -> str:
    """An end of a connection: the object's name, or its address."""
    _, address, port = peer
    number = str(port) if port else "*"
    if address in _ALL_ADDRESSES:
        return f"*:{number}"
    name = names.name(*peer)
    return f"{name or (f'[{address}]' if ':' in address else address)}:{number}"
