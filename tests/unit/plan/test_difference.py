"""The difference of two networks, carried out on a little model of what a kernel insists on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from emulab.plan.difference import difference
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
from emulab.plan.rules.rulesets import ruleset_script
from emulab.plan.state import Collection, Mesh, Namespace, Network, Ruleset, Way

NAMES = ("a", "b", "c")
LINKS: tuple[Item, ...] = tuple(
    link
    for mtu in (1400, 1500)
    for link in (
        Bridge("a", "br", "02:00:00:00:00:01", mtu),
        Veth("a", "p1", "m1", "b", "eth0", "m2", mtu, "br"),
        Veth("a", "p1", "m1", "b", "eth0", "m2", mtu),
        Veth("a", "p2", "m3", "c", "eth0", "m4", mtu, "br"),
        Veth("b", "v1", "m5", "c", "eth1", "m6", mtu),
        Veth("c", "eth1", "m7", "b", "v1", "m8", mtu),
        Veth("b", "v2", "m9", "c", "eth0", "m10", mtu),
        Vxlan("b", "vx", "m11", mtu, 1, ip_address("10.0.0.1"), 8472, "eth0"),
        Vxlan("b", "vx", "m11", mtu, 1, ip_address("10.0.0.1"), 8472, "v1"),
    )
)
ENDS = (("a", "br"), ("b", "eth0"), ("b", "v1"), ("b", "vx"), ("c", "eth0"), ("c", "eth1"))
REST: tuple[Item, ...] = tuple(
    item
    for namespace, link in ENDS
    for item in (
        Address(namespace, link, ip_interface("10.0.0.1/24")),
        Address(namespace, link, ip_interface("10.1.0.1/24")),
        Neighbour(namespace, link, ip_address("10.0.0.9"), "n1"),
        Neighbour(namespace, link, ip_address("10.0.0.9"), "n2"),
        ForwardingEntry(namespace, link, "n1", ip_address("10.0.0.9")),
        ForwardingEntry(namespace, link, "n1", ip_address("10.0.0.8")),
        Route(namespace, ip_network("10.7.0.0/16"), link),
        Route(namespace, ip_network("10.7.0.0/16"), link, ip_address("10.0.0.9")),
        Route(namespace, ip_network("0.0.0.0/0"), link, ip_address("10.0.0.9")),
        Route(namespace, ip_network("0.0.0.0/0"), link, ip_address("10.9.0.9"), None, onlink=True),
        Route(namespace, ip_network("10.7.0.0/16"), link, metric=5),
        Route(namespace, ip_network("10.7.0.0/16"), link, table=7),
    )
)
REST += tuple(
    item
    for namespace, *links in (
        ("b", "eth0", "v1"),
        ("c", "eth0", "eth1"),
        ("b", "vx", "eth0"),
        ("b", "vx", "vx"),
    )
    for item in (
        Route(namespace, ip_network("10.7.0.0/16"), hops=tuple(NextHop(link) for link in links)),
        Route(namespace, ip_network("10.8.0.0/16"), hops=tuple(NextHop(link, weight=2) for link in links)),
        Route(namespace, ip_network("10.8.0.0/16"), type="blackhole"),
        RoutingRule(namespace, 100, 4, table=7),
        RoutingRule(namespace, 100, 4, mark=1, table=7),
        RoutingRule(namespace, 100, 6, input=links[0], table=7),
    )
)
REST = tuple(dict.fromkeys(REST))
TABLES = (
    Ruleset("ip", "t", {"c": ("", "accept")}),
    Ruleset("ip", "t", {"c": ("", "drop")}),
    Ruleset("ip", "u", {}),
)


def ends(item: Item) -> list[tuple[str, str]]:
    """The link ends that an item brings."""
    match item:
        case Veth():
            return [(item.namespace, item.name), (item.peer_namespace, item.peer)]
        case Bridge() | Vxlan():
            return [(item.namespace, item.name)]
        case _:
            return []


def needs(item: Item) -> list[tuple[str, str]]:
    """The link ends that must be there before an item."""
    match item:
        case Veth():
            return [(item.namespace, item.master)] if item.master else []
        case Vxlan():
            return [(item.namespace, item.device)]
        case Bridge() | RoutingRule():
            return []
        case Route():
            return [(item.namespace, way.link) for way in item.ways]
        case _:
            return [(item.namespace, item.link)]


def slot(item: Item) -> set[object]:
    match item:
        case Veth() | Bridge() | Vxlan():
            return set(ends(item))
        case Address():
            return {("address", item.namespace, item.link, item.address)}
        case Neighbour():
            return {("neighbour", item.namespace, item.link, item.address)}
        case ForwardingEntry():
            return {("fdb", item.namespace, item.link, item.mac)}
        case Route():
            return {("route", item.namespace, item.table, item.destination, item.metric)}
        case RoutingRule():
            return {("rule", item.namespace, item.version, item.priority)}


class Model:
    """A kernel in small: refuses what a kernel refuses, and lets go what a kernel lets go."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.items: set[Item] = set()
        self.rulesets: dict[tuple[str, str], Ruleset] = {}
        self.leaving: set[str] = set()  # namespaces

    def add(self, item: Item) -> None:
        assert item.namespace in self.namespaces, f"no namespace for {item}"
        if isinstance(item, Veth):
            assert item.peer_namespace in self.namespaces, f"no namespace for the peer of {item}"
        there = {end for i in self.items for end in ends(i)}
        assert set(needs(item)) <= there, f"no link for {item}"
        for other in self.items:
            assert not slot(item) & slot(other), f"{item} while there is {other}"
        if isinstance(item, Route) and item.gateway and not item.onlink:
            near = [
                a for a in self.items if isinstance(a, Address) and (a.namespace, a.link) == needs(item)[0]
            ]
            assert any(item.gateway in a.address.network for a in near), f"no way to the gateway of {item}"
        self.items.add(item)

    def remove(self, item: Item) -> None:
        left = replace(item, master="") if isinstance(item, Veth) else item  # a port whose bridge has gone
        found = {item, left} & self.items
        assert found, f"{item} is not there"
        self._drop(found)

    def _drop(self, gone: set[Item]) -> None:
        """Removes items and what depends on their links. A port that loses its bridge stays, without a master."""
        while gone:
            self.items -= gone
            lost = {end for i in gone for end in ends(i)}
            gone = {i for i in self.items if set(needs(i)) & lost}
            for item in gone:
                # IPv4 would remove the whole route, IPv6 the next hop alone: no plan may leave it to them.
                whole = item.namespace in self.leaving or set(needs(item)) <= lost
                assert whole or isinstance(item, Veth), f"{item} has lost a part of its ways"
            ports = {i for i in gone if isinstance(i, Veth)}
            self.items -= ports
            self.items |= {replace(p, master="") for p in ports if isinstance(p, Veth)}
            gone -= ports

    def remove_namespace(self, name: str) -> None:
        del self.namespaces[name]
        self._drop(
            {i for i in self.items if name in (i.namespace, getattr(i, "peer_namespace", i.namespace))}
        )
        self.rulesets = {k: r for k, r in self.rulesets.items() if k[0] != name}

    def perform(self, before: Network, after: Network) -> None:
        change = difference(before, after)
        self.leaving = set(change.remove_namespaces)
        for key in change.remove_rulesets:
            del self.rulesets[key]
        assert not change.thinned  # these networks have no meshes
        for item in change.make_room:
            self.remove(item)
        for namespace in change.add_namespaces:
            assert namespace.name not in self.namespaces
            self.namespaces[namespace.name] = namespace
        for item in change.add:
            self.add(item)
        for key, old, new in change.rulesets:
            assert self.rulesets.get(key) == old and key[0] in self.namespaces
            self.rulesets[key] = new
        for item in change.remove:
            self.remove(item)
        for name in change.remove_namespaces:
            self.remove_namespace(name)

    def state(self) -> Network:
        return Network(self.namespaces, frozenset(self.items), self.rulesets)


