"""What the three DNS servers are told: public zones, private ones, and the cluster's names."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from controllers_store import make
from worlds import plan, raw_service, raw_slice, world

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.dns import cluster_dns_config, cluster_dns_server, published_names
from emulab.plan.kept import PlanSource
from emulab.plan.state import Place, World
from emulab.servers.configuration import from_json, to_json
from emulab.servers.dns.config import DnsConfig
from emulab.servers.dns.settings import DnsSettings


def ingress(name: str, *hosts: str, balancer: str = "") -> str:
    rules = ", ".join(
        f"{{host: '{h}', http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: w, port: "
        f"{{number: 80}}}}}}}}]}}}}"
        for h in hosts
    )
    annotation = f"annotations: {{emulab.dev/load-balancer: {balancer}}}" if balancer else ""
    return (
        f"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  {annotation}\n"
        f"spec: {{rules: [{rules}]}}\n---\n"
    )


PRIVATE_LB = """
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: private-lb}
spec: {network: vpc, address: 10.0.0.100, ports: [80], target: {ingress: true}}
---
"""


def zone(name: str, records: str, visibility: str = "public") -> str:
    return f"""
apiVersion: emulab.dev/v1
kind: Zone
metadata: {{name: {name}}}
spec: {{visibility: {visibility}, records: {records}}}
---
"""


def told(built: World, server: str) -> dict[str, Any]:
    """A server's configuration as its process gets it."""
    return dict(to_json(built.servers[server].config))


def records(built: World, server: str, origin: str) -> list[list[Any]]:
    (found,) = [z for z in told(built, server)["zones"] if z["origin"] == origin]
    return list(found["records"])


def test_ingress_hosts_are_published_at_their_balancer() -> None:
    built = world(
        ingress("shop", "shop.example.com", "api.example.com", "*.wild.test"),
        PRIVATE_LB,
        ingress("inner", "inner.example.com", balancer="private-lb"),
    )
    assert sorted(records(built, "dns", ".")) == [
        ["*.wild.test.", "A", "203.0.113.10", 30],
        ["api.example.com.", "A", "203.0.113.10", 30],
        ["inner.example.com.", "A", "10.0.0.100", 30],
        ["shop.example.com.", "A", "203.0.113.10", 30],
    ]


def test_load_balancer_services_are_published() -> None:
    annotations = "{external-dns.alpha.kubernetes.io/hostname: 'db.example.com., x.test'}"
    text = f"""
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: app, annotations: {annotations}}}
spec: {{type: LoadBalancer, ports: [{{port: 5432}}]}}
"""
    built = world(text)
    assert records(built, "dns", "lb.test.") == [["db.app.lb.test.", "A", "203.0.113.20", 30]]
    assert sorted(records(built, "dns", ".")) == [
        ["db.example.com.", "A", "203.0.113.20", 30],
        ["x.test.", "A", "203.0.113.20", 30],
    ]


def test_a_name_is_published_in_the_zone_that_holds_it() -> None:
    built = world(
        zone("example.com", "[{name: www, type: A, value: 192.0.2.1, ttl: 7}]"),
        zone("deep.example.com", "[{name: '@', type: TXT, value: hi}]"),
        ingress("shop", "a.example.com", "b.deep.example.com", "badexample.com", "example.com"),
    )
    assert records(built, "dns", "example.com.") == [
        ["www.example.com.", "A", "192.0.2.1", 7],
        ["a.example.com.", "A", "203.0.113.10", 30],
        ["example.com.", "A", "203.0.113.10", 30],
    ]
    assert records(built, "dns", "deep.example.com.") == [
        ["deep.example.com.", "TXT", "hi", 60],
        ["b.deep.example.com.", "A", "203.0.113.10", 30],
    ]
    assert records(built, "dns", ".") == [["badexample.com.", "A", "203.0.113.10", 30]]


