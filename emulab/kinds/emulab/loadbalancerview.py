"""The typed view of LoadBalancers."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.emulab.balancingview import Balancing
from emulab.model.addresses import IPAddress, IPNetwork, networks
from emulab.model.objects import Object


@dataclass(frozen=True, slots=True)
class BalancerTarget:
    ingress: bool
    namespace: str = ""
    service: str = ""
    port: int | str = 0

    @staticmethod
    def of(target: Mapping[str, Any]) -> BalancerTarget:
        service = target.get("service")
        if not service:
            return BalancerTarget(ingress=True)
        return BalancerTarget(False, service.get("namespace") or "default", service["name"], service["port"])


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    name: str
    network: str  # internet | vpc
    address: IPAddress | None  # None: to be allocated
    ports: tuple[int, ...]  # of TCP
    target: BalancerTarget
    source_ranges: tuple[IPNetwork, ...]
    udp_ports: tuple[int, ...] = ()
    balancing: Balancing = Balancing()

    @property
    def sockets(self) -> tuple[tuple[str, int], ...]:
        """Its ports with their protocols."""
        return (*(("TCP", port) for port in self.ports), *(("UDP", port) for port in self.udp_ports))

    @staticmethod
    def of(o: Object) -> LoadBalancer:
        spec, address = o.spec, o.spec.get("address")
        given = [port_of(port) for port in spec.get("ports") or (80, 443)]
        return LoadBalancer(
            name=o.name,
            network=spec.get("network") or "vpc",
            address=ip_address(address) if address else None,
            ports=tuple(number for protocol, number in given if protocol == "TCP"),
            udp_ports=tuple(number for protocol, number in given if protocol == "UDP"),
            target=BalancerTarget.of(spec.get("target") or {"ingress": True}),
            source_ranges=networks(spec.get("sourceRanges")),
            balancing=Balancing.of(spec),
        )


def port_of(given: int | str) -> tuple[str, int]:
    """Its protocol and its number."""
    number, _, protocol = str(given).partition("/")
    return protocol or "TCP", int(number)
