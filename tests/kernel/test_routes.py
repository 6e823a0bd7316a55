"""Routes and rules of policy routing in the kernel, of both families, with iproute2 as the peer.

Each is made by us in one namespace and by `ip` in another of the same links: afterwards both list the same.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from namespaces import ip, isolated

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.plan.links import Address, Item, NextHop, Route, RoutingRule, Veth
from emulab.plan.state import Namespace, Network

OURS, THEIRS = "ours", "theirs"
LINKS = {1: "one", 2: "two"}
SYSCTLS = (("net/ipv6/conf/default/accept_dad", "0"),)


def host(version: int, network: int, number: int) -> IPAddress:
    """A host of the network that a link leads to."""
    return ip_address({4: f"10.0.{network}.{number}", 6: f"fd00:{network}::{number}"}[version])


def far(version: int, number: int = 0) -> IPNetwork:
    return ip_network({4: f"10.9.{number}.0/24", 6: f"fd09:{number}::/32"}[version])


def base(version: int) -> frozenset[Item]:
    """Two links with an address each, in both namespaces."""
    length = {4: 24, 6: 64}[version]
    found: list[Item] = []
    for place in (OURS, THEIRS):
        for number, link in LINKS.items():
            macs = (f"02:00:00:00:0{number}:0{end}" for end in (1, 2))
            own, other = macs
            found.append(Veth(place, link, own, f"far-{place}", link, other, 1500))
            found.append(Address(place, link, ip_interface(f"{host(version, number, 1)}/{length}")))
    return frozenset(found)


def network(items: Iterable[Item]) -> Network:
    names = (OURS, THEIRS, f"far-{OURS}", f"far-{THEIRS}")
    return Network({name: Namespace(name, SYSCTLS) for name in names}, frozenset(items))


def listed(world: KernelNetwork, place: str, version: int, *what: str) -> list[dict[str, Any]]:
    """What `ip` lists, without what comes of itself and who says that he made it."""
    found = ip(world.handles[place], f"-{version}", *what)
    for entry in found:
        entry.pop("flags", None) if not entry.get("flags") else None
    kept = [e for e in found if e.pop("protocol", "") != "kernel"]
    return sorted(kept, key=repr)


def routes(world: KernelNetwork, place: str, version: int) -> list[dict[str, Any]]:
    return listed(world, place, version, "route", "show", "table", "all")


def rules(world: KernelNetwork, place: str, version: int) -> list[dict[str, Any]]:
    return listed(world, place, version, "rule", "show")


def by_hand(world: KernelNetwork, version: int, object: str, verb: str, words: str) -> None:
    command = ["ip", f"-{version}", object, verb, *words.split()]
    netns.inside(world.handles[THEIRS].fd, lambda: subprocess.check_call(command))


def route(version: int, number: int = 0, **fields: Any) -> Route:
    return Route(OURS, far(version, number), **fields)


def examples(version: int) -> dict[str, list[Route]]:
    """Routes that can be there together, by what is tried with them."""
    near = {number: host(version, number, 9) for number in LINKS}
    two = (NextHop("one", near[1], weight=3), NextHop("two", near[2]))
    stray = NextHop("two", host(version, 7, 9), onlink=True, weight=7)
    return {
        "link": [route(version, link="one")],
        "gateway": [route(version, link="one", gateway=near[1])],
        "source": [route(version, link="one", gateway=near[1], source=host(version, 2, 1))],
        "onlink": [route(version, link="one", gateway=host(version, 7, 9), onlink=True)],
        "table": [route(version, link="one", table=100), route(version, link="two", table=100_000)],
        "metric": [
            route(version, link="one", gateway=near[1]),
            route(version, link="two", gateway=near[2], metric=50),
            route(version, link="two", metric=2000),
        ],
        "local": [
            route(version, link="lo", type="local"),
            route(version, 1, link="lo", type="local", table=100),
        ],
        "nothing": [
            route(version, number, type=kind, table=table)
            for number, kind in enumerate(("blackhole", "unreachable", "prohibit"))
            for table in (254, 100)
        ],
        "several": [route(version, hops=two), route(version, 1, hops=(two[0], stray), metric=7, table=300)],
        "default": [Route(OURS, ip_network({4: "0.0.0.0/0", 6: "::/0"}[version]), hops=two)],
    }


CASES = [(version, name) for version in (4, 6) for name in examples(version)]


@pytest.mark.parametrize(("version", "name"), CASES)
@isolated
def test_routes_are_those_that_iproute2_makes(version: int, name: str) -> None:
    world = KernelNetwork()
    wanted = examples(version)[name]
    world.apply(network(base(version)))
    before = routes(world, OURS, version)
    assert before == routes(world, THEIRS, version)
    world.apply(network({*base(version), *wanted}))
    for item in wanted:
        by_hand(world, version, "route", "add", item.words())
    made = routes(world, OURS, version)
    assert made == routes(world, THEIRS, version)
    assert len(made) == len(before) + len(wanted), made
    for item in wanted:  # one by one: no removal takes another's
        left = [i for i in wanted if i != item]
        world.apply(network({*base(version), *left}))
        by_hand(world, version, "route", "del", item.words())
        assert routes(world, OURS, version) == routes(world, THEIRS, version), item
        world.apply(network({*base(version), *wanted}))
        by_hand(world, version, "route", "add", item.words())
        assert routes(world, OURS, version) == made
    world.apply(network(base(version)))
    assert routes(world, OURS, version) == before


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_a_route_becomes_any_other(version: int) -> None:
    """Of one table and metric there is one to a destination: the former makes room."""
    world = KernelNetwork()
    several = examples(version)["several"][0]
    for item in (*(e[0] for e in examples(version).values() if e[0].destination == far(version)), several):
        world.apply(network({*base(version), item}))
        by_hand(world, version, "route", "add", item.words())
        assert routes(world, OURS, version) == routes(world, THEIRS, version), item
        by_hand(world, version, "route", "del", item.words())


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_a_route_that_loses_one_of_its_links_is_made_anew(version: int) -> None:
    world = KernelNetwork()
    (item,) = examples(version)["default"]
    start = network({*base(version), item})
    world.apply(start)
    made = routes(world, OURS, version)
    (link,) = (i for i in base(version) if isinstance(i, Veth) and (i.namespace, i.name) == (OURS, "two"))
    changed = network({*(base(version) - {link}), replace(link, mtu=1400), item})
    world.apply(changed)
    assert routes(world, OURS, version) == made and world.applied == changed
    one_way = replace(item, hops=item.hops[:1])
    without = {i for i in base(version) if (i.namespace, getattr(i, "link", "")) != (OURS, "two")} - {link}
    world.apply(network({*without, one_way}))
    (left,) = (r for r in routes(world, OURS, version) if r["dst"] == "default")
    assert "two" not in str(left)
    world.apply(start)
    assert routes(world, OURS, version) == made and world.applied == start


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_a_failure_undoes_routes_and_rules(version: int) -> None:
    world = KernelNetwork()
    start = network(
        {*base(version), *examples(version)["several"], RoutingRule(OURS, 100, version, table=300)}
    )
    world.apply(start)
    before = routes(world, OURS, version), rules(world, OURS, version)
    unreachable = Route(OURS, far(version, 5), hops=(NextHop("one", host(version, 7, 9)),))
    others = {RoutingRule(OURS, 100, version, table=301), RoutingRule(OURS, 101, version, action="prohibit")}
    with pytest.raises(KernelError, match=rf"add route {far(version, 5)} on one: .* in ours"):
        world.apply(network({*base(version), *examples(version)["nothing"], unreachable, *others}))
    assert (routes(world, OURS, version), rules(world, OURS, version)) == before
    assert world.applied == start


def policies(version: int) -> list[RoutingRule]:
    net, one = far(version), {"version": version, "table": 100}
    return [
        RoutingRule(OURS, 100, **one, source=net),
        RoutingRule(OURS, 101, **one, destination=net),
        RoutingRule(OURS, 102, **one, source=net, destination=far(version, 1)),
        RoutingRule(OURS, 103, **one, mark=5),
        RoutingRule(OURS, 104, **one, mark=0, mask=0xF0),
        RoutingRule(OURS, 105, **one, input="one"),
        RoutingRule(OURS, 106, **one, output="two"),
        RoutingRule(OURS, 107, version, source=net, table=100_000),
        RoutingRule(OURS, 108, version),
        RoutingRule(OURS, 109, version, source=net, action="blackhole"),
        RoutingRule(OURS, 110, version, source=net, action="unreachable"),
        RoutingRule(OURS, 111, version, action="prohibit", mark=7),
    ]


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_rules_are_those_that_iproute2_makes(version: int) -> None:
    world = KernelNetwork()
    world.apply(network(base(version)))
    before = rules(world, OURS, version)
    wanted = policies(version)
    world.apply(network({*base(version), *wanted}))
    for item in wanted:
        by_hand(world, version, "rule", "add", item.words())
    assert rules(world, OURS, version) == rules(world, THEIRS, version)
    assert len(rules(world, OURS, version)) == len(before) + len(wanted)
    for item in wanted:
        world.apply(network({*base(version), *(i for i in wanted if i != item)}))
        by_hand(world, version, "rule", "del", item.words())
        assert rules(world, OURS, version) == rules(world, THEIRS, version), item
        by_hand(world, version, "rule", "add", item.words())
    for item in wanted:  # each priority's rule becomes another one
        other = replace(wanted[0], priority=item.priority, table=7)
        world.apply(network({*base(version), other}))
        priorities = [r["priority"] for r in rules(world, OURS, version) if r.get("table") == "7"]
        assert priorities == [item.priority]
    world.apply(network(base(version)))
    assert rules(world, OURS, version) == before


@pytest.mark.parametrize("version", [4, 6])
@isolated
def test_packets_go_as_rules_and_metrics_say(version: int) -> None:
    """The kernel is asked: by source into another table, by mark into none, and else by the lowest metric."""
    world = KernelNetwork()
    near = {number: host(version, number, 9) for number in LINKS}
    world.apply(
        network(
            {
                *base(version),
                route(version, link="one", gateway=near[1], metric=10),
                route(version, link="two", gateway=near[2], metric=20),
                route(version, link="two", gateway=near[2], table=100),
                RoutingRule(OURS, 100, version, source=ip_network(host(version, 2, 1)), table=100),
                RoutingRule(OURS, 101, version, mark=7, action="prohibit"),
            }
        )
    )
    target = str(far(version).network_address + 1)

    def asked(*words: str) -> dict[str, Any]:
        (found,) = ip(world.handles[OURS], f"-{version}", "route", "get", target, *words)
        return found

    assert (asked()["dev"], asked()["gateway"]) == ("one", str(near[1]))
    assert asked("from", str(host(version, 2, 1)))["dev"] == "two"
    with pytest.raises(subprocess.CalledProcessError):
        asked("mark", "7")
