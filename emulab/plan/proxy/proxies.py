"""The proxies of all nodes: what each of them needs, as the sum of what every Service needs there.

Nodes that see all Services alike share a sum; those that come to see one otherwise get a copy of it and go on apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import SERVICE
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName, SliceObjects
from emulab.plan.kept import PlanSource
from emulab.plan.proxy.flows import FlowSum
from emulab.plan.proxy.health import HealthSum
from emulab.plan.proxy.intents import Candidates, Intent, Viewer, intent
from emulab.plan.proxy.modes import MODES
from emulab.plan.proxy.modes.mode import Site
from emulab.plan.proxy.ports import Changed, ServicePorts
from emulab.plan.state import UdpBackends, World

_TOGETHER = 500
"""Intents that are exchanged at once: many, but few beside those that a large cluster has."""


class _Group:
    """Nodes that have one sum in a family."""

    def __init__(self, viewers: Sequence[Viewer], made: Any) -> None:
        self.viewers = list(viewers)
        self.sum = made
        self.no_local = Counter[str]()
        self.stale = False
        self.turn = 0
        self._gone: list[Intent] = []
        self._come: list[Intent] = []

    def split(self, viewers: Sequence[Viewer]) -> _Group:
        """The group that some of these nodes go on as."""
        self.settle()
        other = _Group(viewers, self.sum.copy())
        other.no_local, other.stale = self.no_local.copy(), self.stale
        return other

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> None:
        """Puts new intents of one Service in the place of its old ones, which is done once `settle` is called."""
        self.turn += 1
        if any(one.internal_local or one.external_local for one in (*gone, *come)):
            self.no_local.subtract(unserved(gone))
            self.no_local.update(unserved(come))
        self._gone += gone
        self._come += come
        if len(self._come) >= _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Has the sum take over what has been exchanged since: together, for it costs the same for one as for many."""
        gone, come = self._gone, self._come
        self._gone, self._come = [], []
        if (gone or come) and not self.stale:
            self.stale = not self.sum.exchange(gone, come)


class Proxies:
    """The proxies of some nodes of a cluster, for as long as nodes and cluster are the same."""

    def __init__(self, cluster: Cluster, sites: Sequence[Site], viewers: Sequence[Viewer]) -> None:
        self._cluster, self._sites = cluster, sites
        self._mode = MODES[cluster.proxy_mode]
        self._ports = ServicePorts(cluster.families, self._mode.heeds)
        self._groups = {
            f: [_Group(viewers, self._mode.sum(cluster, f))] if viewers else [] for f in cluster.families
        }
        self._flows = FlowSum()
        self._health = HealthSum(cluster, sites)
        self._planned: dict[str, tuple[object, World, UdpBackends | None]] = {}
        self._world: World | None = None

    def follow(self, source: PlanSource, before: Mapping[ServiceName, SliceObjects]) -> World:
        """The proxies' part of the world for these objects. `before`: the EndpointSlices of the Services that have
        others than the last time."""
        changes = list(self._ports.follow(source.members(SERVICE), source.all_slices, before))
        if self._world is None or changes:
            for change in changes:
                for family, groups in self._groups.items():
                    self._exchange(family, groups, change)
            self._renew()
            if not self._flows.exchange(changes):
                self._flows.anew(self._ports)
            self._health.exchange(changes)
            self._world = self._plan()
        return self._world

    def _exchange(self, family: Family, groups: list[_Group], change: Changed) -> None:
        was, will = ([c for c in ports if c.family is family] for ports in change)
        if was == will:
            return
        if all(c.same_everywhere for c in (*was, *will)):
            gone, come = _seen(was, groups[0].viewers[0]), _seen(will, groups[0].viewers[0])
            for group in groups:
                group.exchange(gone, come)
            return
        for group in tuple(groups):
            alike: dict[tuple[Intent, ...], list[Viewer]] = {}
            for viewer in group.viewers:
                alike.setdefault(_seen(will, viewer), []).append(viewer)
            gone = _seen(was, group.viewers[0])
            (first, *others) = alike.items()
            for come, viewers in others:
                apart = group.split(viewers)
                apart.exchange(gone, come)
                groups.append(apart)
            group.viewers = first[1]
            group.exchange(gone, first[0])

    def _renew(self) -> None:
        """Settles all groups, and makes anew the sums that couldn't be changed."""
        for family, groups in self._groups.items():
            for group in groups:
                group.settle()
                if group.stale:
                    group.sum, group.stale = self._mode.sum(self._cluster, family), False
                    for own in by_service(c for c in self._ports if c.family is family):
                        group.sum.exchange((), _seen(own, group.viewers[0]))

    def _plan(self) -> World:
        sums = {
            (v.name, f): group
            for f, groups in self._groups.items()
            for group in groups
            for v in group.viewers
        }
        draft, flows = Draft(self._cluster.families), self._flows.made
        for site in self._sites:
            own = {family: sums[site.name, family] for family in self._cluster.families}
            turns = [(group, group.turn) for group in own.values()]
            known = self._planned.get(site.name)
            if known is None or known[0] != turns:
                part = Draft(self._cluster.families)
                made = {family: group.sum for family, group in own.items()}
                own_flows = self._mode.plan(part, site, self._cluster, made)
                known = self._planned[site.name] = turns, part.world(), own_flows
            _, world, own_flows = known
            draft.include(world)
            # After the rules: what is forgotten is looked up in the new ones.
            draft.rules(site.name, flows if own_flows is None else own_flows)
        self._health.plan(draft, {key: group.no_local for key, group in sums.items()})
        return draft.world()


def _seen(ports: Iterable[Candidates], viewer: Viewer) -> tuple[Intent, ...]:
    return tuple(intent(c, viewer) for c in ports)


def by_service(ports: Iterable[Candidates]) -> Iterable[list[Candidates]]:
    """The ports of each Service, which come one after the other."""
    own: list[Candidates] = []
    for c in ports:
        if own and (own[0].service.namespace, own[0].service.name) != (c.service.namespace, c.service.name):
            yield own
            own = []
        own.append(c)
    if own:
        yield own


def unserved(intents: Iterable[Intent]) -> Counter[str]:
    """How many Service ports have endpoints, but none that a Local policy lets their node use, by policy."""
    found = Counter[str]()
    for one in intents:
        if one.internal_local and one.internal_verdict == "drop":
            found["internal"] += 1
        if one.external_local and one.externally_accessible and one.external_verdict == "drop":
            found["external"] += 1
    return found
