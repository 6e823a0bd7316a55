"""WireGuard devices, and peers that come and go: what is said of each other is sent encrypted, and to nobody else."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from namespaces import isolated

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.plan.cni.flannel import wireguard_peers
from emulab.plan.cni.plugin import Node
from emulab.plan.links import Address, Bridge, Item, Route, Veth, Wireguard
from emulab.plan.state import Namespace, Network, WireguardPeers

pytestmark = pytest.mark.vm

LINK, PORT = "flannel-wg", 51820
NODES = [Node(f"n{n}", (ip_address(f"10.0.0.{n}"),), (ip_network(f"10.244.{n}.0/24"),)) for n in (1, 2, 3)]


def network(*nodes: Node, mtu: int = 1420) -> Network:
    items: list[Item] = [Bridge("wire", "vpc", "02:00:00:00:00:01", 1500)]
    rules = {}
    for number, node in enumerate(NODES, 1):
        ends = f"02:00:00:00:01:0{number}", node.name, "eth0", f"02:00:00:00:02:0{number}"
        items += [
            Veth("wire", node.name, *ends, 1500, "vpc"),
            Address(node.name, "eth0", ip_interface(f"{node.addresses[0]}/24")),
            Wireguard(node.name, LINK, mtu),
            Address(node.name, LINK, ip_interface(node.pod_ranges[0].network_address)),
            Route(node.name, ip_network("10.244.0.0/16"), LINK),
        ]
        rules[node.name, "wireguard-ip"] = wireguard_peers(node, nodes, LINK, PORT)
    names = {name: Namespace(name) for name in ("wire", *(node.name for node in NODES))}
    return Network(names, frozenset(items), rules)


def sent(world: KernelNetwork, one: str, other: str) -> str:
    """The source of a datagram that the second place had from the first one; "" where none came."""

    def bound() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((f"10.244.{other[1:]}.0", 7000))
        sock.settimeout(1.0)
        return sock

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"hello", (f"10.244.{other[1:]}.0", 7000))

    inside: Callable[..., object] = lambda place, work: netns.inside(world.handles[place].fd, work)  # noqa: E731
    with netns.inside(world.handles[other].fd, bound) as sock:
        try:
            inside(one, send)
            return str(sock.recvfrom(100)[1][0])
        except OSError:
            return ""


@isolated
def test_peers_come_and_go() -> None:
    world = KernelNetwork()
    try:
        world.apply(network(*NODES[:2]))
        assert sent(world, "n1", "n2") == "10.244.1.0"
        assert sent(world, "n1", "n3") == "", "who is no peer has no key to it"
        world.apply(network(*NODES))
        assert [sent(world, "n1", other) for other in ("n2", "n3")] == ["10.244.1.0"] * 2
        world.apply(network(*NODES, mtu=1380))
        assert sent(world, "n2", "n3") == "10.244.2.0", "devices that are made anew are told again"
        world.apply(network(*NODES[1:], mtu=1380))
        assert sent(world, "n1", "n2") == "" and sent(world, "n3", "n2") == "10.244.3.0"
    finally:
        world.close()


@isolated
def test_another_key_begins_anew() -> None:
    world = KernelNetwork()
    try:
        before = network(*NODES[:2])
        world.apply(before)
        stranger = wireguard_peers(NODES[2], NODES[:2], LINK, PORT)
        rules = before.rulesets["n1", "wireguard-ip"]
        assert isinstance(rules, WireguardPeers)
        other = replace(rules, private_key=stranger.private_key)
        world.apply(replace(before, rulesets={**before.rulesets, ("n1", "wireguard-ip"): other}))
        assert sent(world, "n1", "n2") == "", "nobody knows it by that key"
        world.apply(before)
        assert sent(world, "n1", "n2") == "10.244.1.0"
    finally:
        world.close()


@isolated
def test_what_is_refused_half_way_changes_nothing() -> None:
    world = KernelNetwork()
    try:
        before = network(*NODES[:2])
        world.apply(before)
        rules = before.rulesets["n1", "wireguard-ip"]
        assert isinstance(rules, WireguardPeers)
        refused = replace(rules.peers["n2"], public_key="c2hvcnQ=")
        others = replace(rules, peers={"n3": refused})  # n2 goes before this one comes
        with pytest.raises(KernelError, match=f"tell {LINK} its peers"):
            world.apply(replace(before, rulesets={**before.rulesets, ("n1", "wireguard-ip"): others}))
        assert world.applied == before and sent(world, "n1", "n2") == "10.244.1.0"
    finally:
        world.close()
