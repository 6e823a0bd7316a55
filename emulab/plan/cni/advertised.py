"""Addresses of Services of which kube-router's nodes tell the router (pkg/controllers/routing/ecmp_vip.go). Pure.

Every node tells those that a Service's annotations ask for, so that the router has as many ways; where the policy is
Local, nodes with an endpoint of the Service do, ready or not. A Service without an EndpointSlice is told by nobody
(nodeHasEndpointsForService); what has a selector has one, though it be empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emulab.kinds.core.kuberouterservice import TELL_CLUSTER, TELL_EXTERNAL, is_local, is_told
from emulab.kinds.core.serviceview import Service
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.registry import SERVICE
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.families import Families, family_of
from emulab.model.objects import Object
from emulab.plan.endpoints import ServiceName
from emulab.plan.kept import PlanSource


class _Asked(NamedTuple):
    """What one Service has the nodes tell: addresses, and whether only nodes with an endpoint do."""

    service: ServiceName
    addresses: tuple[tuple[IPAddress, bool], ...]
    selected: bool  # whether it has a selector


def advertised(
    source: PlanSource, nodes: Sequence[str], families: Families
) -> Mapping[str, tuple[IPNetwork, ...]]:
    """What each node tells, in order."""
    found: dict[str, set[IPAddress]] = {node: set() for node in nodes}
    for asked in source.facts(SERVICE, _asked).values():
        slices = source.slices(asked.service)
        if not slices and not asked.selected:
            continue
        local = any(is_local for _, is_local in asked.addresses)
        near = {e.node_name for o in slices for e in EndpointSlice.of(o).endpoints} if local else set()
        for address, only_near in asked.addresses:
            for node in nodes if family_of(address) in families else ():
                if not only_near or node in near:
                    found[node].add(address)
    return {
        node: tuple(family_of(a).host(a) for a in sorted(own, key=lambda a: (a.version, int(a))))
        for node, own in found.items()
    }


def _asked(o: Object) -> _Asked | None:
    view, said = Service.of(o), o.annotations
    if view.headless or view.type == "ExternalName":
        return None
    inside = view.internal_traffic_policy == "Local"
    outside = view.external_traffic_policy == "Local" or is_local(said)
    told = [(a, inside) for a in view.cluster_ips if is_told(said, TELL_CLUSTER)]
    told += [(a, outside) for a in view.external_ips if is_told(said, TELL_EXTERNAL)]
    return _Asked((o.namespace, o.name), tuple(told), bool(view.selector)) if told else None