def test_private_zones_are_the_resolvers_and_the_vpcs_alone() -> None:
    built = world(zone("in.test", "[{name: a, type: A, value: 10.0.0.9}]", "private"))
    assert told(built, "resolver") == {
        "listen": [
            "udp/198.51.100.53/53",
            "tcp/198.51.100.53/53",
            "udp/10.0.0.2/53",
            "tcp/10.0.0.2/53",
        ],
        "zones": [
            {
                "origin": "in.test.",
                "clients": ["10.0.0.0/24"],
                "records": [["a.in.test.", "A", "10.0.0.9", 60]],
            }
        ],
        "forward": ["198.51.100.54:53"],
        "recursion": True,
    }
    assert [z["origin"] for z in told(built, "dns")["zones"]] == [".", "lb.test."]
    assert told(built, "dns")["recursion"] is False


def test_two_ingresses_of_one_host_are_one_record() -> None:
    objects, _ = plan(ingress("a", "x.test"), ingress("b", "x.test"))
    assert published_names(PlanSource.of(objects)) == [("x.test.", "203.0.113.10")]


# The cluster's names


def config(*objects: Object, cluster: Cluster | None = None) -> dict[str, Any]:
    return dict(to_json(planned(*objects, cluster=cluster)))


def planned(*objects: Object, cluster: Cluster | None = None) -> DnsConfig:
    return cluster_dns_config(PlanSource.of(Objects(objects)), cluster or Cluster())


def forward(found: dict[str, Any]) -> list[list[Any]]:
    """The records of the cluster's own zone, without the version's."""
    return [r for r in found["zones"][0]["records"] if not r[0].startswith("dns-version.")]


