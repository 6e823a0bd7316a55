"""What the kernel is told of each kind of item, as an independent decoder reads it."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from emulab.kernel.links import kinds
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netns import Handle
from emulab.plan.links import (
    KINDS,
    Address,
    Bridge,
    ForwardingEntry,
    Neighbour,
    NextHop,
    Route,
    RoutingRule,
    Veth,
    Vxlan,
)


def handles() -> dict[str, Handle]:
    made = {name: Handle(name, fd, None) for name, fd in (("a", 70), ("b", 71))}
    made["a"].allocate_index("br")
    made["a"].allocate_index("eth0")
    return made


def decode(kind: Any, message: Message) -> dict[str, Any]:
    header = struct.pack("=IHHII", 16 + len(message.payload), message.type, message.flags, 1, 0)
    found = kind(header + message.payload)
    found.decode()
    return _plain(found)


def _plain(found: Any) -> dict[str, Any]:
    """The fields and attributes of a decoded message, nested ones too."""
    fields = {k: v for k, v in found.items() if k not in ("attrs", "header", "value")}
    return fields | {name: _value(value) for name, value in found.get("attrs", ())}


def _value(value: Any) -> Any:
    """Of parts nothing is left to ask: they know the message by a weak reference alone."""
    if isinstance(value, list):
        return [_value(one) for one in value]
    return _plain(value) if hasattr(value, "get_attr") else value


def test_a_bridge() -> None:
    known = handles()
    message = kinds.add(Bridge("b", "wire", "02:00:00:00:00:01", 1400), known)
    found = decode(ifinfmsg, message)
    assert (found["index"], found["flags"], found["change"]) == (10, 1, 1)
    assert (found["IFLA_IFNAME"], found["IFLA_ADDRESS"], found["IFLA_MTU"]) == (
        "wire",
        "02:00:00:00:00:01",
        1400,
    )
    info = found["IFLA_LINKINFO"]
    assert info["IFLA_INFO_KIND"] == "bridge"
    data = info["IFLA_INFO_DATA"]
    assert (data["IFLA_BR_FORWARD_DELAY"], data["IFLA_BR_STP_STATE"], data["IFLA_BR_MCAST_SNOOPING"]) == (
        0,
        0,
        0,
    )
    assert known["b"].indexes == {"lo": 1, "wire": 10}


def test_a_veth_pair() -> None:
    known = handles()
    pair = Veth("a", "p1", "02:00:00:00:00:01", "b", "eth0", "02:00:00:00:00:02", 1450, "br")
    found = decode(ifinfmsg, kinds.add(pair, known))
    assert (found["index"], found["IFLA_IFNAME"], found["IFLA_MASTER"]) == (12, "p1", 10)
    peer = found["IFLA_LINKINFO"]["IFLA_INFO_DATA"]["VETH_INFO_PEER"]
    assert (peer["index"], peer["flags"], peer["IFLA_IFNAME"]) == (10, 0, "eth0")
    assert (peer["IFLA_ADDRESS"], peer["IFLA_MTU"]) == ("02:00:00:00:00:02", 1450)
    assert struct.unpack("=I", _raw(kinds.add(pair, handles()).payload, 28))[0] == 71
    assert known["b"].indexes["eth0"] == 10


def _raw(payload: bytes, kind: int) -> bytes:
    """The value of the only u32 attribute of a kind, wherever it is nested."""
    at = payload.index(struct.pack("=HH", 8, kind))
    return payload[at + 4 : at + 8]


def test_a_vxlan() -> None:
    item = Vxlan("a", "vx", "02:00:00:00:00:03", 1450, 7, ip_address("10.0.0.11"), 8472, "eth0")
    data = decode(ifinfmsg, kinds.add(item, handles()))["IFLA_LINKINFO"]["IFLA_INFO_DATA"]
    assert data["IFLA_VXLAN_ID"] == 7 and data["IFLA_VXLAN_LINK"] == 11
    assert data["IFLA_VXLAN_LOCAL"] == "10.0.0.11" and data["IFLA_VXLAN_LEARNING"] == 0
    assert socket.htons(data["IFLA_VXLAN_PORT"]) in (8472, socket.htons(8472))


@pytest.mark.parametrize(
    ("text", "broadcast"), [("10.0.0.11/24", "10.0.0.255"), ("10.0.0.1/31", None), ("10.1.1.1/32", None)]
)
def test_an_address(text: str, broadcast: str | None) -> None:
    message = kinds.add(Address("a", "eth0", ip_interface(text)), handles())
    found = decode(ifaddrmsg, message)
    assert (found["family"], found["prefixlen"], found["index"]) == (2, int(text[-2:].strip("/")), 11)
    assert found["IFA_LOCAL"] == found["IFA_ADDRESS"] == text.split("/")[0]
    assert found.get("IFA_BROADCAST") == broadcast


def test_an_ipv6_address_is_usable_at_once() -> None:
    found = decode(ifaddrmsg, kinds.add(Address("a", "eth0", ip_interface("fd00::1/64")), handles()))
    assert (found["family"], found["prefixlen"], found["IFA_FLAGS"]) == (10, 64, 2)


def route(destination: str, gateway: str = "", source: str = "", onlink: bool = False) -> Route:
    via, own = (ip_address(t) if t else None for t in (gateway, source))
    return Route("a", ip_network(destination), "eth0", via, own, onlink)


def test_routes() -> None:
    plain = decode(rtmsg, kinds.add(route("10.9.0.0/16"), handles()))
    assert (plain["dst_len"], plain["RTA_DST"], plain["RTA_OIF"]) == (16, "10.9.0.0", 11)
    assert (plain["table"], plain["type"], plain["scope"], plain["flags"]) == (254, 1, 253, 0)
    default = decode(rtmsg, kinds.add(route("0.0.0.0/0", "10.0.0.1", "10.0.0.11"), handles()))
    assert "RTA_DST" not in default and default["dst_len"] == 0 and default["scope"] == 0
    assert (default["RTA_GATEWAY"], default["RTA_PREFSRC"]) == ("10.0.0.1", "10.0.0.11")
    onlink = decode(rtmsg, kinds.add(route("10.9.0.0/16", "172.16.0.1", onlink=True), handles()))
    assert onlink["flags"] == 4


def test_a_route_is_removed_whatever_its_scope() -> None:
    """The kernel compares scopes unless the message says RT_SCOPE_NOWHERE (255), as iproute2 does."""
    for item in (route("10.9.0.0/16"), route("10.9.0.0/16", "10.0.0.1")):
        added, removed = (decode(rtmsg, f(item, handles())) for f in (kinds.add, kinds.remove))
        assert removed["scope"] in (255, added["scope"]), item


def test_a_route_of_another_table_and_metric() -> None:
    """A table's number that a byte doesn't hold is an attribute (RTA_TABLE)."""
    near = Route("a", ip_network("10.9.0.0/16"), "eth0", table=100, metric=7)
    found = decode(rtmsg, kinds.add(near, handles()))
    assert (found["table"], found["RTA_PRIORITY"]) == (100, 7) and "RTA_TABLE" not in found
    far = Route("a", ip_network("10.9.0.0/16"), "eth0", table=70_000)
    found = decode(rtmsg, kinds.add(far, handles()))
    assert (found["table"], found["RTA_TABLE"]) == (0, 70_000) and "RTA_PRIORITY" not in found


def test_a_metric_of_ipv6_is_always_said() -> None:
    """Else a removal would take the lowest of several, not the one with the kernel's own (1024)."""
    for encode in (kinds.add, kinds.remove):
        assert decode(rtmsg, encode(route("fd00:9::/32"), handles()))["RTA_PRIORITY"] == 1024


