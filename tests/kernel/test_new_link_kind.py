"""A kind of link that nobody had thought of: a value, an encoding and a line in each table are all that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from namespaces import ip, isolated

from emulab.dataclass import dataclass
from emulab.errors import KernelError
from emulab.kernel.links import kinds
from emulab.kernel.links.encoding import Handles
from emulab.kernel.links.link import link_encoding
from emulab.kernel.netlink.codec import U32, AttributeTable
from emulab.kernel.network import KernelNetwork
from emulab.plan.difference import difference
from emulab.plan.links import KINDS, Address, Dummy, Item, Route, Veth
from emulab.plan.links.item import End, Link
from emulab.plan.render import data, render
from emulab.plan.state import Namespace, Network, World


@dataclass(frozen=True, slots=True)
class Macvlan(Link):
    """A further MAC address of a device."""

    namespace: str
    name: str
    mac: str
    mtu: int
    device: str

    word = "macvlan"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.device),)

    def line(self, name: Callable[[str], str]) -> str:
        return f"macvlan {self.name} mac {self.mac} mtu {self.mtu} dev {self.device}"


MACVLAN_MODE_BRIDGE = 4
DATA = AttributeTable({"IFLA_MACVLAN_MODE": (1, U32)})


def describe(item: Macvlan, handles: Handles) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    device = handles[item.namespace].indexes[item.device]
    return {"IFLA_MTU": item.mtu, "IFLA_LINK": device}, {"IFLA_MACVLAN_MODE": MACVLAN_MODE_BRIDGE}


@pytest.fixture(autouse=True)
def macvlan(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    KINDS.insert(KINDS.index(Dummy), Macvlan)  # its device is there by then
    monkeypatch.setitem(kinds.ENCODINGS, Macvlan, link_encoding("macvlan", DATA, describe))
    yield
    KINDS.remove(Macvlan)


WIRE = Veth("node", "eth0", "02:00:00:00:01:01", "far", "eth0", "02:00:00:00:01:02", 1500)
OVER = Macvlan("node", "mv0", "02:00:00:00:02:01", 1400, "eth0")
ADDRESS = Address("node", "mv0", ip_interface("10.7.0.1/24"))
WAY = Route("node", ip_network("10.8.0.0/16"), "mv0", ip_address("10.7.0.9"))
ALL: frozenset[Item] = frozenset({WIRE, OVER, ADDRESS, WAY})


def network(items: frozenset[Item]) -> Network:
    return Network({name: Namespace(name) for name in ("node", "far")}, items)


def shown(world: KernelNetwork) -> tuple[Any, ...]:
    """What there is of it: its kind, mode, MAC, MTU and device, its addresses and its routes."""
    links = {link["ifname"]: link for link in ip(world.handles["node"], "address", "show")}
    found = links.get("mv0")
    if found is None:
        return ()
    info = found["linkinfo"]
    addresses = [a["local"] for a in found["addr_info"] if a["family"] == "inet"]
    routes = [r["dst"] for r in ip(world.handles["node"], "route", "show", "dev", "mv0", "proto", "static")]
    kind = info["info_kind"], info["info_data"]["mode"], found["address"], found["mtu"], found["link"]
    return (*kind, "UP" in found["flags"], addresses, routes)


BUILT = ("macvlan", "bridge", OVER.mac, 1400, "eth0", True, ["10.7.0.1"], ["10.8.0.0/16"])


@isolated
def test_it_is_built_changed_and_undone() -> None:
    world = KernelNetwork()
    world.apply(network(ALL))
    assert shown(world) == BUILT
    world.apply(network((ALL - {OVER}) | {replace(OVER, mtu=1300)}))
    assert shown(world) == (*BUILT[:3], 1300, *BUILT[4:])
    world.apply(network((ALL - {WIRE}) | {replace(WIRE, mtu=1450)}))
    assert shown(world) == BUILT, "made anew on the device that was"
    world.apply(network(frozenset({WIRE})))
    assert shown(world) == ()
    assert [link["ifname"] for link in ip(world.handles["node"], "link", "show")] == ["lo", "eth0"]


@isolated
def test_a_failure_undoes_it() -> None:
    world = KernelNetwork()
    wire = network(frozenset({WIRE}))
    world.apply(wire)
    lost = Route("node", ip_network("10.9.0.0/16"), "mv0", ip_address("172.16.0.1"))
    with pytest.raises(KernelError, match=r"add route 10\.9\.0\.0/16 via 172\.16\.0\.1 on mv0"):
        world.apply(network(ALL | {lost}))
    assert shown(world) == () and world.applied == wire
    with pytest.raises(KernelError, match="add macvlan mv1"):
        world.apply(network(ALL | {replace(OVER, name="mv1", mac="ff:ff:ff:ff:ff:ff")}))
    assert shown(world) == () and world.applied == wire


def test_it_is_compared_and_printed() -> None:
    change = difference(network(frozenset()), network(ALL))
    assert change.add == (WIRE, OVER, ADDRESS, WAY)
    gone = difference(network(ALL), network(frozenset()))
    assert gone.remove == (OVER, WIRE), "before its device, and with what is on it"
    plan = World(network(ALL), {}, {})
    assert "  macvlan mv0 mac 02:00:00:00:02:01 mtu 1400 dev eth0\n" in render(plan)
    assert [i["kind"] for i in data(plan)["namespaces"]["node"]["items"]] == [
        "veth",
        "macvlan",
        "address",
        "route",
    ]
