"""What looks odd in Services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from emulab.kinds import externaldns
from emulab.kinds.core import balanceroddities, kuberouterservice
from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.core.servicefamilies import families_for
from emulab.kinds.core.serviceschema import needs_node_ports
from emulab.kinds.core.serviceview import Service, ServicePort, is_proxied, unproxied_label
from emulab.kinds.emulab.cloudannotations import ADDRESSES
from emulab.kinds.emulab.proxymodes import EBPF, USERSPACE
from emulab.kinds.emulab.servicebalancing import asked_virtual_addresses, may_share
from emulab.kinds.images import server_of
from emulab.kinds.kind import ADDRESSED
from emulab.kinds.lookup import TOO_LONG, Pods
from emulab.kinds.registry import KINDS, SERVICE
from emulab.kinds.standins import is_played, sockets_of
from emulab.kinds.underlay import underlay_addresses
from emulab.model.addresses import IPAddress, is_address, parse_address
from emulab.model.checks import fits_dns, show
from emulab.model.families import family_of
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup


_BY_TOPOLOGY = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
_OFF = ("disabled", "")


def oddities(o: Object, world: Lookup) -> Iterator[Finding]:
    yield from _claims(o, world)
    yield from _without_proxy(o)
    yield from _selection(o, world)
    yield from _given_another(o, world)
    yield from _without_neighbour(o, world)
    yield from _ranges(o, world)
    yield from balanceroddities.oddities(o, _families(o, world))
    yield from kuberouterservice.oddities(o, world)
    for name in _BY_TOPOLOGY:
        if o.annotations.get(name, "").lower() not in _OFF:
            what = "isn't followed: no hints are made by zones' CPUs; trafficDistribution: PreferSameZone makes some"
            yield Finding(o, ("metadata", "annotations", name), what)
    for name, problem in externaldns.oddities(o):
        yield Finding(o, ("metadata", "annotations", name), problem)
    for index, port in enumerate(o.spec.get("ports") or ()):
        if port.get("protocol") == "SCTP":
            what = (
                "SCTP is translated by nodes, but no stand-in or balancer speaks it: programs of your own do"
            )
            if is_proxied(o):
                what = _sctp(o, port, world.cluster.proxy_mode) or what
            yield Finding(o, ("spec", "ports", index, "protocol"), what)
        if not fits_dns(f"_{port.get('name', '')}"):
            yield Finding(o, ("spec", "ports", index, "name"), f"has no SRV record: {TOO_LONG}")
    if o.spec.get("sessionAffinityConfig") and o.spec.get("sessionAffinity") in (None, "None"):
        what = "has no effect where sessionAffinity is None: an API server takes it away"
        yield Finding(o, ("spec", "sessionAffinityConfig"), what)
    if o.spec.get("type") == "ExternalName" and is_address(o.spec.get("externalName") or ""):
        what = "is an address, to which no name can be an alias: the cluster's DNS has no answer"
        yield Finding(o, ("spec", "externalName"), what)


def _sctp(o: Object, port: Mapping[str, Any], mode: str) -> str:
    """What a mode of nodes' proxies doesn't do of a port of SCTP; "" where it does all."""
    if mode == USERSPACE:
        return f"proxy mode {mode} translates no SCTP: nobody serves the port"
    if mode != EBPF:
        return ""
    only, number = f"proxy mode {mode} keeps SCTP's ports, as its checksum counts them", port["port"]
    target = port.get("targetPort") or number
    if target != number:
        named = f", unless {target} is that" if isinstance(target, str) else ""
        return f"{only}: nobody serves the port{named}; let targetPort be {number}"
    has_node_port = needs_node_ports(o.spec) or port.get("nodePort")
    return f"{only}: its node port leads nowhere" if has_node_port else ""


def _without_proxy(o: Object) -> Iterator[Finding]:
    service = Service.of(o)
    label = unproxied_label(o)
    if label and not service.headless and service.type != "ExternalName":
        what = "kube-proxy leaves the Service alone, and nobody else serves it"
        yield Finding(o, ("metadata", "labels", label), what)


def _given_another(o: Object, world: Lookup) -> Iterator[Finding]:
    """Addresses that a balancer can't have."""
    for asked in asked_virtual_addresses(o):
        yield from _not_given(o, asked, world)


def _not_given(o: Object, asked: IPAddress, world: Lookup) -> Iterator[Finding]:
    where: FieldPath = ("spec", "loadBalancerIP")
    if not o.spec.get("loadBalancerIP"):
        where = ("metadata", "annotations", next(name for name in ADDRESSES if name in o.annotations))
    network = next((n for n in world.own_networks if asked in n), None)
    if network is not None:
        what = f"{asked} is in {network}, which the lab has itself: the balancer gets another address"
        yield Finding(o, where, what)
        return
    family = family_of(asked).name
    had = _families(o, world)
    if family not in had:
        what = f"{asked} is of {family}, which the Service hasn't: the balancer gets another address, of {had[0]}"
        yield Finding(o, where, what)
        return
    owner = world.asked_by(asked)
    if owner is not None and owner.key != o.key and not (owner.type == SERVICE and may_share(owner, o)):
        what = f"{asked} is that of {owner.key}: it waits for the address, or both say emulab.dev/allow-shared-ip"
        yield Finding(o, where, what)


