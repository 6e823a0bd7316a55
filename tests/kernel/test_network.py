"""KernelNetwork against the kernel: what is there afterwards, what a change leaves alone, the way back."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from namespaces import ip, isolated, open_descriptors

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.plan.links import Address, Bridge, ForwardingEntry, Item, Neighbour, Route, Veth, Vxlan
from emulab.plan.rules.rulesets import MOST
from emulab.plan.state import Collection, Namespace, Network, Ruleset, UdpBackends

QUIET = (("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1"))
BRIDGE = Bridge("wire", "vpc", "02:00:00:00:00:01", 1500)
PLUG = Veth("wire", "n1", "02:00:00:00:01:01", "node", "eth0", "02:00:00:00:01:02", 1500, "vpc")
UNDERLAY = Address("node", "eth0", ip_interface("10.0.0.11/24"))
VXLAN = Vxlan("node", "flannel.1", "02:00:00:00:02:01", 1450, 1, ip_address("10.0.0.11"), 8472, "eth0")
VTEP = Address("node", "flannel.1", ip_interface("10.244.1.0/32"))
FAR = Neighbour("node", "flannel.1", ip_address("10.244.2.0"), "02:00:00:00:02:02")
ENTRY = ForwardingEntry("node", "flannel.1", "02:00:00:00:02:02", ip_address("10.0.0.12"))
TO_FAR = Route("node", ip_network("10.244.2.0/24"), "flannel.1", ip_address("10.244.2.0"), None, onlink=True)
DEFAULT = Route("node", ip_network("0.0.0.0/0"), "eth0", ip_address("10.0.0.1"))
POD_LINK = Veth("node", "veth1", "02:00:00:00:03:01", "pod", "eth0", "02:00:00:00:03:02", 1450)
POD_ROUTE = Route("node", ip_network("10.244.1.2/32"), "veth1")
POD_ADDRESS = Address("pod", "eth0", ip_interface("10.244.1.2/32"))
POD_NEIGHBOUR = Neighbour("pod", "eth0", ip_address("169.254.1.1"), "02:00:00:00:03:01")
POD_DEFAULT = Route("pod", ip_network("0.0.0.0/0"), "eth0", ip_address("169.254.1.1"), None, onlink=True)
NODE: frozenset[Item] = frozenset({BRIDGE, PLUG, UNDERLAY, VXLAN, VTEP, FAR, ENTRY, TO_FAR, DEFAULT})
POD: frozenset[Item] = frozenset({POD_LINK, POD_ROUTE, POD_ADDRESS, POD_NEIGHBOUR, POD_DEFAULT})
RULES = Ruleset("ip", "t", {"c": ("{ type filter hook input priority 0 ; policy accept ; }", "accept")})
UNREACHABLE = Route("node", ip_network("10.99.0.0/16"), "eth0", ip_address("172.16.0.1"))


def network(items: frozenset[Item], **rulesets: Ruleset) -> Network:
    names = {n for i in items for n in (i.namespace, getattr(i, "peer_namespace", i.namespace))}
    return Network(
        {n: Namespace(n, QUIET) for n in sorted(names)},
        items,
        {(namespace, f"{r.family} {r.table}"): r for namespace, r in rulesets.items()},
    )


def links(world: KernelNetwork, namespace: str) -> dict[str, dict[str, Any]]:
    return {link["ifname"]: link for link in ip(world.handles[namespace], "link", "show")}


def addresses(world: KernelNetwork, namespace: str) -> set[tuple[str, str]]:
    return {
        (link["ifname"], f"{a['local']}/{a['prefixlen']}")
        for link in ip(world.handles[namespace], "-4", "address", "show")
        for a in link["addr_info"]
        if link["ifname"] != "lo"
    }


def routes(world: KernelNetwork, namespace: str) -> set[tuple[str, str, str]]:
    """Destination, gateway and device; those that come with an address are left out."""
    return {
        (r["dst"], r.get("gateway", ""), r["dev"])
        for r in ip(world.handles[namespace], "-4", "route", "show")
        if r.get("protocol") != "kernel"
    }


def picture(world: KernelNetwork) -> dict[str, object]:
    """What there is, without what the kernel changes of its own accord."""
    kept = ("ifindex", "address", "mtu", "master")
    return {
        n: (
            {name: [link.get(k) for k in kept] for name, link in links(world, n).items()},
            addresses(world, n),
            routes(world, n),
        )
        for n in world.handles
    }


@isolated
def test_everything_of_a_small_network_is_there() -> None:
    world = KernelNetwork()
    assert world.apply(network(NODE | POD, node=RULES)) is True
    wire, node, pod = links(world, "wire"), links(world, "node"), links(world, "pod")
    assert set(wire) == {"lo", "vpc", "n1"}
    assert set(node) == {"lo", "eth0", "flannel.1", "veth1"}
    assert set(pod) == {"lo", "eth0"}
    assert wire["vpc"]["linkinfo"]["info_kind"] == "bridge" and wire["vpc"]["address"] == BRIDGE.mac
    assert wire["vpc"]["linkinfo"]["info_data"]["stp_state"] == 0
    assert wire["n1"]["master"] == "vpc" and wire["n1"]["address"] == PLUG.mac
    assert node["eth0"]["address"] == PLUG.peer_mac and node["eth0"]["mtu"] == 1500
    vxlan = node["flannel.1"]["linkinfo"]["info_data"]
    assert (vxlan["id"], vxlan["local"], vxlan["port"], vxlan["link"]) == (1, "10.0.0.11", 8472, "eth0")
    assert vxlan["learning"] is False and node["flannel.1"]["mtu"] == 1450
    assert (pod["eth0"]["address"], pod["eth0"]["mtu"]) == (POD_LINK.peer_mac, 1450)
    for there in (wire, node, pod):
        assert all("UP" in link["flags"] for link in there.values()), there
    assert addresses(world, "node") == {("eth0", "10.0.0.11/24"), ("flannel.1", "10.244.1.0/32")}
    assert addresses(world, "pod") == {("eth0", "10.244.1.2/32")}
    assert routes(world, "node") == {
        ("10.244.2.0/24", "10.244.2.0", "flannel.1"),
        ("10.244.1.2", "", "veth1"),
        ("default", "10.0.0.1", "eth0"),
    }
    assert routes(world, "pod") == {("default", "169.254.1.1", "eth0")}
    neighbours = ip(world.handles["pod"], "neighbour", "show", "nud", "permanent")
    assert [(n["dst"], n["lladdr"], n["dev"]) for n in neighbours] == [
        ("169.254.1.1", POD_NEIGHBOUR.mac, "eth0")
    ]
    assert "hook input" in world.nft("node").run("list table ip t")
    for namespace, handle in world.handles.items():
        real = {link["ifname"]: link["ifindex"] for link in ip(handle, "link", "show")}
        assert handle.indexes == real, f"indexes noted for {namespace}"


@isolated
def test_forwarding_entries_are_those_of_the_vxlan_device() -> None:
    import subprocess

    from emulab.kernel import netns

    world = KernelNetwork()
    world.apply(network(NODE))
    command = ["bridge", "fdb", "show", "dev", "flannel.1"]
    shown = netns.inside(world.handles["node"].fd, lambda: subprocess.check_output(command, text=True)).split(
        "\n"
    )
    assert [line.split()[:3] for line in shown if line] == [[ENTRY.mac, "dst", "10.0.0.12"]]
    world.apply(network(NODE - {ENTRY, FAR, TO_FAR}))
    left = netns.inside(world.handles["node"].fd, lambda: subprocess.check_output(command, text=True))
    assert left == ""


@pytest.mark.privilege
@isolated
def test_sysctls_are_written_inside() -> None:
    from pathlib import Path

    from emulab.kernel import netns

    world = KernelNetwork()
    forward = Namespace("r", (("net/ipv4/ip_forward", "1"), ("net/no/such/feature", "1")))
    world.apply(Network({"r": forward, "h": Namespace("h")}))
    values = [
        netns.inside(world.handles[n].fd, Path("/proc/sys/net/ipv4/ip_forward").read_text) for n in ("r", "h")
    ]
    assert values == ["1\n", "0\n"]


@pytest.mark.privilege
@isolated
def test_a_refused_sysctl_is_an_error_that_names_it_and_makes_nothing() -> None:
    world = KernelNetwork()
    before = open_descriptors()
    with pytest.raises(KernelError, match=r"net/ipv4/ip_forward.* in r: EINVAL"):
        world.apply(Network({"h": Namespace("h"), "r": Namespace("r", (("net/ipv4/ip_forward", "x"),))}))
    assert world.handles == {} and world.applied == Network({}, frozenset(), {})
    assert open_descriptors() == before


@isolated
def test_the_same_again_changes_nothing() -> None:
    world = KernelNetwork()
    world.apply(network(NODE | POD, node=RULES))
    again = network(NODE | POD, node=RULES)
    assert world.apply(again) is False
    assert world.applied is again, "what comes next is derived from it, and compared with it by identity"
    assert world.applied == network(NODE | POD, node=RULES)


@isolated
def test_a_change_leaves_the_rest_alone() -> None:
    world = KernelNetwork()
    world.apply(network(NODE | POD))
    before = {n: {k: v["ifindex"] for k, v in links(world, n).items()} for n in world.handles}
    inode = world.handles["node"].fd
    second: set[Item] = {
        Veth("node", "veth2", "02:00:00:00:04:01", "pod2", "eth0", "02:00:00:00:04:02", 1450),
        Route("node", ip_network("10.244.1.3/32"), "veth2"),
        Address("pod2", "eth0", ip_interface("10.244.1.3/32")),
    }
    world.apply(network(NODE | POD | second))
    after = {n: {k: v["ifindex"] for k, v in links(world, n).items()} for n in world.handles}
    assert after["node"].pop("veth2") not in before["node"].values()
    assert set(after.pop("pod2")) == {"lo", "eth0"}
    assert after == before and world.handles["node"].fd == inode
    world.apply(network(NODE | second))
    assert set(world.handles) == {"wire", "node", "pod2"}
    assert set(links(world, "node")) == {"lo", "eth0", "flannel.1", "veth2"}
    assert ("10.244.1.2", "", "veth1") not in routes(world, "node")
    assert world.applied == network(NODE | second)


@isolated
def test_a_route_that_changes_its_way() -> None:
    world = KernelNetwork()
    world.apply(network(NODE))
    routed = Route("node", TO_FAR.destination, "eth0", ip_address("10.0.0.12"))
    world.apply(network((NODE - {TO_FAR, FAR, ENTRY, VTEP, VXLAN}) | {routed}))
    assert routes(world, "node") == {
        ("10.244.2.0/24", "10.0.0.12", "eth0"),
        ("default", "10.0.0.1", "eth0"),
    }
    assert set(links(world, "node")) == {"lo", "eth0"}


@isolated
def test_a_link_that_changes_keeps_what_is_on_it() -> None:
    """Another MTU makes the link anew; its addresses, routes and neighbours are wanted as before."""
    world = KernelNetwork()
    world.apply(network(NODE | POD))
    larger = replace(POD_LINK, mtu=1500)
    wanted = network(NODE | (POD - {POD_LINK}) | {larger})
    world.apply(wanted)
    assert links(world, "pod")["eth0"]["mtu"] == 1500
    assert addresses(world, "pod") == {("eth0", "10.244.1.2/32")}
    assert routes(world, "pod") == {("default", "169.254.1.1", "eth0")}
    assert ("10.244.1.2", "", "veth1") in routes(world, "node")
    assert world.applied == wanted


@isolated
def test_a_bridge_that_changes_keeps_its_ports() -> None:
    world = KernelNetwork()
    world.apply(network(NODE))
    world.apply(network((NODE - {BRIDGE}) | {replace(BRIDGE, mac="02:00:00:00:00:77")}))
    assert links(world, "wire")["vpc"]["address"] == "02:00:00:00:00:77"
    assert links(world, "wire")["n1"].get("master") == "vpc"


@isolated
def test_what_went_with_a_link_that_changed_is_not_removed_again() -> None:
    world = KernelNetwork()
    world.apply(network(NODE | POD))
    without = network(NODE | {replace(POD_LINK, mtu=1500)})  # and no address any more
    world.apply(without)
    assert world.applied == without
    assert world.apply(without) is False


@isolated
def test_an_address_that_changes_within_its_network() -> None:
    """The kernel drops a network's later addresses with its first one, unless told otherwise."""
    world = KernelNetwork()
    world.apply(network(frozenset({BRIDGE, PLUG, UNDERLAY, DEFAULT})))
    moved = Address("node", "eth0", ip_interface("10.0.0.77/24"))
    world.apply(network(frozenset({BRIDGE, PLUG, moved, DEFAULT})))
    assert addresses(world, "node") == {("eth0", "10.0.0.77/24")}
    assert routes(world, "node") == {("default", "10.0.0.1", "eth0")}


