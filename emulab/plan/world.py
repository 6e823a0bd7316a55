"""From all objects to all that must exist: the sum of the other planners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.installed import SERVER_IMAGES
from emulab.kinds.registry import POD
from emulab.model.collection import Objects
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.balancers import plan_balancers
from emulab.plan.dns import cluster_dns_config, cluster_dns_server, plan_public_dns
from emulab.plan.draft import Draft
from emulab.plan.endpoints import Slices, slices_by_service
from emulab.plan.l7.ingress import ingress_config, ingress_server
from emulab.plan.narrow import Narrow
from emulab.plan.nodes import plan_nodes
from emulab.plan.pods import has_network, place_name, plan_pods
from emulab.plan.proxy.intents import candidates
from emulab.plan.proxy.modes.mode import Proxies
from emulab.plan.state import Place, Server, World
from emulab.plan.topology import plan_outside


class Planner:
    """Plans worlds, one after the other."""

    def __init__(self) -> None:
        self._narrow: Narrow | None = None

    def plan(self, objects: Objects, cluster: Cluster) -> World:
        """Everything that must exist for these objects, which have been through controllers and allocation."""
        draft, views = Draft(cluster.families), slices_by_service(objects)
        slices, services = Slices(views), candidates(objects, cluster.families, views)
        proxies = Proxies(draft, cluster)
        plan_outside(draft, objects, cluster)
        nodes = plan_nodes(draft, objects, cluster, services, proxies)
        plan_balancers(draft, objects, slices, cluster, nodes)
        plan_pods(draft, objects, cluster, nodes)
        plan_public_dns(draft, objects, cluster)
        _plan_server_pods(draft, objects, slices, cluster)
        world = draft.world()
        self._narrow = Narrow(world, objects, cluster, services, proxies, slices.asked)
        return world

    def follow(
        self, before: Mapping[Key, Object | None], get: Callable[[Key], Object | None]
    ) -> World | None:
        """The last world after some changes, where little of it changes (see `Narrow.follow`); else None: plan it."""
        return self._narrow.follow(before, get) if self._narrow else None

    def anticipate(
        self, before: Mapping[Key, Object | None], get: Callable[[Key], Object | None]
    ) -> tuple[list[Object], World] | None:
        """What can be done at once about some changes, before the world is planned (see `Narrow.anticipate`)."""
        return self._narrow.anticipate(before, get) if self._narrow else None

    def forget(self) -> None:
        """The last world isn't what is there: the next one has to be planned."""
        self._narrow = None


def plan_world(objects: Objects, cluster: Cluster) -> World:
    """Everything that must exist for these objects, which have been through controllers and allocation."""
    return Planner().plan(objects, cluster)


ServerPlanner = Callable[[str, Place, Any], Server]

# Which configuration a server image gets, and what makes a Server of it.
_SERVER_PODS: dict[str, tuple[Callable[[Objects, Slices, Cluster], Any], ServerPlanner]] = {
    "dns": (cluster_dns_config, cluster_dns_server),
    "ingress": (ingress_config, ingress_server),
}


def _plan_server_pods(draft: Draft, objects: Objects, slices: Slices, cluster: Cluster) -> None:
    """Pods whose image is a server of emulab: each runs one of its own."""
    configs: dict[str, Any] = {}  # one for all pods of a kind
    for pod in objects.kind(POD):
        if not has_network(pod) or place_name(pod) not in draft.places:
            continue
        for container in PodSpec.of(pod.spec).lasting:
            kind = SERVER_IMAGES.get(container.image)
            if kind is None or container.command:
                continue
            configure, make = _SERVER_PODS[kind]
            if kind not in configs:
                configs[kind] = configure(objects, slices, cluster)
            name = server_name(place_name(pod), container.name)
            draft.servers[name] = make(name, draft.places[place_name(pod)], configs[kind])


def server_name(place: str, container: str) -> str:
    """The name of the server that is a pod's container."""
    return f"{place}/{container}"
