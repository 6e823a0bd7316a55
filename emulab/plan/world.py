"""From all objects to all that must exist: the sum of the other planners.

Each part of the sum depends on few objects and is planned again when one of these is another one: single pods, single
Services of the proxies' tables, and for all else whole planners (`kept`). So a change costs what it concerns, however
many objects there are, and whatever it is. There is one way to plan: the first plan is the change from nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.updates import program_runs_yet
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import DNS, INGRESS, NODE_CACHE, engine_of, server_of
from emulab.kinds.networking.ingresscontrollers import flags_of
from emulab.kinds.registry import ENDPOINT_SLICE, NODE, POD
from emulab.model.collection import Objects
from emulab.model.members import Members
from emulab.model.objects import Object
from emulab.plan import clusterdns, nodecache
from emulab.plan.balancers import plan_balancers
from emulab.plan.clusterdns import ClusterDns, cluster_dns_server
from emulab.plan.cni.hostports import plan_host_ports
from emulab.plan.cni.plugin import Node
from emulab.plan.cni.receivers import plan_receivers
from emulab.plan.coredns.corefile import Corefile, Texts
from emulab.plan.coredns.lastgood import STOCK_ONE, FollowedCorefile, LastGood, Life, Lives
from emulab.plan.dns import plan_public_dns
from emulab.plan.draft import Draft
from emulab.plan.endpoints import SlicesByService
from emulab.plan.faults.faulty import Faulty
from emulab.plan.faults.stuck import Stuck
from emulab.plan.kept import Kept, PlanSource
from emulab.plan.l7.ingress import IngressTold, ingress_plan, ingress_servers
from emulab.plan.nodes import plan_blocks, plan_nodes
from emulab.plan.pods import PodsPlan, place_name
from emulab.plan.policies.tables import PoliciesPlan
from emulab.plan.proxy.intents import Viewer, viewer
from emulab.plan.proxy.proxies import Proxies
from emulab.plan.standins import StandIns
from emulab.plan.state import Network, Place, PlannedServer, World, world_of
from emulab.plan.topology import plan_outside


class Planner:
    """Plans worlds, one after the other."""

    def __init__(self) -> None:
        self._sum: _Sum | None = None
        self._nodes: tuple[Members, list[Node], list[Viewer]] = ({}, [], [])
        # These outlive a sum: what a proxy wrote last stays, and by which Corefile a name server goes.
        self._stuck = Stuck(), Stuck("udp-backends")
        self._corefiles = LastGood()

    @property
    def lives(self) -> Lives:
        """By which Corefiles name servers go, for who may have to take a change back."""
        return self._corefiles.lives

    def go_back(self, lives: Lives) -> None:
        """What has been planned since then was taken back."""
        self._corefiles.go_back(lives)

    def plan(self, objects: Objects, cluster: Cluster) -> World:
        """Everything that must exist for these objects, which have been through controllers and allocation."""
        last, self._sum = self._sum, None  # what fails half way is no sum to go on from
        members = objects.members(NODE)
        if self._nodes[0] is not members:
            given = members.values()
            self._nodes = members, [Node.of(o) for o in given], [viewer(o) for o in given]
        _, nodes, viewers = self._nodes
        fits = last is not None and (last.cluster, last.nodes, last.viewers) == (cluster, nodes, viewers)
        now = last if last is not None and fits else self._anew(cluster, last)
        world = now.follow(objects)
        self._sum = now
        return world

    def _anew(self, cluster: Cluster, last: _Sum | None) -> _Sum:
        _, nodes, viewers = self._nodes
        return _Sum(cluster, nodes, viewers, self._stuck, self._corefiles, last)


def plan_world(objects: Objects, cluster: Cluster) -> World:
    """Everything that must exist for these objects, which have been through controllers and allocation."""
    return Planner().plan(objects, cluster)


class _Sum:
    """The world for as long as the cluster and its nodes are the same."""

    def __init__(
        self,
        cluster: Cluster,
        nodes: list[Node],
        viewers: list[Viewer],
        stuck: tuple[Stuck, Stuck],
        corefiles: LastGood,
        last: _Sum | None,
    ) -> None:
        """`last`: the one before, of which nobody has need any more."""
        self.cluster, self.nodes, self.viewers = cluster, nodes, viewers
        self._stuck, self._faulty = stuck, Faulty()
        draft = Draft(cluster.families)
        sites = plan_nodes(draft, nodes, cluster)
        self._nodes = draft.world()
        self._slices = SlicesByService()
        self._outside = Kept(self._drafted(plan_outside, cluster))
        self._balancers = Kept(self._drafted(plan_balancers, cluster, nodes))
        self._host_ports = Kept(self._drafted(plan_host_ports, cluster, nodes))
        self._receivers = Kept(self._drafted(plan_receivers, cluster, nodes))
        self._blocks = Kept(self._drafted(plan_blocks, cluster, nodes))
        self._policies = PoliciesPlan(cluster)
        self._public_dns = Kept(self._drafted(plan_public_dns, cluster, nodes))
        self._proxies = Proxies(cluster, sites, viewers)
        self._pods: PodsPlan
        self._standins: StandIns
        if last is not None and replace(last.cluster, nodes=cluster.nodes) == cluster:  # a node more or less
            self._pods, self._standins = last._pods.on(cluster, nodes), last._standins
        else:
            self._pods, self._standins = PodsPlan(cluster, nodes), StandIns(cluster.families)
        self._server_pods = _ServerPods(cluster, corefiles)
        self._parts: tuple[World, ...] = ()
        self._world = World(Network(), {}, {})

    def _drafted(self, plan: Callable[..., None], *more: Any) -> Callable[[PlanSource], World]:
        def made(source: PlanSource) -> World:
            draft = Draft(self.cluster.families)
            plan(draft, source, *more)
            return draft.world()

        return made

    def follow(self, objects: Objects) -> World:
        """The world for these objects, broken as its Faults have it: the very same where nothing of it changed."""
        before = self._slices.follow(objects.members(ENDPOINT_SLICE))
        source = PlanSource(objects, self._slices)
        self._faulty.follow(source)
        outside, proxies = self._outside.now(source), self._proxies.follow(source, before)
        whole, flows = self._stuck
        proxies = flows.now(whole.now(proxies, self._faulty.stuck), self._faulty.keeping_flows)
        balancers, pods = self._balancers.now(source), self._pods.follow(source.members(POD))
        public_dns, host_ports = self._public_dns.now(source), self._host_ports.now(source)
        policies, blocks = self._policies.now(source), self._blocks.now(source)
        receivers = self._receivers.now(source)
        servers = self._servers(
            [self._standins.follow(source, pods.places), *self._server_pods.follow(source, pods.places)]
        )
        parts = (
            outside,
            self._nodes,
            proxies,
            host_ports,
            policies,
            blocks,
            balancers,
            pods,
            receivers,
            public_dns,
            servers,
        )
        if [*map(id, parts)] != [*map(id, self._parts)]:
            self._parts, self._world = parts, world_of(parts)
        return self._faulty.now(self._world, self.nodes, self.cluster)

    def _servers(self, servers: list[PlannedServer]) -> World:
        known = self._parts[-1] if self._parts else None
        if known is not None and [*map(id, known.servers.values())] == [*map(id, servers)]:
            return known
        return World(Network(), {server.name: server for server in servers}, {})


_Serving = tuple[str, Any]
"""A server that stands for an image, and what the container tells it."""


class _ServerPods:
    """Pods whose image is a server of emulab: each runs one of its own."""

    def __init__(self, cluster: Cluster, corefiles: LastGood) -> None:
        self._cluster, self._corefiles = cluster, corefiles
        # One configuration for all pods that are told the same.
        self._texts: dict[_Serving, Kept[Texts | None]] = {}
        self._configs: dict[tuple[_Serving, FollowedCorefile], Kept[Any]] = {}
        self._known: dict[str, tuple[Place, Any, list[PlannedServer]]] = {}

    def follow(self, source: PlanSource, places: Mapping[str, Place]) -> list[PlannedServer]:
        """The servers of such pods, the very same value where nothing changed."""
        known, self._known = self._known, {}
        used: dict[tuple[_Serving, FollowedCorefile], Kept[Any]] = {}
        lives: set[Life] = set()
        texts: dict[_Serving, Texts | None] = {}  # asked for once, however many pods there are
        for pod, containers in source.facts(POD, _served).values():
            place = places.get(place_name(pod))
            if place is None:
                continue
            for container, told in containers:
                kind, said = _SERVER_PODS[told[0]], told[1]
                followed = self._followed(source, told, life := _life(pod, container), texts)
                lives.add(life)
                if (told, followed) not in used:
                    made = self._configs.get((told, followed))
                    used[told, followed] = made or Kept(kind.configurer(self._cluster, said, followed))
                name, config = server_name(place.name, container), used[told, followed].now(source)
                old = known.get(name)
                if old is None or old[0] is not place or old[1] is not config:
                    old = place, config, kind.servers(name, place, config, said, self._cluster)
                self._known[name] = old
        self._configs = used
        self._texts = {told: self._texts[told] for told, _ in used if told in self._texts}
        self._corefiles.keep(lives)
        return [server for _, _, servers in self._known.values() for server in servers]

    def _followed(
        self, source: PlanSource, told: _Serving, life: Life, texts: dict[_Serving, Texts | None]
    ) -> FollowedCorefile:
        """The Corefile by which a server goes."""
        if (reading := _SERVER_PODS[told[0]].reading) is None:
            return STOCK_ONE
        if told not in self._texts:
            self._texts[told] = Kept(lambda source: reading.texts(source, self._cluster, told[1]))
        if told not in texts:
            texts[told] = self._texts[told].now(source)
        return self._corefiles.followed(
            life, texts[told], lambda one: reading.corefile_of(self._cluster, told[1], one)
        )


def _life(pod: Object, container: str) -> Life:
    fields = ("containerStatuses", "initContainerStatuses")  # the latter of sidecars
    told = (c for field in fields for c in pod.status.get(field) or () if c["name"] == container)
    restarts = next((int(c.get("restartCount") or 0) for c in told), 0)
    return Life(f"{pod.namespace}/{pod.name}/{pod.metadata.get('uid')}", container, restarts)


class _Reading(NamedTuple):
    """How a server's Corefile is read: its texts, and what they ask for."""

    texts: Callable[[PlanSource, Cluster, Any], Texts | None]
    corefile_of: Callable[[Cluster, Any, Texts], Corefile]


