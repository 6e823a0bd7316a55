"""What the maps hold of Services and connections, as values, and the keys by which it is found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from emulab.kernel.ebpf import layouts
from emulab.kernel.ebpf.layouts import PROTOCOLS
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.plan.state import BpfFrontend

_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


class ListedService(NamedTuple):
    """A frontend as the maps have it, read from the kernel."""

    protocol: str
    address: IPAddress
    port: int
    inside: bool
    number: int
    name: str
    affinity: int
    masquerade: bool
    guarded: bool
    endpoints: Mapping[int, tuple[IPAddress, int]]
    """By their numbers, in the order of the choices."""


class KnownFlow(NamedTuple):
    """A connection that the programs know: as it came, and as it goes on."""

    protocol: str
    source: tuple[IPAddress, int]
    destination: tuple[IPAddress, int]
    new_source: tuple[IPAddress, int]
    endpoint: tuple[IPAddress, int]
    backend: int
    service: int
    masqueraded: bool


def listed(
    key: bytes,
    value: bytes,
    choices: Mapping[int, Mapping[int, int]],
    known: Mapping[int, tuple[IPAddress, int]],
    names: Mapping[int, str],
) -> ListedService:
    """A frontend, of its element in `services`. `choices`: each list's endpoints, whose ends `known` has by number."""
    address, port, kind, scope, _ = layouts.SERVICE_KEY.unpack(key)
    affinity, number, _, flags, owner = layouts.SERVICE.unpack(value)
    own_choices = sorted(choices.get(owner, {}).items())
    endpoints = {one: known[one] for _, one in own_choices if one in known}
    inside, masquerade = scope == layouts.INSIDE, bool(flags & layouts.MASQUERADE)
    guarded = bool(flags & layouts.GUARDED)
    own = _PROTOCOL_NAMES[kind], *end_of(address, port)
    name = "/".join(names.get(number, "").split("/")[:2])
    return ListedService(*own, inside, number, name, affinity, masquerade, guarded, endpoints)


def end_of(address: bytes, port: int) -> tuple[IPAddress, int]:
    """An address and a port, of what programs see."""
    return layouts.unpacked(address), layouts.port_of(port)


def known_flow(key: bytes, value: bytes) -> KnownFlow | None:
    """The connection of an element in `flows`; None for one that is there for its answers."""
    source, to, source_port, to_port, kind, direction = layouts.FLOW_KEY.unpack(key)
    new_source, endpoint, new_port, port, flags, backend, service, _ = layouts.FLOW.unpack(value)
    if direction != layouts.FORWARD:
        return None
    return KnownFlow(
        _PROTOCOL_NAMES[kind],
        end_of(source, source_port),
        end_of(to, to_port),
        end_of(new_source, new_port),
        end_of(endpoint, port),
        backend,
        service,
        bool(flags & layouts.MASQUERADE),
    )


def service_key(frontend: BpfFrontend) -> bytes:
    """That of a frontend in `services`."""
    address = layouts.packed(frontend.address or ip_address("::" if frontend.ipv6 else "0.0.0.0"))
    port, protocol = layouts.network_order(frontend.port), PROTOCOLS[frontend.protocol]
    return layouts.SERVICE_KEY.pack(address, port, protocol, int(frontend.inside), 0)


def range_key(whose: int, network: IPNetwork) -> bytes:
    """That of a network in `ranges`; `whose`: a Service's number, or one that stands for all of a node."""
    length = network.prefixlen + (96 if network.version == 4 else 0)
    return layouts.RANGE_KEY.pack(32 + length, whose, layouts.packed(network.network_address))


def hosts(addresses: Iterable[IPAddress]) -> list[IPNetwork]:
    """A network for each address alone."""
    return [ip_network(address) for address in addresses]
