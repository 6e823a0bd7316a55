"""What a mode of kube-proxy says of itself (`Mode`), and what modes plan with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain, islice
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from emulab.dataclass import dataclass
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName
from emulab.plan.proxy.intents import Candidates, Intent
from emulab.plan.state import UdpBackends

T = TypeVar("T")

_REMEMBERED = 1000  # changes


class Site(NamedTuple):
    """A node that has a proxy."""

    name: str
    addresses: tuple[IPAddress, ...]
    """Those by which others know it, one of each family."""
    local: tuple[IPAddress, ...]
    """All that its links have: in an overlay it has an end of its own."""


class Sum(Protocol):
    """What proxies need in one family, as the sum of what all Services need. Nodes that see them alike share one."""

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """Puts new intents of some Services in the place of their old ones. False, and nothing is changed, where the
        sum has to be made anew, of all Services, one by one."""

    def copy(self) -> Self:
        """A sum that is equal now, and changes apart."""


class Pieces(Generic[T]):
    """What is made of each intent, once, by Service in the order of their names."""

    def __init__(self, make: Callable[[Intent], T]) -> None:
        self.make = make
        self.turn = 0
        """Goes up with every change."""
        self._intents: dict[ServiceName, Sequence[Intent]] = {}
        self._made: dict[ServiceName, Sequence[T]] = {}
        self._names: Sequence[ServiceName] | None = ()
        self._past: deque[tuple[ServiceName, Sequence[T]]] = deque(maxlen=_REMEMBERED)

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> None:
        """Puts new intents of some Services in the place of their old ones."""
        now: dict[ServiceName, list[Intent]] = {(one.namespace, one.name): [] for one in gone}
        for one in come:
            now.setdefault((one.namespace, one.name), []).append(one)
        for name, intents in now.items():
            self.turn += 1
            self._past.append((name, self._made.pop(name, ())))
            if (name in self._intents) != bool(intents):
                self._names = None
            if intents:
                self._intents[name] = intents
            else:
                self._intents.pop(name, None)

    def changed_since(self, turn: int) -> Mapping[ServiceName, Sequence[T]] | None:
        """The Services that have changed since a turn, each with its pieces of then, where somebody asked for all of
        them then. None when that is forgotten."""
        count = self.turn - turn
        if count > len(self._past):
            return None
        found: dict[ServiceName, Sequence[T]] = {}
        for name, pieces in islice(self._past, len(self._past) - count, None):
            found.setdefault(name, pieces)
        return found

    def copy(self) -> Self:
        """Pieces that are equal now, and change apart."""
        other = copy(self)
        other._intents, other._made, other._past = dict(self._intents), dict(self._made), self._past.copy()
        return other

    def forget(self) -> None:
        """Forgets all pieces: what they are made by has changed, so all are made anew."""
        self._made.clear()
        self._past.clear()
        self.turn += 1

    def of(self, name: ServiceName) -> Sequence[T]:
        """The pieces of a Service."""
        made = self._made.get(name)
        if made is None and name in self._intents:
            made = self._made[name] = [self.make(one) for one in self._intents[name]]
        return made or ()

    def __iter__(self) -> Iterator[T]:
        if self._names is None:
            self._names = sorted(self._intents)
        return chain.from_iterable(map(self.of, self._names))


@dataclass(frozen=True, slots=True)
class Mode:
    """One mode of kube-proxy. What other rooms do about it is named here and looked up in a table there."""

    name: str
    sum: Callable[[Cluster, Family], Any]
    """An empty sum (`Sum`) for the nodes of a cluster, in one family."""
    plan: Callable[[Draft, Site, Cluster, Mapping[Family, Any]], UdpBackends | None]
    """Adds what the mode needs on a node with these sums, the primary family's first. Who may go on to have UDP flows
    there, in modes that don't send straight to endpoints."""
    shows: str
    """The command that shows on a node where Services lead; `{ip}` and `{iptables}` are the family's."""
    needs: tuple[str, ...]
    """What of the kernel, as `emulab.kernel.probe` calls it."""
    differences: frozenset[str]
    """What is seen in this mode and not in others, as `emulab.twins.differences` calls it."""
    pods: bool = False
    """Whether it translates at the links of pods, too."""
    heeds: Callable[[Candidates], Candidates] | None = None
    """What becomes of a Service port by annotations that are this mode's own."""
    virtual: bool = False
    """Whether it has a virtual server of IPVS for each, to which rules see packets sent."""

    def shown_by(self, family: Family) -> str:
        """The command of `shows` for a family."""
        return self.shows.format(ip=family.nft, iptables=family.iptables)
