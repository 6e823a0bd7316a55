"""No word of one family where there is the other alone: in every value of a plan, by where it stands.

Addresses, routes and rules, but also what is easily forgotten: servers' configurations, /etc/hosts, resolv.conf and
sysctls.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from dnsanswers import answers
from familyworlds import EVERY, built

from emulab.model.addresses import is_address
from emulab.model.families import FAMILIES, IPV4, IPV6, Family
from emulab.plan.hostsfiles import LOCALHOST, MANAGED_HOSTS
from emulab.plan.proxy.modes import MODES
from emulab.plan.state import Ruleset, World
from emulab.servers.dns.config import DnsConfig
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.l4.config import L4Config

BOTH = [(IPV4, IPV6), (IPV6, IPV4)]
IDS = ["4-6", "6-4"]
one_family = pytest.mark.parametrize("family", FAMILIES, ids=str)


_WORD = re.compile(r"[0-9A-Za-z.:]+")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
LITERALS = {
    IPV4: re.compile(r"(?:\d{1,3}\.){3}\d{1,3}"),
    IPV6: re.compile(r"[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:]*"),
}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value within a value, keys among them, each with where it stands."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(key, (*path, "key"))
            yield from leaves(inner, (*path, str(key)))
    elif isinstance(value, tuple | list | Set):
        for inner in value:
            yield from leaves(inner, path)
    elif is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name))
    else:
        yield path, value


def literals(text: str, family: Family) -> list[str]:
    """The addresses of a family that a text has in it."""
    words = (w.rstrip(".:") if family is IPV4 else w for w in _WORD.findall(_MAC.sub("", text)))
    found = [w for w in words if LITERALS[family].fullmatch(w) and is_address(w)]
    return [w for w in found if ip_address(w).version == family.version]


def other(family: Family) -> Family:
    return IPV4 if family is IPV6 else IPV6


def test_literals_are_found_where_they_are() -> None:
    text = "add fd00::1 . tcp . 80 : 10.0.0.1, [fd00::2]:80 ::/0 02:00:00:00:00:01 1.2.3 tcp/10.0.0.2/80 a.10.1.2.3"
    assert literals(text, IPV4) == ["10.0.0.1", "10.0.0.2"]
    assert literals(text, IPV6) == ["fd00::1", "fd00::2", "::"]


@pytest.mark.parametrize(("mode", "network"), EVERY)
@one_family
def test_no_value_of_a_world_is_of_a_family_that_it_has_not(family: Family, mode: str, network: str) -> None:
    world, found, seen = built((family,), mode, network)[1], [], Counter[str]()
    for path, value in leaves(world):
        version = getattr(value, "version", None)
        if isinstance(value, str):
            for line in MANAGED_HOSTS if path[-1] == "hosts" else ():
                value = value.replace(f"{line}\n", "")
            seen.update({path[0]: len(literals(value, family)), path[-1]: 1})
            found += [(path, text) for text in literals(value, other(family))]
        elif version is not None:
            seen[path[0]] += version == family.version
            found += [(path, str(value))] if version != family.version else []
    assert found == []
    assert min(seen[room] for room in ("network", "servers", "places")) > 50, (
        "they are looked for where they are"
    )
    assert {"hosts", "resolv_conf"} <= set(seen)


@pytest.mark.parametrize("mode", MODES)
@one_family
def test_settings_are_of_the_families_subjects(family: Family, mode: str) -> None:
    """But for those that have no family, though the kernel keeps them below net/ipv4."""
    world = built((family,), mode)[1]
    neither = {"net/ipv4/ip_unprivileged_port_start"}
    four, six = set[str](), set[str]()
    for namespace in world.network.namespaces.values():
        given = {key for key, _ in namespace.sysctls} - neither
        four |= {key for key in given if key.startswith("net/ipv4/") and not key.startswith("net/ipv4/vs/")}
        six |= {key for key in given if key.startswith("net/ipv6/")}
    if family is IPV6:
        assert four == set() and "net/ipv6/conf/all/forwarding" in six
    else:
        assert "net/ipv4/ip_forward" in four and six == {"net/ipv6/conf/default/disable_ipv6"}


@pytest.mark.parametrize("families", [*BOTH, (IPV4,), (IPV6,)], ids=[*IDS, "4", "6"])
def test_files_of_places_have_what_the_place_has(families: tuple[Family, ...]) -> None:
    """/etc/hosts every address of the place, in their order; resolv.conf a server of the primary family."""
    world = built(families)[1]
    for place in world.places.values():
        lines = [line for line in place.hosts.splitlines() if not line.startswith("#")]
        same = MANAGED_HOSTS if place.kind == "pod" else LOCALHOST
        assert tuple(lines[: len(same)]) == same
        own = [line.split()[0] for line in lines[len(same) :]]
        assert own == list(map(str, place.addresses))
        assert {ip_address(a).version for a in own} == {f.version for f in families}
        servers = [x.split()[1] for x in place.resolv_conf.splitlines() if x.startswith("nameserver")]
        assert [ip_address(s).version for s in servers] == [families[0].version]


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@pytest.mark.parametrize("mode", MODES)
def test_tables_of_both_families_are_of_one_each(mode: str, families: tuple[Family, ...]) -> None:
    world = built(families, mode)[1]
    tables = {key: r for key, r in world.network.rulesets.items() if isinstance(r, Ruleset)}
    assert {r.family for r in tables.values()} == {"ip", "ip6"}
    for key, rules in tables.items():
        family = next(f for f in FAMILIES if f.nft == rules.family)
        texts = [value for _, value in leaves((rules.chains, rules.collections)) if isinstance(value, str)]
        assert [w for text in texts for w in literals(text, other(family))] == [], key
        words = {word for text in texts for word in text.split()}
        assert not words & {other(family).nft, other(family).nft_address, other(family).icmp}, key


@pytest.mark.parametrize("families", [*BOTH, (IPV4,), (IPV6,)], ids=[*IDS, "4", "6"])
def test_servers_serve_in_every_family_and_in_no_other(families: tuple[Family, ...]) -> None:
    world = built(families)[1]
    versions = {f.version for f in families}
    for server in world.servers.values():
        at = {
            ip_address(key.partition("@")[0].split("/")[1]).version for key in server.listen if "@" not in key
        }
        assert at == versions, server.name
        if isinstance(server.config, DnsConfig):
            kinds = {r.type for zone in server.config.zones for r in zone.records} & {"A", "AAAA"}
            assert kinds <= {f.record for f in families}, server.name
    assert {kind for kind, _ in of_kinds(world)} == {f.record for f in families}


def of_kinds(world: World) -> set[tuple[str, str]]:
    """Type and name of every record of an address that the cluster's DNS has for Services and their endpoints."""
    configs = [s.config for s in world.servers.values() if s.name.startswith("kube-system.")]
    found = set()
    for config in configs:
        assert isinstance(config, DnsConfig) and config.kubernetes
        settings = DnsSettings().changed(config)
        for service in config.kubernetes.services.values():
            name = f"{service.name}.{service.namespace}.svc.cluster.local."
            found |= {
                (f.record, name) for f in (IPV4, IPV6) if isinstance(answers(settings, name, f.record), list)
            }
    return found


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@one_family
def test_a_service_of_one_family_in_a_cluster_of_both(family: Family, families: tuple[Family, ...]) -> None:
    """Nothing of it is of the other one: rules, its balancer, its name."""
    world = built(families, only=family)[1]
    kind = {k for k, name in of_kinds(world) if name.startswith("alone.shop.svc.")}
    assert kind == {family.record}
    config = world.servers["lb-shop-alone"].config
    assert isinstance(config, L4Config) and config.frontends
    found = [str(v) for _, v in leaves(config)]
    assert [w for text in found for w in literals(text, other(family))] == []
    assert {ip_network(a).version for a in world.places["lb-shop-alone"].addresses} == {family.version}
