"""The result of a trace: the hops of a request in order, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.dataclass import dataclass, field

EVENTS = (
    "dns-query",
    "dns-answer",
    "send",
    "receive",
    "forward",
    "dnat",
    "snat",
    "encapsulate",
    "decapsulate",
    "proxy-accept",
    "proxy-connect",
    "deliver",
    "drop",
)
"""Every event a hop can have (contract, section 4)."""


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """The outer header of an encapsulated packet."""

    type: str  # vxlan | ipip
    vni: int | None  # of VXLAN
    outer_source: str
    outer_destination: str

    @property
    def name(self) -> str:
        """What a packet is in, in words: `VXLAN 1`, `IPIP`."""
        return self.type.upper() if self.vni is None else f"{self.type.upper()} {self.vni}"

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "vni": self.vni,
            "outer_source": self.outer_source,
            "outer_destination": self.outer_destination,
        }


@dataclass(frozen=True, slots=True)
class Hop:
    """One thing that happened to the request's packets at one place.

    `time` and `delta` are microseconds, since the first hop and since the hop before. `flight` numbers the
    packets that went together: hops of one flight follow the same packets from place to place. `frames` are
    indexes into the recording's frames: the packets that were seen here, the first one's time being the hop's.
    """

    index: int
    time: float
    delta: float
    direction: str  # request | response
    place: str
    interface: str | None
    event: str
    protocol: str
    source: str  # ADDRESS:PORT
    destination: str
    detail: str
    encapsulation: Encapsulation | None = None
    object: str = ""  # what the decision stands for: `Service app/web port 80 → pod app/web-1`
    rule: str = ""  # the nft rule, ACL or ingress rule that decided
    conntrack: Mapping[str, str] | None = None  # {"before": "A:P → B:Q", "after": …}
    route: str = ""
    connection: int = 0  # 0: name resolution; then the connections of the request in their order
    flight: int = 0
    packets: int = 0
    frames: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "time_us": self.time,
            "delta_us": self.delta,
            "direction": self.direction,
            "place": self.place,
            "interface": self.interface,
            "event": self.event,
            "protocol": self.protocol,
            "source": self.source,
            "destination": self.destination,
            "encapsulation": self.encapsulation.to_json() if self.encapsulation else None,
            "detail": self.detail,
            **{k: v for k, v in (("object", self.object), ("rule", self.rule), ("route", self.route)) if v},
            **({"conntrack": dict(self.conntrack)} if self.conntrack else {}),
            "connection": self.connection,
            "packets": self.packets,
        }


@dataclass(frozen=True, slots=True)
class Connection:
    """A heading of the story: name resolution (number 0), or a connection from one program to another."""

    number: int
    title: str  # `client → public-lb: TCP 198.51.100.2:40000 → 203.0.113.10:80`
    source_place: str
    destination_place: str
    protocol: str


REASONS = {
    # names
    "nxdomain": "no name server knows the name",
    "no-address": "the name exists, without an address of a family that the sender speaks",
    "servfail": "a name server couldn't find out (SERVFAIL), and why wasn't seen",
    "name": "a name server answered with another error",
    "no-name-answer": "a name server got the question and kept silent",
    "no-name-server": "no question left the sender",
    "stale-name": "a cache answered with an address that the name hasn't any more",
    # objects
    "no-endpoints": "a Service has nobody to serve it",
    "no-local-endpoints": "a Service has nobody to serve it on the node that its traffic policy binds it to",
    "no-such-port": "a Service hasn't that port",
    "no-such-service": "there is no such Service, or none with that cluster IP",
    "no-target": "a load balancer has no healthy target",
    "acl": "the source ranges of a load balancer, or of a Service of that type, leave the sender out",
    "no-ingress-rule": "no Ingress is for that host and path",
    "not-allowed": "an annotation of the Ingress, or a key of its controller's ConfigMap, lets the client not in",
    "no-proxy-header": "the ingress speaks the PROXY protocol, and who came to it doesn't",
    "upstream-name": "the name of an ingress's upstream doesn't resolve",
    # TLS
    "certificate-expired": "the server's certificate is too old",
    "certificate-not-yet-valid": "the server's certificate isn't valid yet",
    "certificate-name": "the server's certificate is for other names",
    "no-tls": "the server doesn't speak TLS on that port",
    "tls": "TLS failed otherwise",
    # refusals
    "closed-port": "nobody listens on the port",
    "rule": "a firewall rule dropped or rejected the packet",
    "prohibited": "a place refused the packet by ICMP, and its rule wasn't seen",
    "refused": "a place that the packet wasn't meant for refused it",
    # the way
    "no-route": "a routing table has no way to the address, or none back",
    "reverse-path": "a place drops what it would answer over another link (rp_filter)",
    "no-forwarding": "a place that is to send packets on is set not to",
    "loop": "the packet went in a circle",
    "mtu": "the packet was too big for a link and must not be fragmented",
    "arp": "nobody on the network has the next hop's address",
    "link-down": "a link is switched off",
    "dead-node": "a node's link is switched off",
    "dropped": "the packet came to a place and went no further",
    "no-port": "a rule was to translate the source, and found no port that was free",
    "misled": "an overlay brought the packet to another node than that of its pod",
    "lost": "the packet left a place and came nowhere",
    "not-sent": "no packet left the sender",
    # programs
    "unanswered": "the packet was delivered, and the kernel there didn't take it",
    "no-answer": "the request was delivered, and its program hasn't answered in time",
    "reset": "the program broke the connection off",
    "cut-off": "the program ended the connection before its answer was whole",
    # what is left
    "connect": "the sender's own error, of connecting",
    "protocol": "the sender's own error, of understanding the answer",
    "timeout": "the sender's own error, of waiting",
    "failed": "anything else",
}
"""Every `Failure.reason`, but `http-NNN`: an ingress answered NNN by itself, for a reason that isn't listed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Where a request stopped, why, and how to mend it. `reason` is a short fixed word, one of `REASONS`.

    `place` is where the packet, or the answer, was last seen; `object` is what is wrong, in words.
    """

    place: str
    reason: str
    text: str
    remedy: str
    object: str = ""
    kernel_reason: str = ""  # the kernel's own drop reason, where it could be read

    def to_json(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "reason": self.reason,
            "text": self.text,
            "remedy": self.remedy,
            "object": self.object,
            "kernel_reason": self.kernel_reason or None,
        }


@dataclass(frozen=True, slots=True)
class Path:
    """The way of one request. `duration` is microseconds from the first to the last hop."""

    source: str
    url: str
    status: int | None
    duration: float
    hops: Sequence[Hop]
    places: Sequence[str]
    connections: Sequence[Connection] = ()
    failure: Failure | None = None
    totals: Mapping[str, Any] = field(default_factory=dict)
    """Microseconds that add up to the duration: `dns_us`, `client_us`, `kernel_us` by kind of hop, `servers_us` and
    `container_us` by place."""
    tls: Mapping[str, Any] | None = None
    answered: float | None = None  # microseconds until the sender had the whole answer
    method: str = ""
    notes: Sequence[str] = ()  # what could not be seen, and what was odd though the request succeeded

    def __str__(self) -> str:
        """The ladder that `emulab trace` prints, without colours."""
        from emulab.observe.telling.ladder import render  # here, not above: it needs this module

        return render(self, method=self.method)

    def __repr__(self) -> str:
        """One line, lest a failed assertion shows hundreds of hops; `str` is the whole story."""
        ended = f"failed at {self.failure.place} ({self.failure.reason})" if self.failure else "answered"
        asked = f"{self.method} {self.url}".strip()
        return f"<Path of {asked} from {self.source}: status {self.status}, {ended}, {len(self.hops)} hops>"

    def first(self, **wanted: Any) -> Hop:
        """The first hop whose fields have these values: `path.first(event="dnat")`. Raises LookupError."""
        for hop in self.hops:
            if all(getattr(hop, name) == value for name, value in wanted.items()):
                return hop
        text = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        raise LookupError(f"no hop with {text}; the events are {', '.join(h.event for h in self.hops)}")

    def all(self, **wanted: Any) -> list[Hop]:
        """Every hop whose fields have these values."""
        return [h for h in self.hops if all(getattr(h, n) == v for n, v in wanted.items())]

    def to_json(self) -> dict[str, Any]:
        """The document of `emulab trace -o json` (contract, section 4)."""
        return {
            "request": {
                "from": self.source,
                "url": self.url,
                "status": self.status,
                "duration_us": self.duration,
                "answered_us": self.answered,
                "failure": self.failure.to_json() if self.failure else None,
                "tls": dict(self.tls) if self.tls else None,
            },
            "places": list(self.places),
            "hops": [h.to_json() for h in self.hops],
            "totals": dict(self.totals),
            "notes": list(self.notes),
        }
