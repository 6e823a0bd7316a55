"""Cables that are slow, narrow or bad: links that stand between a place and the fabric's bridge. Pure.

The port of the place leaves the bridge, and pairs of links take its stead: what comes in there is handed on from pair
to pair, and the last end of them is the bridge's port. So each direction has a link's way out, where the kernel can
hold what is sent; no place sees any of it, and no packet leaves the kernel.

    place ── port │ near ══ far │ near ══ far ── bridge
                     rate          delay

A delay line is passed twice (`links.delayline`): the first time with the mark of a slot, the second time with AGAIN.
Whoever has anything to say of cables, Faults or a Cluster's links between zones, says it as an `Impairment`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.plan.draft import FABRIC, interface_name, mac
from emulab.plan.links import Checksums, DelayLine, Detached, Item, Shaper, Veth
from emulab.plan.links.delayline import AGAIN, FIRST
from emulab.plan.state import Ruleset, World

TABLE = "wire"
KEY = (FABRIC, f"netdev {TABLE}")
_OF = 1_000_000
_MTU = 65_000  # of the links between: it is the cable's that counts
_ANY = "numgen random mod 4294901760 offset 65536"  # the upper half is written: anything but 0, which is no checksum
_TWO_OCTETS = "@th,48,16"  # of a UDP header the checksum, of a TCP header a part of its number


@dataclass(frozen=True, slots=True)
class Impairment:
    """What becomes of packets in one direction of a place's cables. Times are nanoseconds, shares are of 1.

    `reorder` of the packets overtake those that are delayed. `corrupt`: rules that say which packets, "" for all, each
    with the share of them that comes with two other octets behind its IP header.
    """

    delay: int = 0
    jitter: int = 0
    loss: float = 0
    reorder: float = 0
    duplicate: float = 0
    corrupt: tuple[tuple[str, float], ...] = ()
    rate: int = 0  # bits a second; 0: as many as there are

    def then(self, other: Impairment) -> Impairment:
        """What becomes of packets that meet both."""
        return Impairment(
            self.delay + other.delay,
            self.jitter + other.jitter,
            _either(self.loss, other.loss),
            _either(self.reorder, other.reorder),
            _either(self.duplicate, other.duplicate),
            self.corrupt + other.corrupt,
            min(filter(None, (self.rate, other.rate)), default=0),
        )


NOTHING = Impairment()


class Cable(NamedTuple):
    """What becomes of what goes to a place, and of what comes from it."""

    to: Impairment = NOTHING
    from_: Impairment = NOTHING

    @staticmethod
    def of(impairments: Iterable[Cable]) -> Cable:
        return reduce(
            lambda one, other: Cable(one.to.then(other.to), one.from_.then(other.from_)), impairments, Cable()
        )


class Spliced(NamedTuple):
    """What there is to be for impaired cables; `ports`: by the port of a cable, who is the bridge's port for it."""

    items: Sequence[Item]
    rules: Ruleset
    ports: Mapping[str, str]


def spliced(world: World, cables: Mapping[str, Cable]) -> Spliced:
    """The links and rules for all cables of these places."""
    items: list[Item] = []
    chains: dict[str, tuple[str, ...]] = {}
    ports: dict[str, str] = {}
    wires = [i for i in world.network.items if isinstance(i, Veth) and i.namespace == FABRIC]
    for wire in sorted(wires, key=lambda w: w.name):
        if cable := cables.get(wire.peer_namespace):
            splice = _Splice(wire, cable)
            items += splice.items()
            chains |= splice.chains()
            ports[wire.name] = splice.port
    return Spliced(items, Ruleset("netdev", TABLE, chains), ports)


def _either(one: float, other: float) -> float:
    return one + other - one * other


