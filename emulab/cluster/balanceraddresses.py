"""The addresses of balancers: those asked for, and one for each Service of type LoadBalancer that somebody serves.

A Service of a `loadBalancerClass` that nobody here serves waits for ever (KEP-1959). One that asks for an address which
another one has waits until that is free, unless both say that they share it (`servicebalancing.may_share`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address

from emulab.cluster.freeaddresses import first_free, service_families, underlay_taken, unplaced
from emulab.kinds.core.serviceview import ingress_ips, is_internal
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.servicebalancing import (
    asked_virtual_addresses,
    ip_mode,
    is_of_known_class,
    may_share,
)
from emulab.kinds.networking.ingressview import PUBLIC_LOAD_BALANCER
from emulab.kinds.registry import LOAD_BALANCER, SERVICE
from emulab.kinds.underlay import (
    Underlay,
    underlay_addresses,
    virtual_addresses,
    with_addresses,
    with_virtual,
)
from emulab.model.addresses import IPAddress
from emulab.model.collection import Change, Objects, PutStatus
from emulab.model.families import Family, families_of, family_of, first
from emulab.model.objects import Object


def balancer_addresses(objects: Objects, cluster: Cluster) -> list[Change]:
    """Underlay addresses and virtual ones of the balancers outside, and of Services of type LoadBalancer."""
    balancers, services = objects.facts(LOAD_BALANCER, unplaced), objects.facts(SERVICE, _unbalanced)
    changes: list[Change] = [*objects.facts(SERVICE, _of_other_mode).values()]
    if not balancers and not services:
        return changes
    used, vips = underlay_taken(objects, cluster), _vips(objects, cluster)
    for o in balancers.values():
        taken = {a for b in objects.kind(LOAD_BALANCER) for a in underlay_addresses(b)}
        pairs = [_balancer(o, u, used, vips, taken) for u in cluster.underlays]
        own, virtual = zip(*pairs, strict=True)
        status = {**o.status, **with_addresses(own), **with_virtual(virtual)}
        changes.append(PutStatus(o.key, status))
    wanted = {address for o in objects.kind(SERVICE) for address in asked_addresses(o, cluster)}
    for o in services.values():
        asked = asked_addresses(o, cluster)
        taken_one = next((a for a in asked if a in vips and str(a) not in ingress_ips(o)), None)
        if taken_one is not None:
            shared = sharing(o, taken_one, objects)
            if shared is None or not {*map(str, asked)} <= {*ingress_ips(shared)}:
                continue  # it waits until the address is free: `balancerevents` tells of it
            entries = [{"ip": str(address), "ipMode": ip_mode(o)} for address in asked]
            given = {
                field: shared.status[field] for field in ("address", "addresses") if field in shared.status
            }
            changes.append(PutStatus(o.key, {**o.status, **given, "loadBalancer": {"ingress": entries}}))
            continue
        families = service_families(o.spec, cluster)
        pairs = [
            _kept(o, family) or _service_balancer(o, cluster.underlay(family), used, vips, wanted, asked)
            for family in families
        ]
        own, virtual = zip(*pairs, strict=True)
        entries = [{"ip": str(vip), "ipMode": ip_mode(o)} for vip in virtual]
        status = {**o.status, **with_addresses(own), "loadBalancer": {"ingress": entries}}
        changes.append(PutStatus(o.key, status))
    return changes


def _vips(objects: Objects, cluster: Cluster) -> set[IPAddress]:
    used = {address for u in cluster.underlays for address in (u.nat, u.public_lb)}
    for o in objects.kind(LOAD_BALANCER):
        asked = LoadBalancer.of(o).address
        if asked is not None:
            used.add(asked)
        used.update(virtual_addresses(o))
    for o in objects.kind(SERVICE):
        used.update(map(ip_address, ingress_ips(o)))
    return used


def _balancer(
    o: Object, u: Underlay, used: set[IPAddress], vips: set[IPAddress], taken: Collection[IPAddress]
) -> tuple[IPAddress, IPAddress]:
    """A LoadBalancer's own address and its virtual one, of one family. Notes them in `used` and `vips`."""
    balancer, is_public = LoadBalancer.of(o), o.name == PUBLIC_LOAD_BALANCER
    asked = balancer.address if balancer.address and family_of(balancer.address) is u.family else None
    if balancer.network == "vpc":
        address = vip = asked or first_free(u.vpc, u.first_balancer, used, str(o.key))
    else:
        fixed = is_public and u.public_lb_vpc not in taken
        address = u.public_lb_vpc if fixed else first_free(u.vpc, u.first_balancer, used, str(o.key))
        fallback = u.public_lb if is_public else first_free(u.public, u.first_vip, vips, str(o.key))
        vip = asked or fallback
    used.add(address)
    vips.add(vip)
    return address, vip


def _service_balancer(
    o: Object,
    u: Underlay,
    used: set[IPAddress],
    vips: set[IPAddress],
    wanted: Collection[IPAddress],
    asked: Sequence[IPAddress],
) -> tuple[IPAddress, IPAddress]:
    """Address and virtual address of a Service's balancer; `wanted` are the virtual addresses that Services ask for,
    `asked` are its own."""
    address = first_free(u.vpc, u.first_balancer, used, str(o.key))
    own = first(asked, u.family)
    vip = own if own is not None else first_free(u.public, u.first_vip, vips | {*wanted}, str(o.key))
    used.add(address)
    vips.add(vip)
    return address, vip


def asked_addresses(o: Object, cluster: Cluster) -> tuple[IPAddress, ...]:
    """The virtual addresses that a Service asks for, where a balancer can have them."""
    asked = asked_virtual_addresses(o)
    return tuple(a for a in asked if not any(a in network for network in cluster.own_networks))


def sharing(o: Object, asked: IPAddress, objects: Objects) -> Object | None:
    """The Service with which this one may share the address; None where somebody has it who doesn't."""
    holders = [
        other for other in objects.kind(SERVICE) if other.key != o.key and str(asked) in ingress_ips(other)
    ]
    if not holders or not all(may_share(o, other) for other in holders):
        return None
    return holders[0]


def _kept(o: Object, family: Family) -> tuple[IPAddress, IPAddress] | None:
    """Address and virtual address that a Service's balancer has in a family already."""
    own = first(underlay_addresses(o), family)
    virtual = first(map(ip_address, ingress_ips(o)), family)
    return (own, virtual) if own is not None and virtual is not None else None


def _unbalanced(o: Object) -> Object | None:
    """A Service that waits for a balancer, or for one of families that it had not."""
    if o.spec.get("type") != "LoadBalancer" or is_internal(o) or not is_of_known_class(o):
        return None
    names = list(o.spec.get("ipFamilies") or ())
    had = [family.name for family in families_of(map(ip_address, ingress_ips(o)))]
    return o if not o.status.get("address") or (names and had and had != names) else None


def _of_other_mode(o: Object) -> PutStatus | None:
    """The status of a Service whose addresses are of another mode by now."""
    entries = (o.status.get("loadBalancer") or {}).get("ingress") or []
    if not entries or o.spec.get("type") != "LoadBalancer" or is_internal(o):
        return None
    wanted = [{**entry, "ipMode": ip_mode(o)} for entry in entries]
    return PutStatus(o.key, {**o.status, "loadBalancer": {"ingress": wanted}}) if wanted != entries else None
