"""What many nodes and pods take grows with their number, and not with its square: counted, as time proves nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from namespaces import ip, isolated

from emulab.kernel import libc, netns, sysctls
from emulab.kernel.links import mesh
from emulab.kernel.netlink import requests
from emulab.kernel.network import KernelNetwork
from emulab.kernel.rules import elements, tables
from emulab.plan.links import Address, Bridge, Item, Veth, Vxlan
from emulab.plan.state import Collection, Mesh, Namespace, Network, Ruleset, Way

SOME, MORE = 40, 80  # nodes: more than go together in any way


def counted(of: Any, name: str, calls: Counter[str]) -> None:
    """Counts the calls of a function from now on, in this process alone."""
    real: Callable[..., Any] = getattr(of, name)

    def call(*arguments: Any, **more: Any) -> Any:
        calls[name] += 1
        return real(*arguments, **more)

    setattr(of, name, call)


def overlaid(count: int) -> Network:
    """So many nodes, each with ways to all others."""
    ways = {
        f"n{n}": Way(ip_network(f"10.244.{n}.0/24"), ip_address(f"10.0.0.{n}"), f"02:00:00:00:02:{n:02x}")
        for n in range(1, count + 1)
    }
    items: list[Item] = [Bridge("wire", "vpc", "02:00:00:00:00:01", 1500)]
    for number, (name, way) in enumerate(ways.items(), 1):
        last = f"{number:02x}"
        items += [
            Veth("wire", name, f"02:00:00:00:01:{last}", name, "eth0", f"02:00:00:00:03:{last}", 1500, "vpc"),
            Address(name, "eth0", ip_interface(f"{way.node}/24")),
            Vxlan(name, "flannel.1", way.vtep, 1450, 1, ip_address(str(way.node)), 8472, "eth0"),
            Address(name, "flannel.1", ip_interface(f"10.244.{number}.0/32")),
        ]
    rulesets = {(name, "mesh-ip"): Mesh(name, "flannel.1", ways) for name in ways}
    return Network({n: Namespace(n) for n in ("wire", *ways)}, frozenset(items), rulesets)


def framed_for(count: int) -> int:
    """How many messages are made to bring up so many nodes."""
    calls = Counter[str]()
    counted(requests, "framed", calls)
    world = KernelNetwork()
    try:
        world.apply(overlaid(count))
        routes = ip(world.handles["n1"], "-4", "route", "show", "dev", "flannel.1")
        assert len(routes) == count - 1
    finally:
        world.close()
    return calls["framed"]


@isolated
def test_ways_between_all_nodes_are_messages_once() -> None:
    """The group of ways with that to itself is a node's own: as many, whatever number of nodes there is."""
    own = 3 * mesh._TOGETHER  # messages of such a group
    few, many = framed_for(SOME), framed_for(MORE)
    assert many - few <= (MORE - SOME) * (own + 30) < 3 * (MORE**2 - SOME**2)


@isolated
def test_a_table_is_encoded_once_for_all_nodes() -> None:
    def rules(endpoints: int) -> Ruleset:
        addresses = {f"10.244.0.{n}": "" for n in range(1, endpoints + 1)}
        return Ruleset("ip", "t", {}, {"known": Collection("set", "typeof ip daddr ;", addresses)})

    names = [f"n{n}" for n in range(MORE)]
    namespaces = {n: Namespace(n) for n in names}
    calls = Counter[str]()
    counted(elements, "encode", calls)
    world = KernelNetwork()
    try:
        for endpoints in (2, 5):
            after = rules(endpoints)
            world.apply(Network(namespaces, frozenset(), {(n, "ip t"): after for n in names}))
        assert calls["encode"] <= 2
        assert len(world._tables._contexts) <= tables._MOST_CONTEXTS < MORE, "libnftables' few descriptors"
    finally:
        world.close()


@isolated
def test_no_two_lots_of_namespaces_share_a_procfs() -> None:
    calls = Counter[str]()
    counted(libc, "new_filesystem", calls)
    made = netns.create(
        Namespace(f"n{n}", (("net/ipv4/ip_unprivileged_port_start", "7"),)) for n in range(MORE)
    )
    expected = 0 if sysctls._is_read_only() else -(-MORE // sysctls._LOT)
    assert calls["new_filesystem"] == expected
    setting = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    assert {netns.inside(handle.fd, setting.read_text) for handle in made} == {"7\n"}
