"""What clouds make of annotations of a LoadBalancer Service, and a lab's balancer doesn't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emulab.kinds.emulab.balancingview import CLASSES, annotation_problems, of_balancers
from emulab.kinds.emulab.cloudannotations import unfollowed, unheard_beside, unheard_families
from emulab.kinds.emulab.servicebalancing import checked_by_http, is_of_known_class
from emulab.model.checks import show
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.model.objects import Object


class _Places(NamedTuple):
    """The values of an annotation that ask for a balancer within the cloud's own network, and those for one outside;
    where all others are `inner`, too, there are none to be wrong."""

    inner: tuple[str, ...]
    outer: tuple[str, ...]
    strict: bool = True


_FLAG = _Places(("true", "1", "t"), ("false", "0", "f", ""))
_BY_NAME = _Places(("internal",), ("external", ""))
_PLACES: Mapping[str, _Places] = {
    "cloud.google.com/load-balancer-type": _BY_NAME,
    "networking.gke.io/load-balancer-type": _BY_NAME,
    # The cloud provider takes all but "false" for true.
    "service.beta.kubernetes.io/aws-load-balancer-internal": _Places(
        ("true", "0.0.0.0/0"), ("false", ""), False
    ),
    "service.beta.kubernetes.io/aws-load-balancer-scheme": _Places(("internal",), ("internet-facing", "")),
    "service.beta.kubernetes.io/azure-load-balancer-internal": _FLAG,
    "service.beta.kubernetes.io/do-loadbalancer-network": _BY_NAME,
    "service.beta.kubernetes.io/oci-load-balancer-internal": _FLAG,
    "service.beta.kubernetes.io/openstack-internal-load-balancer": _FLAG,
}
"""Annotations that say where a balancer is, by their values."""

_OUTSIDE = "the balancer is on the internet; a LoadBalancer of emulab with network: vpc is a private one"


def oddities(o: Object, had: Sequence[str]) -> Iterator[Finding]:
    """A class and annotations that no balancer follows, or by which packets would go another way. `had`: the families
    that the Service has, or will have."""
    if o.spec.get("type") != "LoadBalancer":
        for name, problem in unfollowed(o.annotations, of_service=True):
            if name not in _PLACES:
                yield Finding(o, ("metadata", "annotations", name), problem)
        for name in (*of_balancers(o.annotations), *(name for name in _PLACES if name in o.annotations)):
            what = f"isn't followed: a Service of type {o.spec.get('type') or 'ClusterIP'} has no balancer"
            yield Finding(o, ("metadata", "annotations", name), what)
        return
    if not is_of_known_class(o):
        what = f"nobody here serves {show(o.spec['loadBalancerClass'])}; known are {', '.join(CLASSES)}"
        yield Finding(o, ("spec", "loadBalancerClass"), what)
    problems = [
        one for one in annotation_problems(o.annotations, by_http=checked_by_http(o)) if one[0] not in _PLACES
    ]
    asked = str(o.spec.get("loadBalancerIP") or "")
    beside = list(unheard_beside(o.annotations, asked) if asked else ())
    families = unheard_families(o.annotations, both=len(had) > 1)
    for name, problem in (*problems, *beside, *families, *_elsewhere(o.annotations)):
        yield Finding(o, ("metadata", "annotations", name), problem)


def _elsewhere(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Annotations by which the balancer would be within the cloud's network, or that don't say where it is."""
    for name, places in _PLACES.items():
        text = annotations.get(name)
        if text is None or (word := text.strip().lower()) in places.outer:
            continue
        if word in places.inner or not places.strict:
            yield name, f"isn't followed: {_OUTSIDE}"
        else:
            yield name, f"{show(text)} is not one of {places.inner[0]}, {places.outer[0]}; {_OUTSIDE}"
