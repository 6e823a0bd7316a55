"""How the balancer of a Service balances, by its class and annotations, and with whom it may share an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.core.serviceview import DEFAULT_AFFINITY_TIMEOUT
from emulab.kinds.emulab.balancingview import CLASSES, IP_MODE, NLB_CLASS, Balancing, annotated
from emulab.kinds.emulab.cloudannotations import addresses_asked, asks_for_nlb, asks_pods
from emulab.model.addresses import IPAddress, parse_address
from emulab.model.objects import Object

SHARING_KEYS = (
    "emulab.dev/allow-shared-ip",
    "metallb.io/allow-shared-ip",
    "metallb.universe.tf/allow-shared-ip",
    "lbipam.cilium.io/sharing-key",
)
"""Annotations by which Services of one value agree to share an address (MetalLB's, Cilium's)."""
_NLB_CODES = "200-399"
"""What is in order where an NLB is told of HTTP and no codes (`defaultHealthCheckMatcherHTTPCode`)."""


def service_balancing(o: Object) -> Balancing:
    """How the balancer of a Service of type LoadBalancer balances."""
    own = CLASSES.get(o.spec.get("loadBalancerClass") or "", {})
    spec = {**_affinity(o.spec), **own, **annotated(o.annotations, checked_by_http(o))}
    check = spec.get("healthCheck") or {}
    if check.get("protocol") in ("HTTP", "HTTPS") and _is_nlb(o):
        spec["healthCheck"] = {"codes": _NLB_CODES, **check}
    return Balancing.of(spec)


def checked_by_http(o: Object) -> bool:
    """Whether AWS' controller has nodes of a Service checked by HTTP of its own accord: with the policy Local, at their
    healthCheckNodePort (`buildTargetGroupHealthCheckConfigForInstanceModeLocal`)."""
    return o.spec.get("externalTrafficPolicy") == "Local" and not asks_pods(o.annotations)


def _is_nlb(o: Object) -> bool:
    return o.spec.get("loadBalancerClass") == NLB_CLASS or asks_for_nlb(o.annotations)


def _affinity(spec: Mapping[str, Any]) -> dict[str, int]:
    """What `sessionAffinity: ClientIP` asks of the balancer, too, as Google's, Azure's and OpenStack's controllers have
    it: each node keeps a client at an endpoint by itself."""
    if spec.get("sessionAffinity") != "ClientIP":
        return {}
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return {"stickiness": config.get("timeoutSeconds") or DEFAULT_AFFINITY_TIMEOUT}


def asked_virtual_addresses(o: Object) -> tuple[IPAddress, ...]:
    """The addresses that a Service of type LoadBalancer asks for: one by its spec, or one of each family by an
    annotation as of MetalLB."""
    if o.spec.get("type") != "LoadBalancer":
        return ()
    if o.spec.get("loadBalancerIP"):
        return (parse_address(o.spec["loadBalancerIP"]),)
    found: dict[int, IPAddress] = {}
    for address in addresses_asked(o.annotations):
        found.setdefault(address.version, address)
    return tuple(found.values())


def is_of_known_class(o: Object) -> bool:
    """Whether somebody here serves a Service's loadBalancerClass: one without is everybody's (KEP-1959)."""
    return not o.spec.get("loadBalancerClass") or o.spec["loadBalancerClass"] in CLASSES


def ip_mode(o: Object) -> str:
    """What a Service's status says of its addresses (KEP-1860): VIP, that nodes may serve these themselves, or Proxy,
    that they have to leave them to the balancer, which adds something to what is sent: a PROXY header."""
    asked = o.annotations.get(IP_MODE)
    if asked in ("VIP", "Proxy"):
        return asked
    return "Proxy" if service_balancing(o).proxy_protocol else "VIP"


def may_share(one: Object, other: Object) -> bool:
    """Whether two Services may have one address: both say so, and no port is both's (MetalLB's rules)."""
    keys = {o.annotations.get(name) for o in (one, other) for name in SHARING_KEYS if name in o.annotations}
    said = all(any(name in o.annotations for name in SHARING_KEYS) for o in (one, other))
    if len(keys) != 1 or "" in keys or not said:
        return False
    return not _ports(one) & _ports(other) and _backend(one) == _backend(other)


def _backend(o: Object) -> Mapping[str, str]:
    """Which pods a node has to have for an address to lead to it: with policy Cluster none (MetalLB's `BackendKey`)."""
    return (o.spec.get("selector") or {}) if o.spec.get("externalTrafficPolicy") == "Local" else {}


def _ports(o: Object) -> set[tuple[str, int]]:
    return {(p.get("protocol") or "TCP", p["port"]) for p in o.spec.get("ports") or ()}
