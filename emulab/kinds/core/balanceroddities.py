"""What clouds make of annotations of a LoadBalancer Service, and a lab's balancer doesn't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from emulab.kinds.emulab.balancingview import CLASSES, annotation_problems
from emulab.kinds.emulab.cloudannotations import unfollowed
from emulab.kinds.emulab.servicebalancing import is_of_known_class
from emulab.model.checks import show
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

_OUTSIDE = "the balancer is on the internet; a LoadBalancer of emulab with network: vpc is a private one"


def oddities(o: Object) -> Iterator[Finding]:
    """A class and annotations that no balancer follows, or by which packets would go another way."""
    if o.spec.get("type") != "LoadBalancer":
        for name in unfollowed(o.annotations, of_service=True):
            if name not in _INTERNAL:
                yield Finding(o, ("metadata", "annotations", name), "isn't followed here")
        return
    if not is_of_known_class(o):
        what = f"nobody here serves {show(o.spec['loadBalancerClass'])}; known are {', '.join(CLASSES)}"
        yield Finding(o, ("spec", "loadBalancerClass"), what)
    for name, problem in annotation_problems(o.annotations):
        if name not in _INTERNAL:
            yield Finding(o, ("metadata", "annotations", name), problem)
    for name in _INTERNAL.keys() & o.annotations.keys():
        if o.annotations[name].lower() in _INTERNAL[name]:
            yield Finding(o, ("metadata", "annotations", name), f"isn't followed: {_OUTSIDE}")
