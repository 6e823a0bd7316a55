"""What faults do, as values: each says what a place suffers, and the plan knows how that is brought about."""

from __future__ import annotations

from emulab.dataclass import dataclass

TO, FROM, BOTH = "to", "from", "both"
"""Directions, as the place sees them that has the fault: what comes to it, what goes out from it."""

OVERLAY, ICMP, DNS = "overlay", "icmp", "dns"
"""What is said of a packet in the words of whoever filters it; none of them is an address or a number."""


@dataclass(frozen=True, slots=True)
class LostOnWire:
    """The wire between a place and all others loses frames: nobody is told.

    `share` of 1 is all of them; `longer_than` spares what is shorter (octets of the IP packet, 0 for none), and `what`
    spares all that isn't of that kind.
    """

    place: str
    direction: str = BOTH
    share: float = 1.0
    longer_than: int = 0
    what: str = ""

    @property
    def cuts_off(self) -> bool:
        """Whether nothing gets through: who talks over TCP hears nothing from the place then, in whatever direction."""
        return self.share >= 1 and not self.longer_than and not self.what


@dataclass(frozen=True, slots=True)
class Filtered:
    """A firewall of a node drops what its pods send: `what` of it, to whomever."""

    node: str
    what: str


@dataclass(frozen=True, slots=True)
class WrongWay:
    """A node's overlay sends what is for the pods of `to` elsewhere: to the VTEP of `instead`, "" for nobody's."""

    node: str
    to: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Unsynced:
    """A node's kube-proxy writes no rules any more: those that are there stay, whatever becomes of the Services."""

    node: str


@dataclass(frozen=True, slots=True)
class StaleNames:
    """A resolver keeps what it was told for `seconds` at the least, whatever the TTL says."""

    resolver: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Redated:
    """The ingress shows for a host a certificate of the same names that is valid at other times: from `begins` to
    `ends`, in seconds from when it is shown first."""

    host: str
    begins: int
    ends: int


@dataclass(frozen=True, slots=True)
class Unsliced:
    """The EndpointSlices of a Service, NAMESPACE/NAME, stay as they are, whatever becomes of its Pods."""

    service: str


@dataclass(frozen=True, slots=True)
class Searching:
    """The pods of a node search so many domains more for each name."""

    node: str
    domains: int


@dataclass(frozen=True, slots=True)
class Unready:
    """The readiness probes of a pod, NAMESPACE.NAME, fail in every second span of so many seconds."""

    pod: str
    period: int


@dataclass(frozen=True, slots=True)
class LateStart:
    """Nobody listens in a pod, NAMESPACE.NAME, until a moment (Unix time; 0: not known yet)."""

    pod: str
    until: int


@dataclass(frozen=True, slots=True)
class ShortKeepAlive:
    """A pod, NAMESPACE.NAME, doesn't take a request on a connection that was idle for so many seconds: it resets it."""

    pod: str
    seconds: float


Harm = (
    LostOnWire
    | Filtered
    | WrongWay
    | Unsynced
    | StaleNames
    | Redated
    | Unsliced
    | Searching
    | Unready
    | LateStart
    | ShortKeepAlive
)
