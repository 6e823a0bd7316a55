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
from emulab.plan.links.delayline import AGAIN, FIRST, Held, first_slots
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


class Toward(NamedTuple):
    """What becomes of what comes from a place for some others, on top of what becomes of all.

    A rate is that of what is for these alone.
    """

    places: tuple[str, ...]
    wanted: Impairment


class Cable(NamedTuple):
    """What becomes of what goes to a place, and of what comes from it: for some places, or for whomever."""

    to: Impairment = NOTHING
    from_: Impairment = NOTHING
    toward: tuple[Toward, ...] = ()

    def beside(self, other: Cable) -> Cable:
        """The cable of which both are true."""
        return Cable(self.to.then(other.to), self.from_.then(other.from_), self.toward + other.toward)

    @staticmethod
    def of(impairments: Iterable[Cable]) -> Cable:
        return reduce(Cable.beside, impairments, Cable())


class _Lane(NamedTuple):
    """Packets of one direction that suffer the same. `which`: a rule's condition, "" for all that are left."""

    which: str
    wanted: Impairment
    first: int = 0  # the mark of its first slot
    narrow: int = 0  # bits a second of this lane alone

    @property
    def held(self) -> Held:
        return Held(self.wanted.delay, self.wanted.jitter)

    def rules(self, texts: Iterable[str]) -> list[str]:
        """Rules for these packets alone."""
        return [f"{self.which}{text}" for text in texts]


class Spliced(NamedTuple):
    """What there is to be for impaired cables; `ports`: by the port of a cable, who is the bridge's port for it."""

    items: Sequence[Item]
    rules: Ruleset
    ports: Mapping[str, str]


def wires_of(world: World) -> list[Veth]:
    """All cables, in the order of their names."""
    wires = (i for i in world.network.items if isinstance(i, Veth) and i.namespace == FABRIC)
    return sorted(wires, key=lambda wire: wire.name)


def spliced(wires: Sequence[Veth], cables: Mapping[str, Cable]) -> Spliced:
    """The links and rules for all cables of these places."""
    items: list[Item] = []
    chains: dict[str, tuple[str, ...]] = {}
    ports: dict[str, str] = {}
    others = _Others(wires)
    for wire in wires:
        if cable := cables.get(wire.peer_namespace):
            splice = _Splice(wire, cable, others)
            items += splice.items()
            chains |= splice.chains()
            ports[wire.name] = splice.port
    return Spliced(items, Ruleset("netdev", TABLE, chains), ports)


def _either(one: float, other: float) -> float:
    return one + other - one * other


class _Others:
    """How rules say for whom a frame is."""

    def __init__(self, wires: Sequence[Veth]) -> None:
        self._macs: dict[tuple[str, str], list[str]] = {}
        for wire in wires:
            self._macs.setdefault((wire.peer_namespace, wire.master), []).append(wire.peer_mac)
        self._known: dict[tuple[tuple[str, ...], str], str] = {}  # a thousand nodes have the same others

    def which(self, places: tuple[str, ...], bridge: str) -> str:
        """A rule's condition for frames to these places at this bridge; "" where they have no cable there."""
        key = places, bridge
        if key not in self._known:
            own = sorted(mac for place in places for mac in self._macs.get((place, bridge), ()))
            self._known[key] = f"ether daddr {{ {', '.join(own)} }} " if own else ""
        return self._known[key]


def _lanes(cable: Cable, wire: Veth, others: _Others) -> list[_Lane]:
    """The lanes of what comes from a place: by the MAC addresses of whom it is for, and one for all else."""
    found = []
    for places, wanted in cable.toward:
        if which := others.which(places, wire.master):
            found.append(_Lane(which, wanted.then(cable.from_), narrow=wanted.rate))
    return _numbered([*found, _Lane("", cable.from_)])


def _numbered(lanes: Sequence[_Lane]) -> list[_Lane]:
    firsts = iter(first_slots([lane.held for lane in lanes if lane.wanted.delay]))
    return [lane._replace(first=next(firsts)) if lane.wanted.delay else lane for lane in lanes]