@isolated
def test_a_failing_step_undoes_everything() -> None:
    world = KernelNetwork()
    base = network(NODE, node=RULES)
    world.apply(base)
    before = picture(world)
    descriptors = open_descriptors()
    with pytest.raises(KernelError) as caught:
        world.apply(network(NODE | POD | {UNREACHABLE}, node=RULES, pod=RULES))
    assert "add route 10.99.0.0/16 via 172.16.0.1 on eth0" in str(caught.value)
    assert caught.value.namespace == "node" and caught.value.errno == 101  # ENETUNREACH
    assert picture(world) == before
    assert world.applied == base
    assert open_descriptors() == descriptors
    assert world.apply(network(NODE | POD, node=RULES)) is True, "the way forward is open again"
    assert addresses(world, "pod") == {("eth0", "10.244.1.2/32")}


@isolated
def test_a_failing_step_brings_back_what_had_made_room() -> None:
    world = KernelNetwork()
    base = network(NODE | POD)
    world.apply(base)
    before = (routes(world, "node"), addresses(world, "pod"), routes(world, "pod"))
    changed: frozenset[Item] = (NODE | POD | {replace(POD_LINK, mtu=1500), UNREACHABLE}) - {POD_LINK}
    with pytest.raises(KernelError, match=r"10\.99\.0\.0/16"):
        world.apply(network(changed))
    assert (routes(world, "node"), addresses(world, "pod"), routes(world, "pod")) == before
    assert world.applied == base


