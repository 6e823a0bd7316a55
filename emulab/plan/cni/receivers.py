"""What pods need to answer clients by themselves: kube-router's direct server return (docs/dsr.md). Pure.

A pod behind a Service of that kind has a device that takes what comes to it in IP in IP, with the Service's external
addresses on it (configureContainerForDSR of pkg/controllers/proxy/linux_networking.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_interface
from typing import NamedTuple

from emulab.kinds.core.kuberouterservice import SKIP_BALANCER, is_direct
from emulab.kinds.core.serviceview import Service, ingress_ips
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER
from emulab.kinds.registry import POD, SERVICE
from emulab.model.addresses import IPAddress, parse_address
from emulab.model.families import IPV4, IPV6, family_of
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName
from emulab.plan.kept import PlanSource
from emulab.plan.links import Address, IpipEnd
from emulab.plan.pods import has_network, identity, pod_addresses
from emulab.plan.state import Tuning

DEVICES = {IPV4: "kube-tunnel-if", IPV6: "kube-tunnel-v6"}
_NEEDS = {IPV4: "ipip", IPV6: "ip6_tunnel"}
"""What the devices need of the kernel, as `emulab.kernel.networkneeds` calls it."""
_SETTINGS = "receiver-links"
"""What the settings are in a pod's rulesets."""


class _Direct(NamedTuple):
    """A Service whose endpoints answer by themselves, and the addresses that they answer as."""

    service: ServiceName
    addresses: tuple[IPAddress, ...]


def plan_receivers(draft: Draft, source: PlanSource, cluster: Cluster, nodes: Sequence[Node]) -> None:
    """The devices of all pods that have one, with the addresses of all their Services. A pod whose node has gone is
    there as an object for a while, and has no network any more."""
    if cluster.proxy_mode != KUBE_ROUTER:
        return
    wanted: dict[IPAddress, set[IPAddress]] = {}
    for direct in source.facts(SERVICE, _direct).values():
        for view in map(EndpointSlice.of, source.slices(direct.service)):
            for endpoint in view.endpoints if view.address_type != "FQDN" else ():
                at = [parse_address(a) for a in endpoint.addresses[:1] if endpoint.node_name]
                for address in at:
                    own = {a for a in direct.addresses if a.version == address.version}
                    wanted.setdefault(address, set()).update(own)
    if not wanted:
        return
    there = {node.name for node in nodes}
    for pod in source.facts(POD, _pod).values():
        for address in pod.addresses if pod.node in there else ():
            family = family_of(address)
            if (held := wanted.get(address)) and family in cluster.families:
                device = DEVICES[family]
                draft.add(IpipEnd(pod.namespace, device, address))
                draft.add(*(Address(pod.namespace, device, ip_interface(one)) for one in held))
                if family is IPV4:
                    links = ("all", "eth0", device)
                    settings = tuple((f"net/ipv4/conf/{link}/rp_filter", "0") for link in links)
                    draft.rulesets[pod.namespace, _SETTINGS] = Tuning(settings)


def direct_needs(given: Iterable[Object], cluster: Cluster) -> list[str]:
    """What these objects need of the kernel for endpoints that answer by themselves."""
    if cluster.proxy_mode != KUBE_ROUTER:
        return []
    services = [(Service.of(o), o.annotations) for o in given if o.type == SERVICE and _answers_directly(o)]
    found = {family_of(a) for view, _ in services for a in view.external_ips}
    if any(_is_balanced(view, said) for view, said in services):
        found.update(cluster.families)
    return [_NEEDS[family] for family in cluster.families if family in found]


def _direct(o: Object) -> _Direct | None:
    if not _answers_directly(o):
        return None
    view = Service.of(o)
    balanced = ingress_ips(o, proxied=False) if _is_balanced(view, o.annotations) else []
    found = (*view.external_ips, *map(parse_address, balanced))
    return _Direct((o.namespace, o.name), found) if found else None


def _answers_directly(o: Object) -> bool:
    return is_direct(o.annotations) and not (view := Service.of(o)).headless and view.type != "ExternalName"


def _is_balanced(view: Service, said: Mapping[str, str]) -> bool:
    """Whether endpoints get what is for addresses of balancers."""
    return view.type == "LoadBalancer" and SKIP_BALANCER not in said


class _Pod(NamedTuple):
    namespace: str
    node: str
    addresses: tuple[IPAddress, ...]


def _pod(o: Object) -> _Pod | None:
    if o.spec.get("hostNetwork") or not has_network(o):
        return None
    return _Pod(identity(o), o.spec["nodeName"], pod_addresses(o))