def _without_neighbour(o: Object, world: Lookup) -> Iterator[Finding]:
    """External addresses for which nodes ask in vain, before a program sees their packets."""
    if world.cluster.proxy_mode != EBPF or not is_proxied(o):
        return
    own = [underlay.vpc for underlay in world.cluster.underlays]
    for index, text in enumerate(o.spec.get("externalIPs") or ()):
        address = parse_address(text)
        network = next((one for one in own if address in one), None)
        if network is not None and not _is_held(address, world):
            what = (
                f"pods reach it, and nodes don't: it is in their own network {network}, where nobody has it"
            )
            yield Finding(o, ("spec", "externalIPs", index), what)


def _is_held(address: IPAddress, world: Lookup) -> bool:
    return any(address in underlay_addresses(o) for kind in KINDS.of(ADDRESSED) for o in world.kind(kind))


def _families(o: Object, world: Lookup) -> list[str]:
    """Those that the Service has, or gets."""
    return families_for(o.spec, [family.name for family in world.cluster.families])


def _ranges(o: Object, world: Lookup) -> Iterator[Finding]:
    """Of ranges of a balancer's clients: those of families that the Service hasn't, and families that have none, of
    which kube-proxy lets everybody in (`MapCIDRsByIPFamily`)."""
    ranges, own = o.spec.get("loadBalancerSourceRanges") or (), _families(o, world)
    there = [family_of(ip_network(one.strip(), strict=False).network_address).name for one in ranges]
    for index, family in enumerate(there):
        if family not in own:
            what = f"means nobody: the Service has no {family}"
            yield Finding(o, ("spec", "loadBalancerSourceRanges", index), what)
    for family in own if ranges else ():
        if family not in there:
            what = f"has no range of {family}, by which the balancer then lets nobody in, and nodes everybody"
            yield Finding(o, ("spec", "loadBalancerSourceRanges"), what)


def _claims(o: Object, world: Lookup) -> Iterator[Finding]:
    if not is_proxied(o):
        return
    for index, address in enumerate(o.spec.get("externalIPs") or ()):
        for port in Service.of(o).ports:
            owner = world.claims[parse_address(address), port.protocol, port.port]
            if owner.key != o.key:
                what = f"port {port.port}/{port.protocol} of {address} is {owner.kind} {owner.namespace}/{owner.name}'s"
                yield Finding(o, ("spec", "externalIPs", index), what)


def _selection(o: Object, world: Lookup) -> Iterator[Finding]:
    if not o.spec.get("selector"):
        return
    service = Service.of(o)
    if service.selector is None or service.type == "ExternalName":
        return
    pods = world.selected(o.namespace, service.selector)
    if not pods:
        yield Finding(o, ("spec", "selector"), "matches no Pod and no workload's template")
        return
    containers = [c for selected in pods for c in PodSpec.of(selected.spec).lasting]
    named = {(port.name, port.protocol) for container in containers for port in container.ports}
    for index, port in enumerate(service.ports):
        path = ("spec", "ports", index, "targetPort")
        if isinstance(port.target_port, str):
            if (port.target_port, port.protocol) not in named:
                missing = f"no selected container has a {port.protocol} port named {show(port.target_port)}"
                yield Finding(o, path, missing)
            continue
        for selected in pods:
            if listening := _deaf(selected, port, world):
                where = listening if listening == "no port" else f"{listening} alone"
                what = (
                    f"{port.target_port}/{port.protocol} is no port of {selected.owner.key}, whose stand-ins listen on"
                    f" {where}"
                )
                yield Finding(o, path, what)


def _deaf(pods: Pods, port: ServicePort, world: Lookup) -> str:
    """The ports of Pods in which nobody listens on that one; "" where somebody does, or a program may."""
    absent = [*world.missing_programs(pods.annotations, pods.spec)]
    images = world.images(pods.annotations, pods.spec)
    absent += [c.name for c in PodSpec.of(pods.spec).lasting if is_played(c) and c.name not in images]
    containers = PodSpec.of(pods.spec, absent, images).lasting
    if any(c.command or server_of(c.image) for c in containers):
        return ""
    pod = {"metadata": {"annotations": pods.annotations, "labels": pods.labels}, "spec": pods.spec}
    played = {c.name: sockets_of(c, pod) for c in containers}
    guessed = [c for c in containers if played[c.name] is None]
    ports = [key for sockets in played.values() for key in sockets or ()]
    if guessed and not any(c.ports for c in containers):  # then a stand-in listens wherever it is asked
        return ""
    ports += [(p.protocol, p.port) for c in guessed for p in c.ports]
    ports += [("TCP", asked) for c in guessed for asked in c.asked_ports]
    number = int(port.target_port)
    if (port.protocol, number) in ports or any(c.names_port(number) for c in guessed):
        return ""
    if not ports:
        return "no port"
    return ", ".join(f"{number}/{protocol}" for protocol, number in dict.fromkeys(ports))