class _ServerKind(NamedTuple):
    """How a server that stands for an image is planned: what its container tells it, who plans its configuration, and
    the servers: one of the container's name, and maybe more.

    Of two containers that tell the same, and go by the same Corefile, the configuration is the same, so both are
    hashable.
    """

    told: Callable[[Object, PodSpec, Container], Any]
    configurer: Callable[[Cluster, Any, FollowedCorefile], Callable[[PlanSource], Any]]
    servers: Callable[[str, Place, Any, Any, Cluster], list[PlannedServer]]
    reading: _Reading | None = None


_SERVER_PODS = {
    DNS: _ServerKind(
        clusterdns.told,
        ClusterDns,
        lambda name, place, config, told, cluster: [cluster_dns_server(name, place, config)],
        _Reading(clusterdns.texts, clusterdns.corefile_of),
    ),
    NODE_CACHE: _ServerKind(
        nodecache.told,
        nodecache.configurer,
        nodecache.node_cache_servers,
        _Reading(nodecache.texts, nodecache.corefile_of),
    ),
    INGRESS: _ServerKind(
        lambda pod, spec, c: IngressTold(flags_of(pod, spec, c), engine_of(c.image)),
        lambda cluster, told, _: partial(ingress_plan, cluster=cluster, told=told),
        lambda name, place, config, told, cluster: ingress_servers(name, place, config, told.flags),
    ),
}


def _served(pod: Object) -> tuple[Object, list[tuple[str, _Serving]]] | None:
    """A Pod with its containers that are servers of emulab, and what these are told."""
    spec = PodSpec.of_pod(pod)
    found = [
        (c.name, (server, _SERVER_PODS[server].told(pod, spec, c)))
        for c in spec.lasting
        if (server := server_of(c.image)) and not c.command and not program_runs_yet(pod, c)
    ]
    return (pod, found) if found else None


def server_name(place: str, container: str) -> str:
    """The name of the server that is a pod's container."""
    return f"{place}/{container}"
