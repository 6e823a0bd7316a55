"""A node's ways to the pods of others: what is there afterwards, what a change leaves alone, the way back."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from namespaces import ip, isolated

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.plan.links import Address, Bridge, Item, Route, Veth, Vxlan
from emulab.plan.state import Mesh, Namespace, Network, Tuning, Way

NODE = "n1"
ITEMS: tuple[Item, ...] = (
    Bridge("wire", "vpc", "02:00:00:00:00:01", 1500),
    Veth("wire", "n1", "02:00:00:00:01:01", NODE, "eth0", "02:00:00:00:01:02", 1500, "vpc"),
    Address(NODE, "eth0", ip_interface("10.0.0.1/24")),
    Vxlan(NODE, "flannel.1", "02:00:00:00:02:01", 1450, 1, ip_address("10.0.0.1"), 8472, "eth0"),
    Address(NODE, "flannel.1", ip_interface("10.244.1.0/32")),
)


def way(number: int, overlay: bool, node: str = "") -> Way:
    vtep = f"02:00:00:00:02:{number:02x}" if overlay else ""
    return Way(ip_network(f"10.244.{number}.0/24"), ip_address(node or f"10.0.0.{number}"), vtep)


def mesh(*numbers: int, link: str = "flannel.1") -> Mesh:
    return Mesh(NODE, link, {f"n{n}": way(n, link == "flannel.1") for n in (1, *numbers)})


def network(mesh: Mesh | None, items: tuple[Item, ...] = ITEMS) -> Network:
    rulesets = {(NODE, "mesh-ip"): mesh} if mesh else {}
    return Network({n: Namespace(n) for n in ("wire", NODE)}, frozenset(items), rulesets)


def found(world: KernelNetwork) -> dict[str, set[tuple[str, ...]]]:
    """What is there beyond what the links bring."""
    handle = world.handles[NODE]
    routes = {(r["dst"], r.get("gateway", ""), r["dev"]) for r in ip(handle, "-4", "route", "show")}
    neighbours = {(n["dst"], n["lladdr"]) for n in ip(handle, "-4", "neigh", "show", "nud", "permanent")}
    command = ["bridge", "-j", "fdb", "show", "dev", "flannel.1"]
    text = netns.inside(handle.fd, lambda: subprocess.run(command, capture_output=True, text=True).stdout)
    entries = {(e["mac"], e["dst"]) for e in json.loads(text or "[]") if "dst" in e}
    return {"routes": {r for r in routes if "244" in r[0]}, "neighbours": neighbours, "entries": entries}


def overlaid(*numbers: int) -> dict[str, set[tuple[str, ...]]]:
    macs = {n: f"02:00:00:00:02:{n:02x}" for n in numbers}
    return {
        "routes": {(f"10.244.{n}.0/24", f"10.244.{n}.0", "flannel.1") for n in numbers},
        "neighbours": {(f"10.244.{n}.0", macs[n]) for n in numbers},
        "entries": {(macs[n], f"10.0.0.{n}") for n in numbers},
    }


@isolated
def test_ways_come_and_go_and_a_node_has_none_to_itself() -> None:
    world = KernelNetwork()
    for numbers in ((2, 3), (2, 3, 4), (4,), (2, 3)):
        assert world.apply(network(mesh(*numbers))) is True
        assert found(world) == overlaid(*numbers)
        assert world.apply(network(mesh(*numbers))) is False
    world.apply(network(None))
    assert found(world) == overlaid()


@isolated
def test_another_plug_in_takes_over() -> None:
    world = KernelNetwork()
    world.apply(network(mesh(2, 3)))
    routed = network(mesh(2, 3, link="eth0"), ITEMS[:3])
    world.apply(routed)
    routes = {(f"10.244.{n}.0/24", f"10.0.0.{n}", "eth0") for n in (2, 3)}
    assert found(world) == {"routes": routes, "neighbours": set(), "entries": set()}
    world.apply(network(mesh(2, 3)))
    assert found(world) == overlaid(2, 3)


@isolated
def test_ways_are_there_again_when_their_link_was_made_anew() -> None:
    world = KernelNetwork()
    world.apply(network(mesh(2, 3)))
    other = tuple(replace(i, mtu=1400) if isinstance(i, Vxlan) else i for i in ITEMS)
    for items, numbers in ((other, (2, 3)), (ITEMS, (3, 4))):
        world.apply(network(mesh(*numbers), items))
        assert found(world) == overlaid(*numbers)


@isolated
def test_settings_are_there_again_when_their_link_was_made_anew() -> None:
    world, path = KernelNetwork(), "net/ipv4/conf/eth0/route_localnet"
    settings = {(NODE, "links"): Tuning(((path, "1"),))}
    for mtu in (1500, 1400):
        items = [replace(i, mtu=mtu) if isinstance(i, Veth) else i for i in ITEMS[:3]]
        world.apply(Network({n: Namespace(n) for n in ("wire", NODE)}, frozenset(items), settings))
        found = netns.inside(world.handles[NODE].fd, lambda: Path("/proc/sys", path).read_text())
        assert found == "1\n"


@isolated
def test_a_way_that_the_kernel_refuses_changes_nothing() -> None:
    world = KernelNetwork()
    before = network(mesh(2, 3, link="eth0"), ITEMS[:3])
    world.apply(before)
    there = found(world)
    ways = {"n4": way(4, False), "n5": way(5, False, "172.16.0.5")}  # no gateway of this network
    with pytest.raises(KernelError, match=r"add route 10\.244\.5\.0/24 via 172\.16\.0\.5 on eth0"):
        world.apply(network(Mesh(NODE, "eth0", ways), ITEMS[:3]))
    assert found(world) == there and world.applied == before


PARTS = ["10.244.0.128/26", "10.244.7.7/32", "fd00:10::7:0/122", "fd00:10::7:7/128"]


def towards(part: str) -> Way:
    net = ip_network(part)
    return Way(net, ip_address("10.0.0.3"), via=ip_address("10.0.0.3" if net.version == 4 else "fd00::3"))


@isolated
@pytest.mark.parametrize("part", PARTS)
def test_a_way_and_a_route_of_the_node_change_places(part: str) -> None:
    net = ip_network(part)
    is_host = net.prefixlen == net.max_prefixlen
    own = Route(NODE, net, "eth0") if is_host else Route(NODE, net, type="blackhole")
    few, refused = {"n2": way(2, False)}, {"n9": way(9, False, "172.16.0.5")}  # no gateway of this network
    more, world = {**few, f"n3 {net}": towards(part)}, KernelNetwork()
    theirs, ours = (ITEMS[:3], more), ((*ITEMS[:3], own), few)

    def there() -> list[object]:
        return [ip(world.handles[NODE], version, "route", "show") for version in ("-4", "-6")]

    seen = []
    for (items, ways), (others, other_ways) in ((theirs, ours), (ours, theirs), (theirs, ours)):
        wanted = network(Mesh(NODE, "eth0", ways), items)
        world.apply(wanted)
        seen.append(there())
        with pytest.raises(KernelError, match=r"add route 10\.244\.9\.0/24"):
            world.apply(network(Mesh(NODE, "eth0", {**other_ways, **refused}), others))
        assert there() == seen[-1] and world.applied == wanted
    assert seen[0] == seen[2] != seen[1]


@isolated
@pytest.mark.parametrize("part", PARTS[1::2])
def test_a_route_that_replaces_one_of_a_daemon(part: str) -> None:
    world, net = KernelNetwork(), ip_network(part)
    world.apply(network(None, ITEMS[:3]))
    handle = world.handles[NODE]
    version, metric = ("-4", []) if net.version == 4 else ("-6", ["metric", "1024"])
    command = ["ip", version, "route", "add", "blackhole", part, *metric, "proto", "bird"]
    netns.inside(handle.fd, lambda: subprocess.run(command, check=True))
    pods = Route(NODE, net, "eth0", replaces=True)
    world.apply(network(None, (*ITEMS[:3], pods)))
    (found,) = (r for r in ip(handle, version, "route", "show", "exact", part))
    assert found["dev"] == "eth0" and found["protocol"] == "static"
    world.apply(network(None, ITEMS[:3]))
    assert not ip(handle, version, "route", "show", "exact", part)