@isolated
def test_a_ruleset_that_is_refused_undoes_the_links_too() -> None:
    world = KernelNetwork()
    world.apply(network(NODE))
    wrong = Ruleset("ip", "t", {"c": ("", "no such rule")})
    with pytest.raises(KernelError, match=r"nft: .* in node"):
        world.apply(network(NODE | POD, node=wrong))
    assert set(world.handles) == {"wire", "node"} and world.applied == network(NODE)
    assert world.nft("node").run("list ruleset") == ""


@isolated
def test_a_ruleset_that_is_no_longer_wanted_goes() -> None:
    world = KernelNetwork()
    world.apply(network(NODE, node=RULES))
    world.apply(network(NODE))
    assert world.nft("node").run("list ruleset") == ""
    assert world.applied.rulesets == {}


@isolated
def test_many_items_go_through_in_several_batches() -> None:
    world = KernelNetwork()
    far = [Route("node", ip_network(f"10.{100 + i // 250}.{i % 250}.0/24"), "eth0") for i in range(450)]
    world.apply(network(NODE | set(far)))
    assert len(routes(world, "node")) == 450 + 2
    world.apply(network(NODE))
    assert len(routes(world, "node")) == 2


@isolated
def test_every_failure_of_a_batch_is_told_and_only_it_is_missing() -> None:
    from emulab.kernel import netns
    from emulab.kernel.links import kinds
    from emulab.kernel.netlink.requests import send_batch

    world = KernelNetwork()
    world.apply(network(frozenset({BRIDGE, PLUG, UNDERLAY})))
    wanted = [Route("node", ip_network(f"10.9.{i % 250}.{i // 250}/32"), "eth0") for i in range(410)]
    bad = {0, 199, 200, 409}
    batch = [
        kinds.add(replace(r, gateway=ip_address("172.16.0.1")) if i in bad else r, world.handles)
        for i, r in enumerate(wanted)
    ]
    failed = send_batch(netns.open_rtnl(world.handles["node"]), batch)
    assert [(f.index, f.errno) for f in failed] == [(i, 101) for i in sorted(bad)]
    assert "invalid gateway" in failed[0].text
    assert len(routes(world, "node")) == 410 - len(bad)


