"""What objects are told of each other: Ingresses and Services of the balancers in front of them."""

from __future__ import annotations

from emulab.kinds.core.serviceview import is_internal
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.registry import INGRESS, INGRESS_CLASS, LOAD_BALANCER, SERVICE
from emulab.kinds.underlay import virtual_addresses
from emulab.model.collection import Change, Objects, PutStatus
from emulab.model.objects import Object


def balancer_statuses(objects: Objects, cluster: Cluster) -> list[Change]:
    """What Ingresses, and the Service of their controller, say of the balancers in front of them."""
    balancers = objects.kind(LOAD_BALANCER)
    vips = {o.name: [str(a) for a in virtual_addresses(o)] for o in balancers}
    front = [vip for o in balancers if LoadBalancer.of(o).target.ingress for vip in vips[o.name]]
    wanted: list[tuple[Object, list[dict[str, str]]]] = []
    classes = IngressClasses.among(objects.kind(INGRESS_CLASS), cluster)
    for o in objects.kind(INGRESS):
        ingress = Ingress.of(o)
        served = vips.get(ingress.load_balancer, ()) if classes.serves(ingress.class_name) else ()
        wanted.append((o, [{"ip": vip} for vip in served]))
    for o in objects.facts(SERVICE, _internal).values():
        # ipMode Proxy (KEP-1860): nodes leave these addresses to the balancers
        wanted.append((o, [{"ip": vip, "ipMode": "Proxy"} for vip in front]))
    return [
        PutStatus(o.key, {**o.status, "loadBalancer": {"ingress": entries}})
        for o, entries in wanted
        if ((o.status.get("loadBalancer") or {}).get("ingress") or []) != entries
    ]


def _internal(o: Object) -> Object | None:
    return o if is_internal(o) else None
