"""What the maps of a node look like: numbers in the machine's order, ports and addresses in that of the network.

All addresses have 16 bytes, those of IPv4 as IPv6 maps them (RFC 4291, section 2.5.5.2), so that programs look
everything up in the same maps. Services are much as in Cilium's own (bpf/lib/lb.h): by address, port, protocol and
scope an element with how many endpoints there are to choose from, and for each choice one more. Those of Cilium have
the same key but for the choice's number; here they are of a list, which all frontends with the same endpoints share.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from emulab.kernel import bpf
from emulab.model.addresses import IPAddress

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
OUTSIDE, INSIDE = 0, 1
"""Scopes: for what comes from outside of the cluster, and for pods and the node itself."""
PODS, LOCAL, FIRST_SERVICE = 0, 1, 2
"""What ranges are of: the pods' networks, the node's own addresses, or the source ranges of a Service."""
MASQUERADE, GUARDED = 1, 2
"""Flags of Services: their traffic is to have the node's address; only some sources may use them."""
OF_NODE, ENDED_BY_CLIENT, ENDED_BY_ENDPOINT, OPEN = 4, 8, 16, 32
"""Flags of connections, beside MASQUERADE: the node itself began it; one side has ended it; its client has sent more
than a SYN."""
ENDED = ENDED_BY_CLIENT | ENDED_BY_ENDPOINT
FORWARD, REPLY = 0, 1
"""Directions of connections."""

SERVICE_KEY = struct.Struct("=16sHBBHxx")  # address, port, protocol, scope, 0
CHOICE_KEY = struct.Struct("=I16xHxx")  # list, number of the choice
MEMBER_KEY = struct.Struct("=II16x")  # list, backend: that a client may stay with it
SERVICE = struct.Struct("=IIHHI")  # seconds of affinity, or a choice's backend; Service; count; flags; list
BACKEND_KEY = struct.Struct("=I")
BACKEND = struct.Struct("=16sHxx")  # address, port
RANGE_KEY = struct.Struct("=II16s")  # bits that count, whose, address
RANGE = struct.Struct("=I")
CLIENT_KEY = struct.Struct("=16sIxxxx")  # address, Service
CLIENT = struct.Struct("=QIxxxx")  # when it was seen, backend
FLOW_KEY = struct.Struct("=16s16sHHBBxx")  # source, destination, their ports, protocol, direction
FLOW = struct.Struct("=16s16sHHIIIQ")  # what it becomes; flags, backend, Service, when it was seen

FRAGMENT_KEY = struct.Struct("=16s16sIBxxx")  # source, destination, identification, protocol
FRAGMENT = struct.Struct("=HH")  # the ports of the packet that it is of


class MapForm(NamedTuple):
    """What a map is made of."""

    kind: int
    key: struct.Struct
    value: struct.Struct
    room: int
    flags: int = 0


CONNECTIONS = 1 << 13
"""How many of a node's the programs know at a time: 75 of each of the 110 pods that a kubelet takes. What is over is
forgotten within 20 seconds, so that 400 new ones a second don't push out who is silent; more would be 300 bytes each
on every node, and all nodes are on one machine here. Cilium, with a machine for a node, has 64 times as many."""

MAPS = {
    "services": MapForm(bpf.MAP_HASH, SERVICE_KEY, SERVICE, 1 << 16, bpf.NO_PREALLOC),
    "backends": MapForm(bpf.MAP_HASH, BACKEND_KEY, BACKEND, 1 << 16, bpf.NO_PREALLOC),
    "ranges": MapForm(bpf.MAP_LPM_TRIE, RANGE_KEY, RANGE, 1 << 16, bpf.NO_PREALLOC),
    "clients": MapForm(bpf.MAP_LRU_HASH, CLIENT_KEY, CLIENT, CONNECTIONS // 2),
    "flows": MapForm(bpf.MAP_LRU_HASH, FLOW_KEY, FLOW, 2 * CONNECTIONS),
    "fragments": MapForm(bpf.MAP_LRU_HASH, FRAGMENT_KEY, FRAGMENT, CONNECTIONS // 8),
}
"""By name. Those of clients, flows and fragments forget what was used least lately when they are full."""


def packed(address: IPAddress) -> bytes:
    """An address as maps have it."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpacked(data: bytes) -> IPAddress:
    """What `packed` was made of."""
    address = IPv6Address(data)
    return address.ipv4_mapped or ip_address(data)


def network_order(port: int) -> int:
    """A port as the machine reads it where it stands in the network's order."""
    return int(struct.unpack("=H", port.to_bytes(2, "big"))[0])


port_of = network_order
"""And back: the same exchange."""
