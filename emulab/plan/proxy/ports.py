"""The Service ports of all Services, and what of them changed since they were looked at last.

What a Service port is depends on its Service and on that Service's EndpointSlices, but for one thing. Nothing forbids
several Services to claim an external address and port (kubernetes/kubernetes#69599), and which of them kube-proxy's
nodes serve is chance; here it is the first one that came, in every mode and on every node.

Nothing is kept of a Service but what was there already, its objects: what it was before is worked out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from emulab.kinds.core.serviceview import Service, ingress_ips, is_proxied
from emulab.kinds.registry import SERVICE
from emulab.model.addresses import IPAddress, parse_address
from emulab.model.collection import Objects
from emulab.model.families import Family, of_family
from emulab.model.keys import Key
from emulab.model.members import Members, changed_keys
from emulab.model.objects import Object
from emulab.plan.endpoints import ServiceName, SliceObjects, SlicesByService, views
from emulab.plan.proxy.intents import Candidates, service_candidates

Claim = tuple[IPAddress, str, int]
"""An external address, protocol and port."""
Heeds = Callable[[Candidates], Candidates]
"""What a mode makes of a Service port by annotations that are its own."""


class Changed(NamedTuple):
    """The ports of one Service that are others than before, of all families."""

    was: list[Candidates]
    will: list[Candidates]


class ServicePorts:
    """The Service ports that proxies care for, of some families, as they were when `follow` was asked last."""

    def __init__(self, families: Iterable[Family], heeds: Heeds | None = None) -> None:
        self._families, self._heeds = tuple(families), heeds
        self._services: Members = {}
        self._slices = SlicesByService()
        self._claimants: dict[Claim, dict[Key, None]] = {}
        self._owners: dict[Claim, Key] = {}  # of those that several Services claim

    def follow(
        self, services: Members, slices: SlicesByService, before: Mapping[ServiceName, SliceObjects]
    ) -> Iterator[Changed]:
        """Takes over what there is now and yields what changed, which has to be taken to its end.

        `slices`: as they are now; `before`: of the Services that have others than the last time, those they had.
        """
        old, owners = self._services, dict(self._owners)
        keys = dict.fromkeys(changed_keys(old, services))
        for name in before:
            if (key := SERVICE.key(*name)) in services:
                keys[key] = None
        others = self._claim(keys, old, services)
        self._services, self._slices = services, slices
        for key in (*keys, *others):
            name = (key.namespace, key.name)
            now = slices.of(name)
            was = self._ports(old.get(key), before.get(name, now), owners)
            will = self._ports(services.get(key), now, self._owners)
            if was != will:
                yield Changed(was, will)

    def __iter__(self) -> Iterator[Candidates]:
        """All Service ports, those of one Service together."""
        for o in self._services.values():
            yield from self._ports(o, self._slices.of((o.namespace, o.name)), self._owners)

    def _ports(self, o: Object | None, slices: SliceObjects, owners: Mapping[Claim, Key]) -> list[Candidates]:
        if o is None:
            return []
        seen = views(slices)
        found = [c for family in self._families for c in service_candidates(o, seen, family)]
        if self._heeds is not None:
            found = [self._heeds(c) for c in found]
        if owners and any(c.external_ips or c.balancer_ips for c in found):
            return [_curtailed(c, o.key, owners) for c in found]
        return found

    def _claim(self, keys: Iterable[Key], old: Members, new: Members) -> list[Key]:
        """Notes who claims what. Other Services for which that may make a difference."""
        contested: dict[Claim, None] = {}
        for key in keys:
            for claim in self._claims(old.get(key)):
                claimants = self._claimants[claim]
                if len(claimants) > 1:
                    contested[claim] = None
                claimants.pop(key, None)
                if not claimants:
                    del self._claimants[claim]
            for claim in self._claims(new.get(key)):
                claimants = self._claimants.setdefault(claim, {})
                claimants[key] = None
                if len(claimants) > 1:
                    contested[claim] = None
        others: dict[Key, None] = {}
        for claim in contested:
            claimants = self._claimants.get(claim, {})
            others |= claimants
            self._owners.pop(claim, None)
            if len(claimants) > 1:
                self._owners[claim] = next(key for key in new if key in claimants)
        asked = set(keys)
        return [key for key in others if key not in asked]

    def _claims(self, o: Object | None) -> list[Claim]:
        if (
            o is None
            or not (o.spec.get("externalIPs") or o.spec.get("type") == "LoadBalancer")
            or not is_proxied(o)
        ):
            return []
        service = Service.of(o)
        balanced = ingress_ips(o, proxied=False) if service.type == "LoadBalancer" else []
        addresses = dict.fromkeys([*service.external_ips, *map(parse_address, balanced)])
        proxied = [f for f in self._families if of_family(service.cluster_ips, f)]
        own = [a for family in proxied for a in of_family(addresses, family)]
        return [(address, port.protocol, port.port) for address in own for port in service.ports]


def _curtailed(c: Candidates, key: Key, owners: Mapping[Claim, Key]) -> Candidates:
    """A Service port without the addresses that another Service has."""

    def own(address: IPAddress) -> bool:
        return owners.get((address, c.port.protocol, c.port.port), key) == key

    external, balancer = (tuple(filter(own, ips)) for ips in (c.external_ips, c.balancer_ips))
    if (external, balancer) == (c.external_ips, c.balancer_ips):
        return c
    return c._replace(external_ips=external, balancer_ips=balancer)


def candidates(objects: Objects, families: Iterable[Family], heeds: Heeds | None = None) -> list[Candidates]:
    """Every Service port that proxies care for, of each of these families, among objects that are looked at once."""
    slices, ports = SlicesByService.among(objects), ServicePorts(families, heeds)
    return [c for changed in ports.follow(objects.members(SERVICE), slices, {}) for c in changed.will]