class _Splice:
    """The pairs of one cable, from the place outwards."""

    def __init__(self, wire: Veth, cable: Cable, others: _Others) -> None:
        self.wire, self.to, self.from_ = wire, _numbered([_Lane("", cable.to)]), _lanes(cable, wire, others)
        self.real = any(lane.wanted.corrupt for lane in (*self.to, *self.from_))
        self.rates = cable.from_.rate, cable.to.rate
        narrow = (lane for lane in self.from_ if lane.narrow)
        self.narrow = {lane: self._pair(f"n{number}") for number, lane in enumerate(narrow)}
        self.shaped = [self._pair("r")] if any(self.rates) else []
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
        for near, far in (*self.shaped, *self.narrow.values(), self.line):
            master = wire.master if far == self.port else ""
            yield Veth(FABRIC, far, mac(FABRIC, far), FABRIC, near, mac(FABRIC, near), _MTU, master)
        for ends in self.shaped:
            for end, rate in zip(ends, self.rates, strict=True):
                if rate:
                    yield Shaper(FABRIC, end, rate, wire.mtu)
        for lane, (near, _) in self.narrow.items():
            yield Shaper(FABRIC, near, lane.narrow, wire.mtu)
        for end, lanes in zip(self.line, (self.from_, self.to), strict=True):
            if held := tuple(lane.held for lane in lanes if lane.wanted.delay):
                yield DelayLine(FABRIC, end, held)
            if self.real:
                yield Checksums(FABRIC, end)
        yield Detached(FABRIC, wire.name, wire.master)

    def chains(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The rules of every end. `way_in` hands on to the line, and gets from it what is for the place."""
        (near, far), way_in = self.line, self.wire.name
        for one, other in self.shaped:
            yield _chain(way_in, (f'fwd to "{one}"',))
            yield _chain(one, (f'fwd to "{way_in}"',))
            way_in = other
        on = f'fwd to "{near}"'
        yield _chain(way_in, (rule for lane in self.from_ for rule in lane.rules(self._entrance(lane, on))))
        for lane, (_, end) in self.narrow.items():
            yield _chain(end, _out(lane, near, on))
        changed = [rule for lane in self.from_ for rule in lane.rules(_garbled(lane.wanted))]
        yield _chain(far, (*_again(self.from_, near), *changed, "meta mark set 0"))
        (to,) = self.to
        late = () if to.wanted.delay else _lost(to.wanted)
        last = (*_garbled(to.wanted), *late, "meta mark set 0", *_copied(to.wanted, way_in))
        yield _chain(near, (*_again(self.to, far), *last, f'fwd to "{way_in}"'))
        if to.wanted.delay:
            fresh = ("meta mark != 0 accept", *_lost(to.wanted), *_overtaking(to.wanted, "accept"))
            yield _chain(far, (*fresh, _slot(to)), "egress")

    def _entrance(self, lane: _Lane, on: str) -> Iterable[str]:
        """What a lane's packets meet first: the pair that is narrow for them, or the line."""
        if lane in self.narrow:
            return (f'fwd to "{self.narrow[lane][0]}"',)
        return _out(lane, self.line[0], on)


def _out(lane: _Lane, link: str, on: str) -> Iterator[str]:
    """What a lane's packets meet on their way into the line."""
    yield from _lost(lane.wanted)
    slot = f"{_slot(lane)} " if lane.wanted.delay else ""
    if lane.wanted.duplicate:  # a copy takes a slot of its own
        yield f'{_share(lane.wanted.duplicate)}{slot}dup to "{link}"'
    if lane.wanted.delay:
        yield from _overtaking(lane.wanted, on)
    yield f"{slot}{on}"


def _chain(link: str, rules: Iterable[str], hook: str = "ingress") -> tuple[str, tuple[str, ...]]:
    head = f'{{ type filter hook {hook} device "{link}" priority 0 ; policy accept ; }}'
    return f"{hook}-{link}".replace("~", "_"), (head, *rules)


def _share(share: float) -> str:
    """A rule's condition that holds for so many."""
    return f"numgen random mod {_OF} < {round(share * _OF)} " if share < 1 else ""


def _lost(wanted: Impairment) -> list[str]:
    return [f"{_share(wanted.loss)}counter drop"] if wanted.loss else []


def _slot(lane: _Lane) -> str:
    return f"meta mark set numgen inc mod {lane.held.size} offset {lane.first}"


def _overtaking(wanted: Impairment, verdict: str) -> list[str]:
    return [f"{_share(wanted.reorder)}meta mark set {AGAIN:#x} {verdict}"] if wanted.reorder else []


def _copied(wanted: Impairment, link: str) -> list[str]:
    return [f'{_share(wanted.duplicate)}dup to "{link}"'] if wanted.duplicate else []


def _again(lanes: Iterable[_Lane], link: str) -> list[str]:
    """What has passed the line once passes it again."""
    once = f"meta mark {FIRST:#x}-{AGAIN - 1:#x}"
    held = any(lane.wanted.delay for lane in lanes)
    return [f'{once} meta mark set meta mark | {AGAIN:#x} fwd to "{link}"'] if held else []


def _garbled(wanted: Impairment) -> list[str]:
    return [f"{what} {_share(share)}{_TWO_OCTETS} set {_ANY}".strip() for what, share in wanted.corrupt]
