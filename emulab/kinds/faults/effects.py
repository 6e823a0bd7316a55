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


Harm = LostOnWire | Impaired | Filtered | WrongWay | Unsynced