class _Splice:
    """The pairs of one cable, from the place outwards."""

    def __init__(self, wire: Veth, cable: Cable) -> None:
        self.wire, self.to, self.from_ = wire, cable.to, cable.from_
        self.real = bool(cable.to.corrupt or cable.from_.corrupt)
        self.shaped = [self._pair("r")] if cable.to.rate or cable.from_.rate else []
        self.line = self._pair("c" if self.real else "d")  # other links, lest offloads of theirs change

    def _pair(self, letter: str) -> tuple[str, str]:
        near, far = (f"{self.wire.name}~{letter}{end}" for end in "01")
        return interface_name("~", near, near), interface_name("~", far, far)

    @property
    def port(self) -> str:
        """The end that is the bridge's port."""
        return self.line[1]

    def items(self) -> Iterator[Item]:
        wire = self.wire
        for near, far in (*self.shaped, self.line):
            master = wire.master if far == self.port else ""
            yield Veth(FABRIC, far, mac(FABRIC, far), FABRIC, near, mac(FABRIC, near), _MTU, master)
        for (near, far), rates in zip(self.shaped, ((self.from_.rate, self.to.rate),), strict=False):
            for end, rate in zip((near, far), rates, strict=True):
                if rate:
                    yield Shaper(FABRIC, end, rate, wire.mtu)
        for end, wanted in zip(self.line, (self.from_, self.to), strict=True):
            if wanted.delay:
                yield DelayLine(FABRIC, end, wanted.delay, wanted.jitter)
            if self.real:
                yield Checksums(FABRIC, end)
        yield Detached(FABRIC, wire.name, wire.master)

    def chains(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The rules of every end."""
        near, far = self.line
        way_in, before = (
            self.wire.name,
            self.wire.name,
        )  # who is in front of the line, and is sent what is for the place
        for one, other in self.shaped:
            yield _chain(way_in, (f'fwd to "{one}"',))
            yield _chain(one, (f'fwd to "{way_in}"',))
            way_in = before = other
        begun = _begun(self.from_, near)
        yield _chain(way_in, (*_lost(self.from_), *_twice(self.from_, near), *begun, f'fwd to "{near}"'))
        yield _chain(far, (*_again(self.from_, near), *_garbled(self.from_), "meta mark set 0"))
        yield _chain(
            near,
            (
                *_again(self.to, far),
                *_garbled(self.to),
                *(() if self.to.delay else _lost(self.to)),
                "meta mark set 0",
                *_copied(self.to, before),
                f'fwd to "{before}"',
            ),
        )
        if self.to.delay:
            fresh = ["meta mark != 0 accept", *_lost(self.to)]
            yield _chain(far, (*fresh, *_overtaking(self.to, "accept"), _slot(self.to)), "egress")


def _chain(link: str, rules: Iterable[str], hook: str = "ingress") -> tuple[str, tuple[str, ...]]:
    head = f'{{ type filter hook {hook} device "{link}" priority 0 ; policy accept ; }}'
    return f"{hook}-{link}".replace("~", "_"), (head, *rules)


def _share(share: float) -> str:
    """A rule's condition that holds for so many."""
    return f"numgen random mod {_OF} < {round(share * _OF)} " if share < 1 else ""


def _lost(wanted: Impairment) -> list[str]:
    return [f"{_share(wanted.loss)}counter drop"] if wanted.loss else []


def _slot(wanted: Impairment) -> str:
    return (
        f"meta mark set numgen inc mod {DelayLine('', '', wanted.delay, wanted.jitter).size} offset {FIRST}"
    )


def _overtaking(wanted: Impairment, verdict: str) -> list[str]:
    return [f"{_share(wanted.reorder)}meta mark set {AGAIN:#x} {verdict}"] if wanted.reorder else []


def _begun(wanted: Impairment, link: str) -> list[str]:
    return [*_overtaking(wanted, f'fwd to "{link}"'), _slot(wanted)] if wanted.delay else []


def _twice(wanted: Impairment, link: str) -> list[str]:
    """A copy takes a slot of its own."""
    if not wanted.duplicate:
        return []
    slot = f"{_slot(wanted)} " if wanted.delay else ""
    return [f'{_share(wanted.duplicate)}{slot}dup to "{link}"']


def _copied(wanted: Impairment, link: str) -> list[str]:
    return [f'{_share(wanted.duplicate)}dup to "{link}"'] if wanted.duplicate else []


def _again(wanted: Impairment, link: str) -> list[str]:
    """What has passed the line once passes it again."""
    once = f"meta mark {FIRST:#x}-{AGAIN - 1:#x}"
    return [f'{once} meta mark set meta mark | {AGAIN:#x} fwd to "{link}"'] if wanted.delay else []


def _garbled(wanted: Impairment) -> list[str]:
    return [f"{what} {_share(share)}{_TWO_OCTETS} set {_ANY}".strip() for what, share in wanted.corrupt]
