"""The world with far zones, and with all that Faults have broken in it. Pure, but for what it remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import FAULT
from emulab.plan.cni.plugin import Node
from emulab.plan.kept import PlanSource
from emulab.plan.state import Network, Rules, World

if TYPE_CHECKING:
    from emulab.kinds.faults.effects import Harm
    from emulab.plan.impaired import Cable, Spliced
    from emulab.plan.links import Veth

E = TypeVar("E")


class Faulty:
    """What is broken now. Without Faults and far zones nothing of it is loaded, and a world stays the very same."""

    def __init__(self) -> None:
        self._made: tuple[World, Sequence[Harm], World] | None = None
        self._splices = _Splices()
        self.effects: tuple[Harm, ...] = ()

    def follow(self, source: PlanSource) -> None:
        """Looks which Faults are at work."""
        if not source.members(FAULT):
            self.effects = ()
            return
        from emulab.kinds.emulab.fault import at_work
        from emulab.kinds.faults.scene import Scene

        faults = at_work(source.members(FAULT).values(), Scene.of(source.objects))
        found = tuple(effect for _, effects in faults for effect in effects)
        self.effects = self.effects if found == self.effects else found

    @property
    def stuck(self) -> frozenset[str]:
        """The nodes whose kube-proxy follows no more."""
        if not self.effects:
            return frozenset()
        from emulab.kinds.faults.effects import Unsynced

        return frozenset(e.node for e in self.effects if isinstance(e, Unsynced))

    @property
    def keeping_flows(self) -> frozenset[str]:
        """The nodes whose kube-proxy forgets no UDP flows."""
        if not self.effects:
            return frozenset()
        from emulab.kinds.faults.effects import KeptFlows

        return frozenset(e.node for e in self.effects if isinstance(e, KeptFlows))

    def now(self, world: World, nodes: Sequence[Node], cluster: Cluster) -> World:
        """The world, broken, and as large as the Cluster has it."""
        if not self.effects and not cluster.links:
            self._made = None
            return world
        if self._made is None or self._made[0] is not world or self._made[1] is not self.effects:
            self._made = world, self.effects, _broken(world, self.effects, nodes, cluster, self._splices)
        return self._made[2]


class _Splices:
    """What impaired cables are, kept for as long as these are the same: pods come and go more often."""

    def __init__(self) -> None:
        self._zones: tuple[Cluster, Mapping[str, Cable]] | None = None
        self._made: tuple[Sequence[Veth], Mapping[str, Cable], Spliced] | None = None

    def zones(self, cluster: Cluster) -> Mapping[str, Cable]:
        """The cables of a Cluster's far zones."""
        from emulab.plan.farzones import zone_cables

        if self._zones is None or self._zones[0] is not cluster:
            self._zones = cluster, zone_cables(cluster)
        return self._zones[1]

    def of(self, world: World, cables: Mapping[str, Cable]) -> Spliced:
        """The links and rules for all cables of these places."""
        from emulab.plan.impaired import spliced, wires_of

        wires = wires_of(world)
        if self._made is None or (self._made[0], self._made[1]) != (wires, cables):
            self._made = wires, cables, spliced(wires, cables)
        return self._made[2]


def _broken(
    world: World, effects: Sequence[Harm], nodes: Sequence[Node], cluster: Cluster, splices: _Splices
) -> World:
    from emulab.kinds.faults.effects import (
        Askew,
        FewPorts,
        Filtered,
        Impaired,
        LateStart,
        LostOnWire,
        ReusedPorts,
        Searching,
        WrongNeighbour,
        WrongWay,
    )
    from emulab.plan import impaired
    from emulab.plan.faults import askew
    from emulab.plan.faults.bad import cables
    from emulab.plan.faults.filtered import filtered
    from emulab.plan.faults.late import late
    from emulab.plan.faults.reused import reusing
    from emulab.plan.faults.searching import searching
    from emulab.plan.faults.servers import misled
    from emulab.plan.faults.ways import astray
    from emulab.plan.faults.wire import KEY, lost

    network = world.network
    rulesets: dict[tuple[str, str], Rules] = dict(network.rulesets)
    items, ports = network.items, dict[str, str]()
    wires = dict(splices.zones(cluster)) if cluster.links else {}
    for place, cable in cables(_only(effects, Impaired), cluster).items():
        wires[place] = wires[place].beside(cable) if place in wires else cable
    if wires:
        bad = splices.of(world, wires)
        rulesets[impaired.KEY], ports = bad.rules, dict(bad.ports)
        items = items.union(bad.items)
    if frames := _only(effects, LostOnWire):
        rules, more = lost(world, frames, cluster, ports)
        rulesets[KEY] = rules
        items = items.union(more)
    rulesets.update(astray(rulesets, _only(effects, WrongWay), cluster))
    walls = [effect for effect in effects if isinstance(effect, Filtered | FewPorts)]
    rulesets.update(filtered(walls, [node.name for node in nodes], cluster, world.places))
    rulesets.update(reusing(rulesets, _only(effects, ReusedPorts)))
    bent = _only(effects, Askew)
    rulesets.update(askew.reverse_path_rules(network, bent))
    items = items.union(
        askew.wrong_neighbours(network, _only(effects, WrongNeighbour)),
        askew.ways_past_the_overlay(network, bent),
    )
    rulesets.update(late(world.places, _only(effects, LateStart), cluster))
    servers = misled(world.servers, world.places, effects)
    places = searching(world.places, _only(effects, Searching))
    return World(Network(network.namespaces, items, rulesets), servers, places)


def _only(effects: Sequence[Harm], kind: type[E]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]