@pytest.mark.privilege
@isolated
def test_close_lets_go_of_every_descriptor() -> None:
    gc.collect()
    before = open_descriptors()
    world = KernelNetwork()
    world.apply(network(NODE | POD, node=RULES))
    assert len(open_descriptors()) > len(before)
    world.close()
    assert open_descriptors() == before
    assert world.handles == {}


@pytest.mark.privilege
@isolated
def test_a_removed_namespace_takes_its_descriptors_with_it() -> None:
    world = KernelNetwork()
    world.apply(network(NODE, node=RULES))
    before = open_descriptors()
    world.apply(network(NODE | POD, node=RULES, pod=RULES))
    world.apply(network(NODE, node=RULES))
    assert open_descriptors() == before


@pytest.mark.privilege
@isolated
def test_listeners_are_opened_in_their_namespaces_all_or_none() -> None:
    from emulab.kernel.sockets import open_listeners

    world = KernelNetwork()
    world.apply(network(NODE | POD))
    node, pod = world.handles["node"].fd, world.handles["pod"].fd
    wanted = [("tcp/10.244.1.2/80", "pod", pod), ("udp/10.0.0.11/53", "node", node)]
    opened = open_listeners(wanted)
    assert {k: s.getsockname() for k, s in opened.items()} == {
        "tcp/10.244.1.2/80": ("10.244.1.2", 80),
        "udp/10.0.0.11/53": ("10.0.0.11", 53),
    }
    assert all(s.getblocking() is False for s in opened.values())
    before = open_descriptors()
    with pytest.raises(KernelError, match=r"listen on tcp 10\.244\.1\.2:80 in pod: EADDRINUSE"):
        open_listeners([("tcp/10.0.0.11/81", "node", node), ("tcp/10.244.1.2/80", "pod", pod)])
    assert open_descriptors() == before


