"""What clouds make of annotations of a LoadBalancer Service, and a lab's balancer doesn't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.model.objects import Object

_INTERNAL: Mapping[str, tuple[str, ...]] = {
    "cloud.google.com/load-balancer-type": ("internal",),
    "networking.gke.io/load-balancer-type": ("internal",),
    "service.beta.kubernetes.io/aws-load-balancer-internal": ("true", "0.0.0.0/0"),
    "service.beta.kubernetes.io/aws-load-balancer-scheme": ("internal",),
    "service.beta.kubernetes.io/azure-load-balancer-internal": ("true",),
    "service.beta.kubernetes.io/do-loadbalancer-network": ("internal",),
    "service.beta.kubernetes.io/oci-load-balancer-internal": ("true",),
    "service.beta.kubernetes.io/openstack-internal-load-balancer": ("true",),
}
"""Annotations with the values that ask for a balancer within the cloud's own network."""

_PROXY: Mapping[str, tuple[str, ...]] = {
    "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": ("*",),
    "service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol": ("true",),
    "service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v1": ("true", "*"),
    "service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2": ("true", "*"),
    "load-balancer.hetzner.cloud/uses-proxyprotocol": ("true",),
    "loadbalancer.openstack.org/proxy-protocol": ("true",),
}
"""Those that have it send a PROXY header before what clients send."""


def oddities(o: Object) -> Iterator[Finding]:
    """Annotations by which packets would go another way, or be others."""
    if o.spec.get("type") != "LoadBalancer":
        return
    for values, why in (
        (
            _INTERNAL,
            "the balancer is on the internet; a LoadBalancer of emulab with network: vpc is a private one",
        ),
        (_PROXY, "the balancer sends no PROXY header"),
    ):
        for name in values.keys() & o.annotations.keys():
            if o.annotations[name].lower() in values[name]:
                yield Finding(o, ("metadata", "annotations", name), f"isn't followed: {why}")
