"""What objects are told of each other: Ingresses and Services of how clients get to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from emulab.kinds.core.serviceview import Service, is_internal
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingresscontrollers import IngressController, node_addresses
from emulab.kinds.networking.ingressview import LOAD_BALANCER_ANNOTATION, Ingress
from emulab.kinds.networking.listening import listening_addresses
from emulab.kinds.registry import INGRESS, LOAD_BALANCER, SERVICE
from emulab.model.addresses import is_address
from emulab.model.collection import Change, Objects, PutStatus
from emulab.model.objects import Object

Published = Mapping[str, str]
"""One of `status.loadBalancer.ingress`."""


def balancer_statuses(objects: Objects, cluster: Cluster) -> list[Change]:
    """What Ingresses, and the Service of their controller, say of what is in front of them."""
    balancers = objects.kind(LOAD_BALANCER)
    vips = {o.name: [str(a) for a in listening_addresses(objects, o)] for o in balancers}
    front = [vip for o in balancers if LoadBalancer.of(o).target.ingress for vip in vips[o.name]]
    wanted: list[tuple[Object, Sequence[Published]]] = []
    classes = IngressClasses.among(objects, cluster)
    for o in objects.kind(INGRESS):
        ingress = Ingress.of(o)
        serving = classes.serving(ingress)
        wanted.append((o, _published(objects, serving[0], ingress, vips) if serving else []))
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


def _published(
    objects: Objects, controller: IngressController, ingress: Ingress, vips: Mapping[str, Sequence[str]]
) -> Sequence[Published]:
    """What a controller writes into an Ingress (internal/ingress/status, `runningAddresses`).

    An Ingress that is annotated with one of the world's balancers is published there, and so is each one whose
    controller's Service is served by these.
    """
    flags = controller.flags
    namespace, _, name = flags.publish_service.partition("/")
    service = objects.get(SERVICE.key(namespace, name)) if name else None
    if LOAD_BALANCER_ANNOTATION in ingress.annotations or (service is not None and is_internal(service)):
        return [{"ip": vip} for vip in vips.get(ingress.load_balancer, ())]
    if not flags.update_status:
        return []
    if flags.publish_addresses:
        return _sorted(map(str.strip, flags.publish_addresses.split(",")))
    if name:
        return _of_service(service) if service is not None else []
    return _sorted(node_addresses(objects, controller, ready=True))


def _of_service(o: Object) -> Sequence[Published]:
    """What is said of a Service that a controller publishes (`statusAddressFromService`)."""
    service = Service.of(o)
    external = [str(ip) for ip in service.external_ips]
    match service.type:
        case "ExternalName":
            return _sorted([service.external_name])
        case "LoadBalancer":
            given = (o.status.get("loadBalancer") or {}).get("ingress") or ()
            return _sorted([*(e.get("ip") or e.get("hostname") or "" for e in given), *external])
        case "NodePort" if external:
            return _sorted(external)
        case _:
            return _sorted(map(str, service.cluster_ips[:1]))


def _sorted(names: Iterable[str]) -> Sequence[Published]:
    """Addresses and names as entries, each once, in the order in which the controller has them."""
    entries = [{"ip": name} if is_address(name) else {"hostname": name} for name in dict.fromkeys(names)]
    return sorted(entries, key=lambda e: (e.get("hostname", ""), e.get("ip", "")))