def table(
    *addresses: str, verdict: str = "goto c", more: dict[str, tuple[str, ...]] | None = None
) -> Ruleset:
    """A table whose map sends these addresses to a chain."""
    many = [f"10.1.{i >> 8}.{i & 255}" for i in range(MOST)]  # too large for one transaction
    ways = Collection("map", "typeof ip daddr : verdict ;", dict.fromkeys([*addresses, *many], verdict))
    hook = ("{ type filter hook input priority 0 ; policy accept ; }", "ip daddr vmap @ways")
    return Ruleset("ip", "t", {"c": ("", "accept"), **(more or {}), "in": hook}, {"ways": ways})


@isolated
def test_a_table_that_is_refused_on_the_way_becomes_what_it_was() -> None:
    """Its new chain is there when its elements are sent, and one of those names a chain that isn't."""
    world = KernelNetwork()
    first = network(NODE, node=table("10.0.0.1", "10.0.0.2"))
    world.apply(first)
    before = world.nft("node").run("list ruleset")
    new = {"d": ("", "counter accept")}
    with pytest.raises(KernelError, match="No such file"):
        world.apply(network(NODE, node=table("10.0.0.2", "10.0.0.3", verdict="goto nowhere", more=new)))
    assert world.nft("node").run("list ruleset") == before
    assert world.applied == first
    for _ in range(2):  # the socket has no answer left over
        world.apply(network(NODE, node=table("10.0.0.2", verdict="goto d", more=new)))
        assert "10.0.0.2 : goto d" in world.nft("node").run("list ruleset")
        world.apply(first)
    assert world.nft("node").run("list ruleset") == before


@pytest.mark.privilege
@isolated
def test_rules_go_once_those_in_their_place_are_there_and_udp_flows_are_looked_at_last() -> None:
    """Between the two no packet would be translated; and the former's rules would lead UDP flows astray again."""
    one, other = (Ruleset("ip", name, RULES.chains) for name in ("one", "other"))
    flows, fewer = (UdpBackends({("10.96.0.10", 53): frozenset(found)}) for found in (["a", "b"], ["a"]))
    world = KernelNetwork()
    before, after = network(NODE, node=one), network(NODE, node=other)
    udp = ("node", "udp-backends")
    world.apply(replace(before, rulesets={udp: flows, **before.rulesets}))
    world.take_syncs()
    world.apply(replace(after, rulesets={udp: fewer, **after.rulesets}))
    assert [(s.kind, s.after) for s in world.take_syncs()] == [
        ("ip other", other),
        ("ip one", None),
        ("udp-backends", fewer),
    ]
    assert world.nft("node").run("list tables").split("\n")[0] == "table ip other"


@isolated
def test_of_many_namespaces_all_are_made_or_none() -> None:
    """Two threads make them; that of the second half fails here, and what both have made is given back."""
    wanted = [Namespace(f"n{number}") for number in range(netns._MANY)]
    made = netns.create(wanted)
    assert [handle.name for handle in made] == [namespace.name for namespace in wanted]
    assert len({os.stat(handle.fd).st_ino for handle in made}) == len(wanted)
    for handle in made:
        handle.close()
    before = open_descriptors()
    wanted[-1] = Namespace("bad", (("net/ipv4/ip_forward", "no number"),))
    with pytest.raises(KernelError, match=r"bad"):
        netns.create(wanted)
    assert open_descriptors() == before
