"""At which of its addresses a LoadBalancer listens: those of the families of the Service behind it.

Of another family that Service has no node ports, so nobody listens there, and nobody is told of such an address.
"""

from __future__ import annotations

from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.networking.ingresscontrollers import ObjectSource, the_labs_ingress
from emulab.kinds.registry import SERVICE
from emulab.kinds.underlay import virtual_addresses
from emulab.model.addresses import IPAddress
from emulab.model.families import families_of, family_of
from emulab.model.objects import Object


def service_behind(source: ObjectSource, balancer: LoadBalancer) -> Object | None:
    """The Service that a balancer sends to; None also where it sends to the host ports of an ingress controller."""
    target = balancer.target
    if not target.ingress:
        return source.get(SERVICE.key(target.namespace, target.service))
    _, front = the_labs_ingress(source)
    return front if front is not None and any(p.node_port for p in Service.of(front).ports) else None


def listening_addresses(source: ObjectSource, o: Object) -> list[IPAddress]:
    """The virtual addresses of a LoadBalancer at which it listens."""
    service = service_behind(source, LoadBalancer.of(o))
    own = families_of(Service.of(service).cluster_ips) if service is not None else ()
    return [vip for vip in virtual_addresses(o) if not own or family_of(vip) in own]
