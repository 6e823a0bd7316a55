"""What Faults at Services, hosts and resolvers have servers, pods and traces told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import LateStart, Redated, Searching, ShortKeepAlive, StaleNames
from emulab.plan.faults.late import late
from emulab.plan.faults.searching import searching
from emulab.plan.faults.servers import misled
from emulab.plan.publishednames import published
from emulab.plan.standins import STANDINS
from emulab.plan.state import Network, Place, PlannedServer, Ruleset, World
from emulab.servers.dns.config import DnsConfig, RoutedRecords, ZoneConfig, ZoneRecord
from emulab.servers.echo.config import EchoConfig
from emulab.servers.l7.config import Certificate, L7Config

POD = Place(
    name="app.web-1",
    namespace="app.web-1.uid",
    hostname="web-1",
    resolv_conf="search app.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
    hosts="",
    addresses=(ip_address("10.244.1.3"),),
    kind="pod",
    node="node1",
)
NODE = Place("node1", "node1", "node1", "nameserver 10.0.0.2\n", "", (ip_address("10.0.0.11"),), "node")
PLACES = {place.name: place for place in (POD, NODE)}


def server(name: str, config: DnsConfig | L7Config | EchoConfig) -> PlannedServer:
    return PlannedServer(name, "dns", name, config, {})


def test_nobody_listens_until_then_and_of_a_nodes_network_nothing_is_refused() -> None:
    effects = [LateStart("app.web-1", 1_700_000_000), LateStart("gone.pod", 1), LateStart("app.host", 1)]
    places = {**PLACES, "app.host": replace(POD, name="app.host", namespace="node1")}
    ((key, table),) = late(places, effects, Cluster())
    assert key == ("app.web-1.uid", "ip faults") and isinstance(table, Ruleset)
    ((_, always),) = late(places, [LateStart("app.web-1", 0)], Cluster())  # it hasn't started yet
    assert isinstance(always, Ruleset)
    assert "meta l4proto tcp counter reject with tcp reset" in always.chains["input"]
    assert "meta time < 1700000000 meta l4proto tcp counter reject with tcp reset" in table.chains["input"]


def test_pods_of_the_node_search_more() -> None:
    found = searching(PLACES, [Searching("node1", 2)])
    first = found["app.web-1"].resolv_conf.splitlines()[0]
    assert first == "search app.svc.cluster.local svc.cluster.local region1.internal region2.internal"
    assert found["app.web-1"].resolv_conf.endswith("options ndots:5\n") and found["node1"] is NODE
    assert searching(PLACES, [Searching("node2", 2)]) == PLACES


def test_servers_are_told_wrong_and_all_others_are_the_very_same() -> None:
    pair = ("certificate", "key")
    shown = Certificate(("a.test", "b.test"), *pair, secret="app/tls"), Certificate(("c.test",), *pair)
    servers = {
        "resolver": server("resolver", DnsConfig(())),
        "dns": server("dns", DnsConfig(())),
        "in/c": server("in/c", L7Config((), certificates=shown)),
        STANDINS: server(STANDINS, EchoConfig(())),
    }
    effects = [StaleNames("resolver", 7200), Redated("a.test", -9, -5), ShortKeepAlive("app.web-1", 5.0)]
    found = misled(servers, PLACES, effects)
    assert found["dns"] is servers["dns"]
    stale = found["resolver"].config
    assert isinstance(stale, DnsConfig) and (stale.cache.min_ttl, stale.cache.max_ttl) == (7200, 7200)
    ingress = found["in/c"].config
    assert isinstance(ingress, L7Config)
    assert [(c.hosts, c.begins, c.ends) for c in ingress.certificates] == [
        (("b.test",), 0, 0),
        (("a.test",), -9, -5),
        (("c.test",), 0, 0),
    ]
    echo = found[STANDINS].config
    assert isinstance(echo, EchoConfig) and echo.idle == {"10.244.1.3": 5.0}
    assert misled(servers, PLACES, []) is servers


def test_the_addresses_that_a_name_has() -> None:
    records = (
        ZoneRecord("www.shop.test.", "A", "203.0.113.1", 30),
        ZoneRecord("www.shop.test.", "AAAA", "2001:db8::1", 30),
        ZoneRecord("alias.shop.test.", "CNAME", "www.shop.test.", 30),
    )
    routed = (RoutedRecords("east.shop.test.", "A", ("203.0.113.2",), 30),)
    zones = (ZoneConfig("shop.test.", records, routed=routed), ZoneConfig(".", ()))
    world = World(Network(), {"dns": server("dns", DnsConfig((), zones))}, {})

    def addresses(name: str) -> list[str]:
        found = published(world, name)
        return list(found.details["addresses"]) if found is not None else []

    assert addresses("WWW.shop.test") == ["203.0.113.1", "2001:db8::1"]
    assert addresses("east.shop.test.") == ["203.0.113.2"]
    assert addresses("alias.shop.test") == addresses("nobody.shop.test") == addresses("203.0.113.1") == []
