"""kube-router's annotations of Services: what they say, and what looks odd in them (its docs/user-guide.md, and
pkg/controllers/proxy/network_services_controller.go, pkg/controllers/routing/ecmp_vip.go)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from emulab.kinds.core.podports import container_port
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER
from emulab.kinds.registry import ENDPOINT_SLICE, ENDPOINTS
from emulab.model.findings import Finding
from emulab.model.objects import Object

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup

_PREFIX = "kube-router.io/service."
SCHEDULER, LOCAL, SKIP_BALANCER = f"{_PREFIX}scheduler", f"{_PREFIX}local", f"{_PREFIX}skiplbips"
DSR, TUNNEL = f"{_PREFIX}dsr", "tunnel"
HAIRPIN, HAIRPIN_EXTERNAL = f"{_PREFIX}hairpin", f"{_PREFIX}hairpin.externalips"
TELL_CLUSTER, TELL_EXTERNAL = f"{_PREFIX}advertise.clusterip", f"{_PREFIX}advertise.externalip"
TELL_BALANCER = f"{_PREFIX}advertise.loadbalancerip"
SCHEDULERS = ("rr", "lc", "dh", "sh", "mh")
"""Those that it knows; any other is rr."""
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
"""What Go's strconv.ParseBool takes; anything else is false here."""
_OF_ROUTING = {LOCAL, TELL_CLUSTER, TELL_EXTERNAL, TELL_BALANCER}
_OF_PROXY = {SCHEDULER, LOCAL, SKIP_BALANCER, HAIRPIN, HAIRPIN_EXTERNAL, DSR}
_BOOLEAN = {TELL_CLUSTER, TELL_EXTERNAL, TELL_BALANCER}
_NOT_FOLLOWED = {f"{_PREFIX}schedflags": "not followed: IPVS has the scheduler's own flags"}


def asked_of_proxies(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Those that are for nodes' proxies, in order."""
    return tuple(sorted((name, value) for name, value in annotations.items() if name in _OF_PROXY))


def scheduler_of(annotations: Mapping[str, str]) -> str:
    """How IPVS picks an endpoint of a Service."""
    asked = annotations.get(SCHEDULER, "")
    return asked if asked in SCHEDULERS else SCHEDULERS[0]


def is_local(annotations: Mapping[str, str]) -> bool:
    """Whether external traffic stays on its node, whatever the Service's policy says."""
    return annotations.get(LOCAL) == "true"


def is_told(annotations: Mapping[str, str], name: str) -> bool:
    """Whether the router is told of the addresses that an annotation is about."""
    return annotations.get(name) in _TRUE


def oddities(o: Object, world: Lookup) -> Iterator[Finding]:
    """What of a Service's annotations has no effect, and what else is nothing to kube-router's proxy."""
    if o.spec.get("trafficDistribution") and world.cluster.proxy_mode == KUBE_ROUTER:
        what = (
            f"has no effect in proxy mode {KUBE_ROUTER}, which heeds no hints: all endpoints get connections"
        )
        yield Finding(o, ("spec", "trafficDistribution"), what)
    for name, value in o.annotations.items():
        if name.startswith(_PREFIX) and (
            what := _oddity(name, str(value), world)
            or _untold(o, name, world)
            or _direct(o, name, value, world)
        ):
            yield Finding(o, ("metadata", "annotations", name), what)


def _untold(o: Object, name: str, world: Lookup) -> str:
    """Why nobody is told of addresses though an annotation says so."""
    if (
        name not in (TELL_CLUSTER, TELL_EXTERNAL)
        or not is_told(o.annotations, name)
        or o.spec.get("selector")
    ):
        return ""
    slices = (s.labels.get(SERVICE_NAME_LABEL) for s in world.kind(ENDPOINT_SLICE, o.namespace))
    if o.name in slices or world.has(ENDPOINTS.key(o.namespace, o.name)):
        return ""
    return "kube-router tells nobody of a Service without a selector and an EndpointSlice"


def is_direct(annotations: Mapping[str, str]) -> bool:
    """Whether endpoints get what is sent to external addresses as it came, and answer by themselves."""
    return annotations.get(DSR) == TUNNEL


def _direct(o: Object, name: str, value: str, world: Lookup) -> str:
    """What is odd in a Service whose endpoints answer by themselves."""
    if name != DSR:
        return ""
    if value != TUNNEL:
        return f"kube-router knows no way {value}, and does without; there is {TUNNEL}"
    if o.spec.get("type") != "LoadBalancer" and not o.spec.get("externalIPs"):
        return "has no effect: it is for externalIPs and balancers' addresses, of which there are none"
    selected = world.selected(o.namespace, o.spec["selector"]) if o.spec.get("selector") else ()
    for port in o.spec.get("ports") or ():
        target, number = port.get("targetPort") or port["port"], port["port"]
        protocol = port.get("protocol") or "TCP"
        named = [container_port(pods.spec, target, protocol) for pods in selected if isinstance(target, str)]
        if others := [n for n in named if n not in (0, number)]:
            return f"endpoints get port {number} as it is, and not targetPort {target}, which is {others[0]}"
        if isinstance(target, int) and target != number:
            return f"endpoints get port {number} as it is, and not targetPort {target}"
    for pods in selected:
        if pods.spec.get("hostNetwork"):
            return (
                f"nobody serves externalIPs: {pods.owner.key} is of its node's network, which takes no tunnel"
            )
    return ""


def _oddity(name: str, value: str, world: Lookup) -> str:
    cluster = world.cluster
    plugin, mode = cluster.network_plugin, cluster.proxy_mode
    if cluster.chain or plugin != KUBE_ROUTER:
        there = cluster.chain_field if cluster.chain else plugin
        return f"has no effect: it is {KUBE_ROUTER}'s, and the network is {there}"
    if name in _NOT_FOLLOWED:
        return _NOT_FOLLOWED[name]
    if name not in _OF_ROUTING | _OF_PROXY:
        near = get_close_matches(name, sorted(_OF_ROUTING | _OF_PROXY | {*_NOT_FOLLOWED}), 1, 0.7)
        return f"kube-router knows no such annotation{f'; did you mean {near[0]}?' if near else ''}"
    if name not in _OF_ROUTING and mode != KUBE_ROUTER:
        return f"has no effect in proxy mode {mode}: it is for {KUBE_ROUTER}'s own"
    if name == SCHEDULER and value not in SCHEDULERS:
        return f"kube-router knows no scheduler {value}, and takes rr; there are {', '.join(SCHEDULERS)}"
    if name in _BOOLEAN and value not in _TRUE + _FALSE:
        return f"{value} is neither true nor false, which kube-router takes for false"
    if name == TELL_BALANCER and value in _TRUE:
        return "has no effect: a balancer of the lab has these addresses, and the router sends there"
    if name == LOCAL and value != "true":
        return f"{value} has no effect: kube-router heeds true alone"
    if name == LOCAL and mode != KUBE_ROUTER:
        return f"in proxy mode {mode} it only says which nodes tell the router; externalTrafficPolicy: Local says all"
    return ""
