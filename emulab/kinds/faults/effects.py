"""What faults do, as values: each says what a place suffers, and the plan knows how that is brought about."""

from __future__ import annotations

from emulab.dataclass import dataclass

TO, FROM, BOTH = "to", "from", "both"
"""Directions, as the place sees them that has the fault: what comes to it, what goes out from it."""

OVERLAY, ICMP, DNS = "overlay", "icmp", "dns"
NEW, SECOND, HAIRPIN, OLD = "new", "second", "hairpin", "old"
"""What is said of a packet in the words of whoever filters it; none of them is an address or a number.

`NEW`: the first of a connection, once there are more than so many; `SECOND`: a question to a name server right behind
another one of the same socket; `HAIRPIN`: sent by a pod to itself; `OLD`: of a TCP connection that there was before.
"""


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
class Impaired:
    """The wire between a place and all others is slow, narrow or bad. Times are nanoseconds, `rate` bits a second.

    Shares are of 1: packets that overtake those which are delayed, come twice, or with octets that nobody sent, and
    so with a wrong checksum; `what` says which of them, "" for any.
    """

    place: str
    direction: str = BOTH
    delay: int = 0
    jitter: int = 0
    reorder: float = 0
    duplicate: float = 0
    corrupt: float = 0
    what: str = ""
    rate: int = 0


@dataclass(frozen=True, slots=True)
class Filtered:
    """A node drops `what` of all that its pods send, or for `NEW` and `OLD` of all that comes to it.

    `beyond`: how many connections there may be before.
    """

    node: str
    what: str
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class FewPorts:
    """A node has `ports` ports for what its pods send out of the cluster with the node's address."""

    node: str
    ports: int


@dataclass(frozen=True, slots=True)
class WrongNeighbour:
    """A place knows a neighbour, `of`, by a MAC address that nobody has."""

    place: str
    of: str


@dataclass(frozen=True, slots=True)
class Askew:
    """A node answers other nodes' pods past the overlay, and takes nothing that comes another way than it answers."""

    node: str


@dataclass(frozen=True, slots=True)
class KeptFlows:
    """A node's kube-proxy forgets no UDP flows: they lead where they led, whoever serves now."""

    node: str


@dataclass(frozen=True, slots=True)
class WrongWay:
    """A node's overlay sends what is for the pods of `to` elsewhere: to the VTEP of `instead`, "" for nobody's."""

    node: str
    to: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Silenced:
    """A node has no session of BGP with anybody: its own and others' are shut down."""

    node: str


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
class Isolated:
    """There is a NetworkPolicy, NAMESPACE/NAME, by which the pods with these labels reach everybody, and of TCP and UDP
    all ports but one."""

    policy: str
    labels: tuple[tuple[str, str], ...]
    port: int


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


@dataclass(frozen=True, slots=True)
class ReusedPorts:
    """A node's IPVS takes a connection from an address and port for the one before from there."""

    node: str


Harm = (
    LostOnWire
    | Impaired
    | Filtered
    | FewPorts
    | WrongWay
    | WrongNeighbour
    | Silenced
    | Askew
    | Unsynced
    | KeptFlows
    | ReusedPorts
    | StaleNames
    | Redated
    | Unsliced
    | Isolated
    | Searching
    | Unready
    | LateStart
    | ShortKeepAlive
)