@pytest.mark.parametrize(
    ("kind", "number", "scope"),
    [("local", 2, 254), ("blackhole", 6, 0), ("unreachable", 7, 0), ("prohibit", 8, 0)],
)
def test_types_of_routes(kind: str, number: int, scope: int) -> None:
    link = "lo" if kind == "local" else ""
    item = Route("a", ip_network("10.9.0.0/16"), link, type=kind)
    found = decode(rtmsg, kinds.add(item, handles()))
    assert (found["type"], found["scope"], found.get("RTA_OIF")) == (number, scope, 1 if link else None)


def test_a_route_with_several_next_hops() -> None:
    hops = (
        NextHop("eth0", ip_address("10.0.0.1"), weight=3),
        NextHop("br", ip_address("10.1.0.1"), onlink=True),
    )
    item = Route("a", ip_network("10.9.0.0/16"), hops=hops)
    found = decode(rtmsg, kinds.add(item, handles()))
    assert "RTA_OIF" not in found and found["scope"] == 0
    ways = [(h["oif"], h["hops"], h["flags"], h["RTA_GATEWAY"]) for h in found["RTA_MULTIPATH"]]
    assert ways == [(11, 2, 0, "10.0.0.1"), (10, 0, 4, "10.1.0.1")]


@pytest.mark.parametrize("version", [4, 6])
def test_rules(version: int) -> None:
    net = ip_network({4: "10.9.0.0/16", 6: "fd00:9::/32"}[version])
    number = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    item = RoutingRule("a", 100, version, net, net, mark=5, mask=0xFF, input="eth0", output="br", table=300)
    for encode in (kinds.add, kinds.remove):
        found = decode(fibmsg, encode(item, handles()))
        assert (found["family"], found["action"], found["table"], found["FRA_TABLE"]) == (number, 1, 0, 300)
        assert (found["src_len"], found["dst_len"]) == (net.prefixlen, net.prefixlen)
        assert found["FRA_SRC"] == found["FRA_DST"] == str(net.network_address)
        assert (found["FRA_PRIORITY"], found["FRA_FWMARK"], found["FRA_FWMASK"]) == (100, 5, 0xFF)
        assert (found["FRA_IIFNAME"], found["FRA_OIFNAME"]) == ("eth0", "br")
    bare = decode(fibmsg, kinds.add(RoutingRule("a", 7, version, action="prohibit"), handles()))
    assert (bare["action"], bare["table"], bare["FRA_PRIORITY"]) == (8, 0, 7)
    assert not {"FRA_SRC", "FRA_DST", "FRA_FWMARK", "FRA_FWMASK", "FRA_IIFNAME", "FRA_TABLE"} & set(bare)