@st.composite
def networks(draw: st.DrawFn, links: tuple[Item, ...] = LINKS) -> Network:
    """A network that can be: every item has its namespace and link, and a slot to itself."""
    model = Model()
    for name in draw(st.sampled_from((NAMES, NAMES, NAMES, NAMES[:2], NAMES[1:], NAMES[2:], ()))):
        model.namespaces[name] = Namespace(name)
    kinds: dict[str, list[Item]] = {}
    for link in links:
        kinds.setdefault(ends(link)[0][1], []).append(link)
    chosen = [draw(st.sampled_from((None, *variants))) for variants in kinds.values()]
    chosen += draw(st.lists(st.sampled_from(REST), unique=True, max_size=15))
    for item in chosen:
        if item is None:
            continue
        try:
            model.add(item)
        except AssertionError:
            continue
    for name in model.namespaces:
        for rules in draw(st.lists(st.sampled_from(TABLES), max_size=2)):
            model.rulesets[name, f"{rules.family} {rules.table}"] = rules
    return model.state()


def check(states: list[Network]) -> None:
    model = Model()
    before = Network()
    for after in states:
        model.perform(before, after)
        assert model.state() == after
        before = after


FIXED = tuple(i for i in LINKS[: len(LINKS) // 2] if i not in (LINKS[2], LINKS[5], LINKS[6], LINKS[8]))
"""One variant of each link, so that none is ever made anew."""


@examples(60)
@given(st.lists(networks(FIXED), min_size=1, max_size=4))
def test_links_that_come_and_go(states: list[Network]) -> None:
    check(states)


WITHOUT_DEPENDENTS = tuple(i for i in LINKS if not isinstance(i, Vxlan) and not getattr(i, "master", ""))
"""Variants of links, none of which needs another."""


@examples(60)
@given(st.lists(networks(WITHOUT_DEPENDENTS), min_size=1, max_size=4))
def test_links_that_are_made_anew(states: list[Network]) -> None:
    check(states)


@examples(60)
@given(st.lists(networks(), min_size=1, max_size=4))
def test_links_that_need_others_which_are_made_anew(states: list[Network]) -> None:
    """Ports of a bridge and overlays on a device are part of what a new bridge or device must get back."""
    check(states)


@examples(40)
@given(networks())
def test_nothing_to_do(network: Network) -> None:
    same = Network(dict(network.namespaces), frozenset(network.items), dict(network.rulesets))
    change = difference(network, same)
    assert change.empty
    assert not any(getattr(change, name) for name in change.__slots__)


@examples(40)
@given(networks(FIXED), networks(FIXED))
def test_only_what_differs_is_touched(before: Network, after: Network) -> None:
    change = difference(before, after)
    assert set(change.add) == after.items - before.items
    assert {*change.make_room, *change.remove} <= before.items - after.items
    assert change.empty is (before == after)


@examples(40)
@given(networks(), networks())
def test_the_order_does_not_depend_on_that_of_sets(before: Network, after: Network) -> None:
    shuffled = [
        Network(n.namespaces, frozenset(sorted(n.items, key=repr)), n.rulesets) for n in (before, after)
    ]
    assert difference(before, after) == difference(*shuffled)


def test_equal_rules_are_not_loaded_again() -> None:
    names = {"a": Namespace("a")}
    one = Network(names, frozenset(), {("a", "ip t"): TABLES[0]})
    copy = Ruleset("ip", "t", {"c": ("", "accept")})
    assert difference(one, Network(names, frozenset(), {("a", "ip t"): copy})).empty
    changed = difference(one, Network(names, frozenset(), {("a", "ip t"): TABLES[1]}))
    assert changed.rulesets == ((("a", "ip t"), TABLES[0], TABLES[1]),)


def test_only_the_ways_in_whose_place_something_comes_go_before_it() -> None:
    block, other = ip_network("10.244.0.128/26"), ip_network("10.244.1.0/24")
    ways = {"n3": Way(block, ip_address("10.0.0.3")), "n4": Way(other, ip_address("10.0.0.4"))}
    nodes = ["n1", "n2", "n3"]
    names = {name: Namespace(name) for name in nodes}
    before = Network(names, frozenset(), {(n, "mesh-ip"): Mesh(n, "eth0", ways) for n in nodes})
    blackhole = Route("n1", block, type="blackhole")
    after = Network(names, frozenset([blackhole]), {(n, "mesh-ip"): Mesh(n, "eth0", {}) for n in nodes})
    change = difference(before, after)
    left = Mesh("n1", "eth0", {"n4": ways["n4"]})
    assert change.thinned == ((("n1", "mesh-ip"), before.rulesets["n1", "mesh-ip"], left),)
    assert [old for key, old, _ in change.rulesets if key[0] == "n1"] == [left]
    back = difference(after, before)
    assert back.make_room == (blackhole,) and not back.thinned and not back.remove


def test_a_table_that_goes_with_its_namespace_is_not_removed_before() -> None:
    both = {n: Namespace(n) for n in ("a", "b")}
    before = Network(both, frozenset(), {(n, "ip t"): TABLES[0] for n in both})
    change = difference(before, Network({"b": both["b"]}, frozenset(), {}))
    assert change.remove_rulesets == (("b", "ip t"),) and change.remove_namespaces == ("a",)


# The script itself; tests/kernel loads such scripts into nftables.

SETS = {
    "s": Collection("set", "typeof ip daddr ;", {"10.0.0.1": "", "10.0.0.2": ""}),
    "m": Collection("map", "typeof ip daddr : verdict ;", {"10.0.0.1": "goto c"}),
}
TABLE = Ruleset("ip", "t", {"c": ("", "accept"), "in": ("{ type filter hook input priority 0 ; }",)}, SETS)


def test_the_script_of_a_fresh_table() -> None:
    assert ruleset_script(None, TABLE).splitlines() == [
        "add table ip t",
        "add set ip t s { typeof ip daddr ; }",
        "add map ip t m { typeof ip daddr : verdict ; }",
        "add chain ip t c",
        "add chain ip t in { type filter hook input priority 0 ; }",
        "add rule ip t c accept",
        "add element ip t s { 10.0.0.1, 10.0.0.2 }",
        "add element ip t m { 10.0.0.1 : goto c }",
    ]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"10.0.0.1": "goto c"}, []),
        (
            {"10.0.0.1": "drop"},
            ["delete element ip t m { 10.0.0.1 }", "add element ip t m { 10.0.0.1 : drop }"],
        ),
        ({}, ["delete element ip t m { 10.0.0.1 }"]),
        ({"10.0.0.1": "goto c", "10.0.0.3": "drop"}, ["add element ip t m { 10.0.0.3 : drop }"]),
    ],
)
def test_a_change_of_elements_is_those_elements(elements: dict[str, str], expected: list[str]) -> None:
    after = replace(TABLE, collections={**SETS, "m": replace(SETS["m"], elements=elements)})
    assert ruleset_script(TABLE, after).split("\n") == [*(expected or [""]), ""]