def test_a_service_has_an_address_srv_and_ptr() -> None:
    ports = [{"name": "http", "port": 80}, {"port": 81}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    found = config(raw_service("web", "app", clusterIP="10.96.0.5", ports=ports))
    name = "web.app.svc.cluster.local."
    assert forward(found) == [
        [name, "A", "10.96.0.5", 5],
        [f"_http._tcp.{name}", "SRV", f"0 100 80 {name}", 5],
        [f"_dns._udp.{name}", "SRV", f"0 100 53 {name}", 5],
    ]
    zones = {z["origin"]: z["records"] for z in found["zones"]}
    assert zones["in-addr.arpa."] == [["5.0.96.10.in-addr.arpa.", "PTR", name, 5]]
    assert found["forward"] == ["10.0.0.2:53"] and found["cache"] == {"max_ttl": 30}


def test_an_external_name_is_an_alias() -> None:
    found = config(raw_service("x", type="ExternalName", externalName="example.com", ports=[]))
    assert forward(found) == [["x.default.svc.cluster.local.", "CNAME", "example.com.", 5]]


def test_a_headless_service_is_its_endpoints() -> None:
    endpoints = [
        {"addresses": ["10.244.1.2"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": True}},
        {"addresses": ["10.244.1.4"], "conditions": {"ready": False}},
    ]
    found = config(
        raw_service("db", clusterIP="None"),
        raw_slice("db", endpoints=endpoints, ports=[{"name": "p", "protocol": "TCP", "port": 5432}]),
    )
    name = "db.default.svc.cluster.local."
    assert forward(found) == [
        [name, "A", "10.244.1.2", 5],
        [f"db-0.{name}", "A", "10.244.1.2", 5],
        [name, "A", "10.244.1.3", 5],
        [f"10-244-1-3.{name}", "A", "10.244.1.3", 5],
        [f"_p._tcp.{name}", "SRV", f"0 100 5432 db-0.{name}", 5],
        [f"_p._tcp.{name}", "SRV", f"0 100 5432 10-244-1-3.{name}", 5],
    ]
    zones = {z["origin"]: z["records"] for z in found["zones"]}
    assert zones["in-addr.arpa."] == [["2.1.244.10.in-addr.arpa.", "PTR", f"db-0.{name}", 5]]


def test_endpoints_that_are_not_ready_where_they_are_asked_for() -> None:
    endpoints = [{"addresses": ["10.244.1.4"], "conditions": {"ready": False}}]
    found = config(
        raw_service("db", clusterIP="None", publishNotReadyAddresses=True, ports=[]),
        raw_slice("db", endpoints=endpoints),
    )
    assert [r[2] for r in forward(found)] == ["10.244.1.4", "10.244.1.4"]


def test_pods_have_names_of_the_family_of_each_address() -> None:
    pod = make("Pod", "p", "app", status={"podIPs": [{"ip": "10.244.1.2"}, {"ip": "fd00:1::2"}]})
    assert forward(config(pod)) == [
        ["10-244-1-2.app.pod.cluster.local.", "A", "10.244.1.2", 5],
        ["fd00-1--2.app.pod.cluster.local.", "AAAA", "fd00:1::2", 5],
    ]


def test_the_domain_is_the_clusters() -> None:
    found = config(
        raw_service("web", clusterIP="10.96.0.5", ports=[]), cluster=Cluster(cluster_domain="k.test")
    )
    assert [z["origin"] for z in found["zones"]] == ["k.test.", "in-addr.arpa.", "ip6.arpa."]
    assert forward(found) == [["web.default.svc.k.test.", "A", "10.96.0.5", 5]]
    assert ["dns-version.k.test.", "TXT", "1.1.0", 5] in found["zones"][0]["records"]


@pytest.mark.parametrize("name", ["dns", "resolver"])
def test_the_servers_understand_their_configuration(name: str) -> None:
    built = world(
        zone(
            "example.com",
            "[{name: www, type: CNAME, value: a.example.com.}, {name: m, type: MX, value: 10 a.test.}]",
        ),
        zone("in.test", "[{name: a, type: A, value: 10.0.0.9}]", "private"),
        ingress("shop", "a.example.com", "*.wild.test"),
    )
    settings = DnsSettings().changed(from_json(DnsConfig, told(built, name)))
    origins = [z["origin"] for z in told(built, name)["zones"]]
    assert [source.origin for source in settings.sources] == origins


def test_the_cluster_dns_understands_its_configuration() -> None:
    dual = raw_service("web", clusterIPs=["10.96.0.5", "fd00::5"])
    pod = Place("p", "n", "p", "", "", (ip_address("10.244.1.2"),), "pod")
    server = cluster_dns_server("s", pod, planned(dual, raw_service("h", clusterIP="None"),
                                                               raw_slice("h", "10.244.1.3")))  # fmt: skip
    assert server.listen == {"udp/10.244.1.2/53": "n", "tcp/10.244.1.2/53": "n"}
    assert DnsSettings().changed(from_json(DnsConfig, to_json(server.config))).recursion is True


def test_names_that_the_dns_can_not_hold_are_left_out_and_the_others_stay() -> None:
    endpoints = [
        {"addresses": ["10.244.1.2"], "hostname": "s" * 64, "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": True}},
    ]
    found = config(
        raw_service("web", clusterIP="10.96.0.5", ports=[{"name": "p" * n, "port": n} for n in (62, 63)]),
        raw_service("db", clusterIP="None"),
        raw_slice("db", endpoints=endpoints),
    )
    web, db = "web.default.svc.cluster.local.", "db.default.svc.cluster.local."
    assert forward(found) == [
        [web, "A", "10.96.0.5", 5],
        [f"_{'p' * 62}._tcp.{web}", "SRV", f"0 100 62 {web}", 5],
        [db, "A", "10.244.1.2", 5],
        [db, "A", "10.244.1.3", 5],
        [f"10-244-1-3.{db}", "A", "10.244.1.3", 5],
        [f"_p._tcp.{db}", "SRV", f"0 100 8080 10-244-1-3.{db}", 5],
    ]
    assert DnsSettings().changed(from_json(DnsConfig, found)).zones.zones
    _, built = plan(ingress("a", "x.test", f"{'h' * 64}.test", f"{'h' * 63}.test"))
    assert [r[0] for r in records(built, "dns", ".")] == [f"{'h' * 63}.test.", "x.test."]
