"""The types of evidence, as they were read from the kernel and the servers. Values only.

Times are nanoseconds of CLOCK_REALTIME, which packet taps, perf events and servers share. Addresses are text,
as they are compared and shown, never computed with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emulab.dataclass import dataclass, field
from emulab.model.families import IPV6
from emulab.plan.owner import Owner
from emulab.plan.rules.meaning import Meaning

_LOOPBACK6 = str(IPV6.loopback)


def is_loopback(address: str) -> bool:
    """Whether what is sent to an address never leaves its network namespace."""
    return address.startswith("127.") or address == _LOOPBACK6


class Flow(NamedTuple):
    """One direction of a connection as it is written in a packet. Ports are 0 where a protocol has none."""

    protocol: str  # tcp | udp | icmp, which is that of IPv6, too
    source: str
    source_port: int
    destination: str
    destination_port: int

    @property
    def reverse(self) -> Flow:
        return Flow(self.protocol, self.destination, self.destination_port, self.source, self.source_port)

    def towards(self, other: Flow) -> Flow:
        """This one with the other's destination."""
        return self._replace(destination=other.destination, destination_port=other.destination_port)


@dataclass(frozen=True, slots=True)
class Tap:
    """Where packets were watched: a place and its interfaces by index. `lost`: frames that found no room."""

    place: str
    kind: str  # the place's: client | dns | resolver | router | balancer | node | pod
    addresses: tuple[str, ...]
    interfaces: Mapping[int, str]
    lost: int = 0


class Frame(NamedTuple):
    """One Ethernet frame that crossed an interface. `data` is its beginning, `length` its size on the link."""

    time: int
    place: str
    interface: str
    outgoing: bool
    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """One step of a packet through nftables (NFT_MSG_TRACE). Steps of one packet share `trace_id` in a place.

    `rule` is the rule's text and `handle` its handle, where a rule was it. `flow` and `sequence` are those of the
    packet's headers, known from the first step of each trace on.
    """

    place: str
    trace_id: int
    family: str
    table: str
    chain: str
    kind: str  # rule | return | policy
    verdict: str  # accept | drop | continue | return | jump CHAIN | goto CHAIN | queue | …
    handle: int = 0
    rule: str = ""
    flow: Flow | None = None
    sequence: int = 0  # TCP sequence number
    input: str = ""  # interface
    output: str = ""
    meaning: Meaning | None = None  # of a rule that emulab planned

    @property
    def final(self) -> bool:
        """Whether the step decided on the packet, for its chain at least, and didn't just lead on to another step."""
        return self.verdict.partition(" ")[0] not in ("", "continue", "jump", "goto", "return")


@dataclass(frozen=True, slots=True)
class Translation:
    """A conntrack entry: the first direction as it came, and the second as its answers come."""

    place: str
    original: Flow
    reply: Flow

    @property
    def translated(self) -> Flow:
        """The first direction as it leaves."""
        return self.reply.reverse


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """An address and port that is translated at a place, where no rule tells of it: `text` says by what, and is then as
    its own program has it (`IPVS TCP 10.96.0.7:80 rr`)."""

    place: str
    protocol: str
    address: str
    port: int
    text: str


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """What the kernel of a place answers when it is asked for the way to `destination` (RTM_GETROUTE).

    `error` is an errno (0: there is a way); `text` reads as `ip route get` prints it; `prefix` is the entry that
    matched. `stopped` is the sysctl by which nothing that came in there is sent on; "" where it is.
    """

    place: str
    destination: str
    interface: str
    gateway: str
    prefix: str
    text: str
    error: int = 0
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class LinkState:
    """A network interface as it is now. `up`: administratively; `carrier`: whether its other end is up."""

    place: str
    name: str
    up: bool
    carrier: bool
    mtu: int
    mac: str = ""


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A socket that waits for others, now. `address` may be that of all (0.0.0.0, ::)."""

    place: str
    protocol: str  # tcp | udp
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What a server told of its own accord: `fields` is its record as sent, `fields["event"]` its name."""

    time: int
    server: str
    place: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KernelDrop:
    """A packet that the kernel freed as dropped (tracepoint skb:kfree_skb). `location` is a kernel symbol or ""."""

    time: int
    reason: str
    location: str = ""


@dataclass(frozen=True, slots=True)
class TriedConnection:
    """A connection that was tried beside the request's own, to an address of the other family (RFC 8305)."""

    address: str
    local: tuple[str, int]
    first: bool  # whether it was tried before the request's own
    error: str  # connect | timeout
    errno: int
    reason: str  # why it wasn't taken, in words


@dataclass(frozen=True, slots=True)
class Sending:
    """What the sender itself knows of the request.

    `error` is "" or one of: name, timeout, connect, tls, protocol. `tls` has version, cipher, server_name and,
    of the certificate, subject, issuer, names, not_before, not_after (Unix time).
    """

    place: str
    protocol: str  # http | https | tcp | udp
    target: str  # as the user wrote it
    method: str
    path: str
    host: str
    address: str  # "" when the name didn't resolve
    port: int
    local: tuple[str, int] | None  # the request's own socket; None when it never came so far
    name_ports: tuple[int, ...]  # of the sockets that asked name servers
    begun: int
    ended: int
    status: int | None = None  # of the HTTP answer
    error: str = ""
    errno: int = 0
    reason: str = ""  # the error in words
    tls: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0  # bytes of the answer's body
    attempts: Sequence[TriedConnection] = ()


@dataclass(frozen=True, slots=True)
class Unheard:
    """A server that has more to tell than its records: `lost` of them found no room, or it was late (0)."""

    server: str
    lost: int


@dataclass(frozen=True, slots=True)
class Recording:
    """All evidence of one request, and of whatever else went on meanwhile."""

    sending: Sending
    taps: Sequence[Tap]
    frames: Sequence[Frame]
    rules: Sequence[RuleTrace] = ()
    translations: Sequence[Translation] = ()
    routes: Sequence[RouteAnswer] = ()
    links: Sequence[LinkState] = ()
    listeners: Sequence[ListeningSocket] = ()
    """Of a failed request, on the port that it came to an end at."""
    records: Sequence[ServerRecord] = ()
    drops: Sequence[KernelDrop] = ()
    owners: Mapping[tuple[str, str, int], Owner] = field(default_factory=dict)
    """By protocol, address and port; with port 0, and protocol "", what an address is at any port."""
    untold: Sequence[str] = ()  # places where nftables told more than there was room for
    virtual_servers: Sequence[VirtualAddress] = ()
    unheard: Sequence[Unheard] = ()