def test_a_chain_whose_rules_change_is_written_anew() -> None:
    after = replace(TABLE, chains={**TABLE.chains, "c": ("", "drop", "counter")})
    assert ruleset_script(TABLE, after).splitlines() == [
        "flush chain ip t c",
        "add rule ip t c drop",
        "add rule ip t c counter",
    ]


def test_ways_to_pods_go_after_the_rules_that_lead_there_and_come_before_them() -> None:
    """As long as a Service has a pod of a node that goes, what is sent there finds its way."""
    ways = {f"n{n}": Way(ip_network(f"10.244.{n}.0/24"), ip_address(f"10.0.0.{n}")) for n in (1, 2, 3)}
    fewer = {name: way for name, way in ways.items() if name != "n3"}

    def network(wanted: dict[str, Way], element: str) -> Network:
        names = {n: Namespace(n) for n in ("n1", "n2")}
        services = Ruleset(
            "ip", "kube-proxy", {}, {"map": Collection("set", "type ipv4_addr ;", {element: ""})}
        )
        meshes = {(n, "mesh-ip"): Mesh(n, "eth0", wanted) for n in names}
        return Network(names, frozenset(), {**meshes, **{(n, "ip kube-proxy"): services for n in names}})

    more, less = network(ways, "10.244.3.1"), network(fewer, "10.244.2.1")
    written = [kind for (_, kind), _, _ in difference(more, less).rulesets]
    assert written == ["ip kube-proxy"] * 2 + ["mesh-ip"] * 2
    assert [kind for (_, kind), _, _ in difference(less, more).rulesets][:2] == ["mesh-ip"] * 2