def test_neighbours_and_forwarding_entries() -> None:
    near = Neighbour("a", "eth0", ip_address("10.0.0.1"), "02:00:00:00:00:09")
    found = decode(ndmsg, kinds.add(near, handles()))
    assert (found["family"], found["ifindex"], found["state"], found["flags"]) == (2, 11, 0x80, 0)
    assert (found["NDA_DST"], found["NDA_LLADDR"]) == ("10.0.0.1", "02:00:00:00:00:09")
    far = ForwardingEntry("a", "eth0", "02:00:00:00:00:09", ip_address("10.0.0.12"))
    found = decode(ndmsg, kinds.add(far, handles()))
    assert (found["family"], found["state"], found["flags"]) == (7, 0xC0, 2)
    assert found["NDA_LLADDR"] == "02:00:00:00:00:09" and bytes(ip_address("10.0.0.12").packed) in (
        kinds.add(far, handles()).payload
    )


def test_removing_a_link_forgets_both_its_ends() -> None:
    known = handles()
    pair = Veth("a", "p1", "02:00:00:00:00:01", "b", "eth0", "02:00:00:00:00:02", 1450)
    kinds.add(pair, known)
    found = decode(ifinfmsg, kinds.remove(pair, known))
    assert found["index"] == 12 and known["a"].indexes.keys() == {"lo", "br", "eth0"}
    assert known["b"].indexes == {"lo": 1}
    assert known["a"].allocate_index("p1") == 13, "an index is never used again"


def test_every_kind_of_item_can_be_added_and_removed() -> None:
    assert kinds.ENCODINGS.keys() == set(KINDS)
