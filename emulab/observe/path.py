"""The result of a trace: the hops of a request in order, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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

    type: str  # vxlan
    vni: int
    outer_source: str
    outer_destination: str

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


@dataclass(frozen=True, slots=True)
class Failure:
    """Where a request stopped, why, and how to mend it. `reason` is a short fixed word for programs."""

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
