"""What this kernel answers, taken apart by our tables and by pyroute2; and IPv6 wherever our netlink meets it."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from namespaces import ip, isolated
from pyroute2.netlink.nfnetlink import nfctsocket, nftsocket
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from emulab.kernel import netns
from emulab.kernel.links import bridge, vxlan
from emulab.kernel.netlink import conntrack as connections
from emulab.kernel.netlink import nftables, rtnetlink
from emulab.kernel.netlink.codec import HeadedTable
from emulab.kernel.netlink.messages import FAMILIES, NETLINK_NETFILTER, NETLINK_ROUTE, open_socket
from emulab.kernel.netlink.requests import dump
from emulab.kernel.network import KernelNetwork
from emulab.kernel.rules import conntrack
from emulab.observe.capture import netfilter, routes
from emulab.observe.events import Flow
from emulab.plan.links import (
    Address,
    Bridge,
    ForwardingEntry,
    Item,
    Neighbour,
    NextHop,
    Route,
    RoutingRule,
    Veth,
    Vxlan,
)
from emulab.plan.state import Collection, Namespace, Network, Ruleset, UdpBackends

NEAR, FAR = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.2", 6: "fd00::2"}
LENGTHS = {4: 24, 6: 64}
SYSCTLS = (
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/ip_forward", "1"),
)


def items(version: int) -> list[Item]:
    near, far = ip_address(NEAR[version]), ip_address(FAR[version])
    beyond = ip_network({4: "10.9.0.0/16", 6: "fd09::/32"}[version])
    return [
        Address("a", "eth0", ip_interface(f"{near}/{LENGTHS[version]}")),
        Address("b", "eth0", ip_interface(f"{far}/{LENGTHS[version]}")),
        Neighbour("a", "eth0", far, "02:00:00:00:00:02"),
        ForwardingEntry("a", f"vx{version}", "02:00:00:00:00:09", far),
        Vxlan("a", f"vx{version}", f"02:00:00:00:00:0{version}", 1400, version, near, 4789 + version, "eth0"),
        Route("a", beyond, "eth0", far, source=near, metric=7),
        Route(
            "a",
            beyond,
            table=1000,
            hops=(NextHop("eth0", far, weight=3), NextHop("eth0", far + 1, onlink=True)),
        ),
        Route("a", beyond, type="prohibit", table=7),
        RoutingRule(
            "a", 100, version, beyond, beyond, mark=5, mask=0xFF, input="eth0", output="br0", table=1000
        ),
    ]


def rules(version: int) -> list[Ruleset]:
    """A translation that conntrack sees, packets that are traced, and a map with elements."""
    family, port = {4: "ip", 6: "ip6"}[version], 53 + version
    ways = Collection(
        "map", f"typeof {family} daddr . th dport : verdict ;", {f"{NEAR[version]} . {port}": "goto c"}
    )
    hook = "{ type filter hook prerouting priority -100 ; policy accept ; }"
    trace = (hook, f"udp dport {port} meta nftrace set 1", "ct state new counter accept")
    return [Ruleset(family, "t", {"c": ("", "counter accept"), "pre": trace}, {"ways": ways})]


def built() -> KernelNetwork:
    world = KernelNetwork()
    links: list[Item] = [
        Veth("a", "eth0", "02:00:00:00:00:01", "b", "eth0", "02:00:00:00:00:02", 1500),
        Bridge("a", "br0", "02:00:00:00:00:03", 1500),
    ]
    both = [item for version in FAMILIES for item in items(version)]
    tables = {("a", f"{r.family} {r.table}"): r for version in FAMILIES for r in rules(version)}
    world.apply(Network({n: Namespace(n, SYSCTLS) for n in ("a", "b")}, frozenset([*links, *both]), tables))
    return world


def ask(
    world: KernelNetwork, protocol: int, kind: int, body: HeadedTable, family: int, **more: Any
) -> list[bytes]:
    field = body.header.fields[0]
    with netns.inside(world.handles["a"].fd, lambda: open_socket(protocol)) as sock:
        return dump(sock, kind, body.encode({field: family, **more}), "list")


def theirs(kind: Any, body: bytes) -> Any:
    found = kind(struct.pack("=IHHII", 16 + len(body), 0, 0, 1, 0) + body)
    found.decode()
    return found


def plain(found: Any) -> Any:
    """What pyroute2 decoded, as mappings of names."""
    if isinstance(found, list | tuple) and found and hasattr(found[0], "get"):
        return [plain(one) for one in found]
    if hasattr(found, "get") and "attrs" in found:
        fields = {name: value for name, value in found.items() if name not in ("attrs", "header", "value")}
        return fields | {name: plain(value) for name, value in found["attrs"]}
    return found


def compared(ours: Any, other: Any, where: str = "") -> int:
    """Asserts that all that our table names is what the other says; how many values that were."""
    if isinstance(ours, Mapping):
        return sum(compared(v, other[name], f"{where}/{name}") for name, v in ours.items() if name in other)
    if isinstance(ours, list):
        assert len(ours) == len(other), where
        return sum(compared(one, their, f"{where}[]") for one, their in zip(ours, other, strict=True))
    if isinstance(ours, bytes):
        return 0  # attributes of another table
    assert ours == other or str(ours) == str(other), (where, ours, other)
    return 1


GETADDR, GETRULE = 22, 34
DUMPS: dict[str, tuple[int, HeadedTable, Any]] = {
    "links": (rtnetlink.RTM_GETLINK, rtnetlink.LINK, ifinfmsg),
    "addresses": (GETADDR, rtnetlink.INTERFACE_ADDRESS, ifaddrmsg),
    "neighbours": (rtnetlink.RTM_GETNEIGH, rtnetlink.NEIGHBOUR, ndmsg),
    "routes": (rtnetlink.RTM_GETROUTE, rtnetlink.ROUTE, rtmsg),
    "rules": (GETRULE, rtnetlink.RULE, fibmsg),
}


@pytest.mark.parametrize("what", DUMPS)
@isolated
def test_rtnetlink_as_pyroute2_reads_it(what: str) -> None:
    world = built()
    kind, body, other = DUMPS[what]
    families = (0,) if what == "links" else FAMILIES.values()
    found = [one for family in families for one in ask(world, NETLINK_ROUTE, kind, body, family)]
    assert len(found) >= 4
    for one in found:
        known = plain(theirs(other, one))
        ours = body.decode(one)
        assert compared(ours, known) >= 5, ours
        names = {name for name in body.table.attributes if name in known}
        assert names <= ours.keys(), "what pyroute2 finds and the table names, is decoded"


@isolated
def test_links_of_each_kind_as_pyroute2_reads_them() -> None:
    world = built()
    own = {"bridge": bridge.DATA, "vxlan": vxlan.DATA}
    found: list[str] = []
    for body in ask(world, NETLINK_ROUTE, rtnetlink.RTM_GETLINK, rtnetlink.LINK, 0):
        info = rtnetlink.LINK.decode(body).get("IFLA_LINKINFO", {})
        if (kind := info.get("IFLA_INFO_KIND")) in own:
            known = plain(theirs(ifinfmsg, body))["IFLA_LINKINFO"]["IFLA_INFO_DATA"]
            ours = own[kind].decode(info["IFLA_INFO_DATA"])
            ours.pop("IFLA_VXLAN_PORT", None)  # which pyroute2 reads in the machine's order
            assert compared(ours, known) >= 3
            found.append(kind)
    assert sorted(found) == ["bridge", "vxlan", "vxlan"]


def send(world: KernelNetwork, version: int, place: str = "b") -> tuple[str, int]:
    """A datagram to `a`; whence it came."""
    family = FAMILIES[version]
    with netns.inside(world.handles[place].fd, lambda: socket.socket(family, socket.SOCK_DGRAM)) as sock:
        sock.connect((NEAR[version], 53 + version))
        sock.send(b"question")
        name = sock.getsockname()
        return name[0], name[1]


@isolated
def test_netfilter_as_pyroute2_reads_it() -> None:
    world = built()
    for version in FAMILIES:
        send(world, version)
    get = connections.IPCTNL_MSG_CT_GET
    for family in FAMILIES.values():
        (entry,) = ask(world, NETLINK_NETFILTER, get, connections.CONNECTION, family)
        known = plain(theirs(nfctsocket.nfct_msg, entry))
        assert compared(connections.CONNECTION.decode(entry), known) == 3 + 2 * 5
        kind, names = (
            nftables.SUBSYSTEM << 8 | 13,
            {"NFTA_SET_ELEM_LIST_TABLE": "t", "NFTA_SET_ELEM_LIST_SET": "ways"},
        )
        elements, *_ = ask(  # an empty list ends them
            world, NETLINK_NETFILTER, kind, nftables.SET_ELEMENTS, family, **names
        )
        ours = nftables.SET_ELEMENTS.decode(elements)
        known = plain(theirs(nftsocket.nft_set_elem_list_msg, elements))
        (other,) = known["NFTA_SET_ELEM_LIST_ELEMENTS"]
        other = other["NFTA_SET_ELEM_DATA"]["NFTA_DATA_VERDICT"]
        other["NFTA_VERDICT_CODE"] = {"NFT_GOTO": nftables.CONTROL["goto"]}[other["NFTA_VERDICT_CODE"]]
        assert compared({n: v for n, v in ours.items() if n.startswith("NFTA_SET_ELEM_LIST_")}, known) >= 3
        (element,) = ours["NFTA_SET_ELEM_LIST_ELEMENTS"]
        verdict = element["NFTA_SET_ELEM_DATA"]["NFTA_DATA_VERDICT"]
        assert verdict == {"NFTA_VERDICT_CODE": nftables.CONTROL["goto"], "NFTA_VERDICT_CHAIN": "c"}


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_connections_and_traces_of_each_family(version: int) -> None:
    world = built()
    fd = world.handles["a"].fd
    names = {index: name for name, index in world.handles["a"].indexes.items()}
    with (
        netns.inside(fd, netfilter.open_trace_socket) as traces,
        netns.inside(fd, netfilter.open_socket) as sock,
    ):
        for each in FAMILIES:
            source = send(world, each)
            if each == version:
                flow = Flow("udp", *source, NEAR[version], 53 + version)
        mine: list[Any] = []
        lost, until = False, time.monotonic() + 10
        # A kernel that has much to do takes a packet later, in a thread of its own.
        while not lost and not any(t.verdict == "accept" for t in mine) and time.monotonic() < until:
            found, lost = netfilter.read_traces(traces, "a", names)
            mine += [t for t in found if t.flow == flow]
        assert not lost and {(t.family, t.table, t.input) for t in mine} == {
            ({4: "ip", 6: "ip6"}[version], "t", "eth0")
        }
        assert [t.verdict for t in mine if t.kind == "rule"] == ["continue", "accept"]
        translation = netfilter.translation_of(sock, "a", flow)
        assert translation is not None and translation.original == flow
        assert netfilter.translation_of(sock, "a", flow._replace(source_port=1)) is None
        assert len(conntrack.entries(sock, "a")) == 2
        port, answerer = 53 + version, {4: f"{NEAR[4]}:57", 6: f"[{NEAR[6]}]:59"}[version]
        served, gone = (UdpBackends({(NEAR[version], port): frozenset(who)}) for who in ({answerer}, ()))
        assert conntrack.forget_stale(fd, "a", served, served) == {}
        assert conntrack.forget_stale(fd, "a", served, gone) == {version: 1}
        assert netfilter.translation_of(sock, "a", flow) is None and len(conntrack.entries(sock, "a")) == 1


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_elements_of_each_family(version: int) -> None:
    """As nft lists them, of a set that it made."""
    world = built()
    (table,) = rules(version)
    ways = table.collections["ways"]
    changed = Ruleset(
        table.family,
        table.table,
        table.chains,
        {"ways": Collection(ways.kind, ways.declaration, {f"{FAR[version]} . 80": "accept"})},
    )
    before = world.applied
    world.apply(
        Network(before.namespaces, before.items, {**before.rulesets, ("a", f"{table.family} t"): changed})
    )
    assert f"{FAR[version]} . 80 : accept" in world.nft("a").run(f"list map {table.family} t ways")


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_ways_and_neighbours_of_each_family(version: int) -> None:
    world = built()
    near, far = NEAR[version], FAR[version]
    beyond = {4: "10.9.7.7", 6: "fd09::7:7"}[version]
    with netns.inside(world.handles["a"].fd, routes.open_socket) as sock:
        way = routes.route(sock, "a", beyond)
        prefix = {4: "10.9.0.0/16", 6: "fd09::/32"}[version]
        assert (way.interface, way.gateway, way.prefix, way.error) == ("eth0", far, prefix, 0)
        assert way.text == f"{prefix} via {far} dev eth0 src {near}"
        (asked,) = ip(world.handles["a"], f"-{version}", "route", "get", beyond)
        assert (asked["dev"], asked["gateway"], asked["prefsrc"]) == ("eth0", far, near)
        here = routes.route(sock, "a", near)
        assert here.text.split()[:2] == ["local", near]
        index = world.handles["a"].indexes["eth0"]
        assert routes.route(sock, "a", beyond, source=far, input_index=index).interface == "eth0"
        nowhere = routes.route(sock, "a", {4: "192.0.2.1", 6: "2001:db8::1"}[version])
        assert nowhere.error and nowhere.interface == ""
        neighbours = {n.address: n for n in routes.neighbours(sock)}
        assert neighbours[far][1:] == ("eth0", "PERMANENT", "02:00:00:00:00:02")


@isolated
def test_both_tools_see_the_same_forwarding_entries() -> None:
    world = built()
    for version in FAMILIES:
        command = ["bridge", "fdb", "show", "dev", f"vx{version}"]
        text = netns.inside(world.handles["a"].fd, lambda c=command: subprocess.check_output(c, text=True))  # type: ignore[misc]
        assert text.split()[:3] == ["02:00:00:00:00:09", "dst", FAR[version]]
