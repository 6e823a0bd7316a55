"""What the DNS servers outside the cluster are told: public zones and private ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from worlds import plan, world

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.externaldns import oddities
from emulab.kinds.registry import INGRESS, SERVICE
from emulab.plan.kept import PlanSource
from emulab.plan.publishing import published_names, published_ttl
from emulab.plan.state import World
from emulab.servers.configuration import from_json, to_json
from emulab.servers.dns import names
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
    annotations = (
        "{external-dns.alpha.kubernetes.io/hostname: 'db.example.com., x.test',"
        " external-dns.kubernetes.io/hostname: new.example.com}"
    )
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
        ["new.example.com.", "A", "203.0.113.20", 30],
        ["x.test.", "A", "203.0.113.20", 30],
    ]


def test_annotations_of_external_dns() -> None:
    """hostname, ttl and target, of Ingresses as of Services; two that say a name once."""
    host = "external-dns.alpha.kubernetes.io"
    service = f"""
apiVersion: v1
kind: Service
metadata:
  name: db
  annotations: {{{host}/hostname: "db.test, far.test.", {host}/ttl: 1m30s, {host}/target: "192.0.2.9, 2001:db8::9"}}
spec: {{type: LoadBalancer, ports: [{{port: 5432}}]}}
---
"""
    told = f"{{{host}/hostname: also.test, {host}/ttl: '7', {host}/target: cdn.test}}"
    made = ingress("shop", "shop.test").replace("name: shop\n", f"name: shop\n  annotations: {told}\n", 1)
    assert sorted(records(world(service, made), "dns", ".")) == [
        ["also.test.", "CNAME", "cdn.test.", 7],
        ["db.test.", "A", "192.0.2.9", 90],
        ["db.test.", "AAAA", "2001:db8::9", 90],
        ["far.test.", "A", "192.0.2.9", 90],
        ["far.test.", "AAAA", "2001:db8::9", 90],
        ["shop.test.", "CNAME", "cdn.test.", 7],
    ]


def annotated(kind: str, name: str, spec: str, **annotations: str) -> str:
    """An object in the words of external-dns; of a name's underscores, dashes are made."""
    said = {f"external-dns.alpha.kubernetes.io/{key.replace('_', '-')}": v for key, v in annotations.items()}
    version = "networking.k8s.io/v1" if kind == "Ingress" else "v1"
    metadata = f"{{name: {name}, annotations: {json.dumps(said)}}}"
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n"


PORT = "ports: [{port: 80, nodePort: 30080}]"
WEB = "rules: [{host: rule.test}], tls: [{hosts: [tls.test]}]"


@pytest.mark.parametrize(
    ("text", "published"),
    [
        (
            annotated("Ingress", "a", f"{{{WEB}}}", hostname="said.test"),
            ["rule.test", "said.test", "tls.test"],
        ),
        (
            annotated(
                "Ingress", "a", f"{{{WEB}}}", hostname="x.test", ingress_hostname_source="annotation-only"
            ),
            ["x.test"],
        ),
        (
            annotated(
                "Ingress", "a", f"{{{WEB}}}", hostname="x.test", ingress_hostname_source="Defined-hosts-only"
            ),
            ["rule.test", "tls.test"],
        ),
        (annotated("Ingress", "a", f"{{{WEB}}}", ingress_hostname_source="both"), []),
        (annotated("Ingress", "a", f"{{{WEB}}}", controller="other"), []),
        (
            annotated("Service", "a", f"{{type: NodePort, {PORT}}}", hostname="n.test"),
            ["_a._tcp.n.test SRV 0 50 30080 n.test.", "n.test A 10.0.0.11", "n.test A 10.0.0.12"],
        ),
        (
            annotated("Service", "a", f"{{type: NodePort, {PORT}}}", hostname="n.test", access="public"),
            ["_a._tcp.n.test SRV 0 50 30080 n.test."],
        ),
        (
            annotated("Service", "a", "{type: ExternalName, externalName: far.test}", hostname="n.test"),
            ["n.test CNAME far.test."],
        ),
        (
            annotated(
                "Service", "a", "{clusterIP: 10.96.0.9, ports: [{port: 80}]}", internal_hostname="n.test"
            ),
            ["n.test A 10.96.0.9"],
        ),
        (annotated("Service", "a", "{clusterIP: 10.96.0.9, ports: [{port: 80}]}", hostname="n.test"), []),
        (
            annotated("Service", "a", f"{{type: NodePort, {PORT}}}", internal_hostname="n.test"),
            ["_a._tcp.n.test SRV 0 50 30080 n.test.", "n.test A 10.0.0.11", "n.test A 10.0.0.12"],
        ),
        (
            annotated(
                "Service", "a", "{type: ExternalName, externalName: far.test}", internal_hostname="n.test"
            ),
            ["n.test CNAME far.test."],
        ),
        (
            annotated(
                "Service",
                "a",
                f"{{type: NodePort, {PORT}}}",
                hostname="n.test",
                internal_hostname="in.test",
                target="fd00::1",
            ),
            ["in.test AAAA fd00::1", "n.test AAAA fd00::1"],
        ),
        (
            annotated(
                "Service",
                "a",
                "{type: LoadBalancer, clusterIP: 10.96.0.9, externalIPs: [192.0.2.7], ports: [{port: 80}]}",
                hostname="n.test",
                internal_hostname="in.test",
            ),
            ["in.test A 10.96.0.9", "n.test A 192.0.2.7"],
        ),
    ],
)
def test_what_external_dns_publishes_by_its_annotations(text: str, published: list[str]) -> None:
    """As its sources have it (source/ingress.go, source/service.go)."""
    found = sorted(f"{r[0][:-1]} {r[1]} {r[2]}" for r in records(world(text), "dns", "."))
    assert len(found) == len(published)
    assert all(one.startswith(said) for one, said in zip(found, published, strict=True)), found


def test_endpoints_of_a_headless_service_are_published() -> None:
    service = annotated(
        "Service", "db", "{clusterIP: None, selector: {app: db}, ports: [{port: 80}]}", hostname="d.test"
    )
    pods = "".join(
        f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: db}}}}
spec: {{hostname: {name}, containers: [{{name: c, image: x, ports: [{{containerPort: 80}}]}}]}}
"""
        for name in ("a", "b")
    )
    for text in (service, service.replace("/hostname", "/internal-hostname")):
        found = records(world(text + pods), "dns", ".")
        assert sorted(record[0] for record in found) == ["a.d.test.", "b.d.test.", "d.test.", "d.test."]
    elsewhere = service.replace(
        "annotations: {", 'annotations: {"external-dns.alpha.kubernetes.io/target": "c.test", ', 1
    )
    assert [record[:3] for record in records(world(elsewhere + pods), "dns", ".")] == [
        ["d.test.", "CNAME", "c.test."]
    ]


@pytest.mark.parametrize(
    ("conditions", "nodes"),
    [
        (({}, {"ready": False, "serving": False}), ["10.0.0.11"]),
        (({"ready": False, "serving": True, "terminating": True}, {}), ["10.0.0.12"]),
        (
            ({"ready": False, "serving": True, "terminating": True}, {"ready": False, "serving": False}),
            ["10.0.0.11"],
        ),
        (
            ({"ready": False, "serving": False}, {"ready": False, "serving": False}),
            ["10.0.0.11", "10.0.0.12"],
        ),
    ],
)
def test_nodes_of_a_local_service_are_those_of_the_pods_that_are_best_off(
    conditions: tuple[dict[str, bool], ...], nodes: list[str]
) -> None:
    """While none is ready those of the others are published (`nodesExternalTrafficPolicyTypeLocal`)."""
    spec = f"{{type: NodePort, externalTrafficPolicy: Local, {PORT}}}"
    endpoints = [
        {"addresses": [f"10.244.0.{n}"], "nodeName": f"node{n}", "conditions": condition}
        for n, condition in enumerate(conditions, 1)
    ]
    sliced = f"""---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: a-1, labels: {{kubernetes.io/service-name: a}}}}
addressType: IPv4
endpoints: {json.dumps(endpoints)}
ports: [{{port: 80}}]
"""
    found = records(world(annotated("Service", "a", spec, hostname="n.test") + sliced), "dns", ".")
    assert sorted(record[2] for record in found if record[1] == "A") == nodes


def test_endpoints_of_a_headless_service_may_be_published_otherwise() -> None:
    """By the nodes that they are on, or by what their Pods say."""
    service = annotated(
        "Service",
        "db",
        "{clusterIP: None, selector: {app: db}, ports: [{port: 80}]}",
        hostname="d.test",
        endpoints_type="HostIP",
    )

    def pod(name: str, address: str, said: str = "{}") -> str:
        return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: db}}, annotations: {said}}}
spec: {{nodeName: node1, containers: [{{name: c, image: x, ports: [{{containerPort: 80}}]}}]}}
status: {{hostIP: {address}}}
"""

    def published(text: str) -> list[str]:
        return sorted(f"{record[1]} {record[2]}" for record in records(world(text), "dns", "."))

    own = '{"external-dns.alpha.kubernetes.io/target": "192.0.2.9"}'
    pods = pod("a", "10.0.0.11") + pod("b", "10.0.0.12", own)
    assert published(service + pods)[0] == "A 10.0.0.11"
    assert published(service + pods)[1:] == ["A 192.0.2.9"]
    outside = service.replace("HostIP", "NodeExternalIP")  # which no node has here
    assert published(outside + pods) == ["A 192.0.2.9"]
    (problem,) = (p for o in plan(service.replace("HostIP", "Nodes"))[0].kind(SERVICE) for p in oddities(o))
    assert "is not one of NodeExternalIP, HostIP" in problem[1]


@pytest.mark.parametrize(
    ("kind", "annotations", "problem"),
    [
        ("Service", {"ttl": "soon"}, "is no TTL from 1 to"),
        ("Service", {"access": "all"}, "is not one of public, private"),
        ("Service", {"set_identifier": "a"}, "changes nothing without one of aws-weight, aws-failover"),
        ("Service", {"aws_weight": "10"}, "isn't followed without set-identifier"),
        ("Service", {"aws_weight": "10", "set_identifier": "a"}, ""),
        ("Service", {"aws_weight": "256", "set_identifier": "a"}, "is not a weight from 0 to 255"),
        ("Ingress", {"aws_failover": "PRIMARY", "set_identifier": "a"}, ""),
        ("Ingress", {"aws_failover": "first", "set_identifier": "a"}, "is not one of PRIMARY, SECONDARY"),
        (
            "Ingress",
            {"aws_failover": "PRIMARY", "aws_weight": "1", "set_identifier": "a"},
            "beside aws-weight: a record is by weight, or by failover, so Route 53 refuses it",
        ),
        (
            "Ingress",
            {"aws_failover": "primary", "set_identifier": "a"},
            "so Route 53 refuses it, and nothing",
        ),
        (
            "Service",
            {"aws_weight": "-1", "set_identifier": "a"},
            "is not a weight from 0 to 255, so Route 53",
        ),
        ("Service", {"aws_weight": " 7", "set_identifier": "a"}, "is no whole number, so it is 0"),
        (
            "Service",
            {"aws_multi_value_answer": "", "set_identifier": "a", "aws_evaluate_target_health": "no"},
            "is not one of true, false",
        ),
        ("Service", {"aws_region": "eu-west-1"}, "isn't followed; of external-dns' annotations"),
        ("Service", {"hostname": "a..b"}, "is no name that the DNS can hold"),
        ("Service", {"hostname": "a.test"}, "internal-hostname publishes that"),
        ("Service", {"hostname": "a.test", "target": "fd00::1"}, ""),
        ("Service", {"controller": "other"}, "so nothing of it is published"),
        ("Service", {"ingress_hostname_source": "annotation-only"}, "isn't followed"),
        ("Ingress", {"ingress_hostname_source": "both"}, "so nothing of it is published"),
        ("Ingress", {"ttl": "1h30m", "hostname": "a.test,*.b.test", "target": "c.test"}, ""),
    ],
)
def test_what_of_external_dns_is_not_followed_is_told(
    kind: str, annotations: dict[str, str], problem: str
) -> None:
    spec = f"{{{WEB}}}" if kind == "Ingress" else "{ports: [{port: 80}]}"
    objects, _ = plan(annotated(kind, "a", spec, **annotations))
    (o,) = [o for o in objects.kind(INGRESS if kind == "Ingress" else SERVICE) if o.name == "a"]
    found = list(oddities(o))
    assert len(found) == bool(problem) and all(problem in text for _, text in found), found


@pytest.mark.parametrize(
    ("text", "ttl"),
    [
        ("60", 60),
        ("2m", 120),
        ("1h1s", 3601),
        ("", 30),
        ("0", 30),
        ("soon", 30),
        ("1.5m", 90),
        ("9" * 20, 30),
        ("²", 30),
    ],
)
def test_ttls_of_annotations(text: str, ttl: int) -> None:
    assert published_ttl(text) == ttl


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
    assert published_names(PlanSource.of(objects), Cluster()) == [("x.test.", "203.0.113.10")]


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
    assert [names.to_text(zone.origin) for zone in settings.zones.zones] == origins


def test_names_that_the_dns_can_not_hold_are_left_out_and_the_others_stay() -> None:
    _, built = plan(ingress("a", "x.test", f"{'h' * 64}.test", f"{'h' * 63}.test"))
    assert [r[0] for r in records(built, "dns", ".")] == [f"{'h' * 63}.test.", "x.test."]
    bad = annotated("Service", "a", f"{{type: NodePort, {PORT}}}", hostname="a..b, a b,é.test,*.w.test")
    built = world(bad)
    found = {r[0] for r in records(built, "dns", ".") if r[1] == "A"}
    assert found == {"ab.", "*.w.test."}
    DnsSettings().changed(from_json(DnsConfig, told(built, "dns")))


def routed(built: World, origin: str, server: str = "dns") -> list[dict[str, Any]]:
    (found,) = [z for z in told(built, server)["zones"] if z["origin"] == origin]
    return list(found["routed"])


def test_records_by_weight_have_checks_of_their_own() -> None:
    given = """[
      {name: www, type: A, value: 203.0.113.10, weight: 3, healthCheck: {path: /healthz}},
      {name: www, type: A, value: 203.0.113.11, weight: 1, healthCheck: {protocol: HTTPS, fall: 5}},
      {name: db, type: CNAME, value: a.test., failover: primary, healthCheck: {address: 10.0.0.9, port: 5432}},
      {name: pair, type: A, value: 10.0.0.1, weight: 1, setIdentifier: blue, ttl: 20},
      {name: pair, type: A, value: 10.0.0.2, weight: 1, setIdentifier: blue, ttl: 10},
      {name: plain, type: A, value: 10.0.0.3}]"""
    built = world(zone("abc.com", given))
    assert [r[0] for r in records(built, "dns", "abc.com.")] == ["plain.abc.com."]
    www, other, db, pair = routed(built, "abc.com.")
    assert (www["name"], www["data"], www["weight"]) == ("www.abc.com.", ["203.0.113.10"], 3)
    (check,) = www["checks"]
    assert (check["zone"], check["record"]) == ("abc.com", "www A 203.0.113.10")
    assert (check["address"], check["port"], check["policy"]["path"]) == ("203.0.113.10", 80, "/healthz")
    (check,) = other["checks"]
    assert (check["port"], check["policy"]["fall"], check["policy"]["path"]) == (443, 5, "/")
    assert (db["failover"], db["checks"][0]["address"], db["checks"][0]["port"]) == (
        "primary",
        "10.0.0.9",
        5432,
    )
    assert (pair["data"], pair["ttl"]) == (["10.0.0.1", "10.0.0.2"], 10)


def test_records_are_healthy_as_a_balancer_is() -> None:
    given = """[
      {name: www, type: A, value: 203.0.113.10, failover: primary, healthCheck: {loadBalancer: public-lb}},
      {name: www, type: A, value: 203.0.113.11, failover: secondary, healthCheck: {loadBalancer: nobody}}]"""
    shop = ingress("shop", "shop.example.com")
    built = world(zone("abc.com", given), shop)
    assert [one.get("healthy", True) for one in routed(built, "abc.com.")] == [True, False]


def sets(built: World) -> list[list[Any]]:
    """What of the public root is answered one set at a time."""
    told = from_json(DnsConfig, dict(to_json(built.servers["dns"].config)))
    return [
        [r.name, r.type, list(r.data), r.ttl, r.weight, r.failover, r.healthy]
        for zone in told.zones
        if zone.origin == "."
        for r in zone.routed
    ]


LB = "{type: LoadBalancer, ports: [{port: 80}]}"


def test_sets_of_route_53() -> None:
    """By external-dns' set-identifier and aws-weight, aws-failover: as well as the balancers that they lead to."""
    way = {"hostname": "a.test", "set_identifier": "blue"}
    blue = annotated("Service", "blue", LB, **way, aws_weight="90")
    green = annotated("Service", "green", LB, **{**way, "set_identifier": "green"}, aws_weight="x", ttl="5")
    made = world(blue, green)
    assert records(made, "dns", ".") == []
    assert sets(made) == [
        ["a.test.", "A", ["203.0.113.20"], 30, 90, "", True],
        ["a.test.", "A", ["203.0.113.21"], 5, 0, "", True],
    ]
    calm = annotated("Service", "blue", LB, **way, aws_failover="PRIMARY", aws_evaluate_target_health="false")
    aside = annotated(
        "Ingress", "i", f"{{{WEB}}}", aws_failover="SECONDARY", set_identifier="b", target="c.test"
    )
    made = world(calm, aside)
    assert sets(made) == [
        ["rule.test.", "CNAME", ["c.test."], 30, None, "secondary", True],
        ["tls.test.", "CNAME", ["c.test."], 30, None, "secondary", True],
        ["a.test.", "A", ["203.0.113.20"], 30, None, "primary", True],
    ]


@pytest.mark.parametrize(
    "said",
    [
        {"aws_weight": "256"},
        {"aws_weight": "-1"},
        {"aws_weight": "1", "aws_failover": "PRIMARY"},
        {"aws_failover": "primary"},
    ],
)
def test_what_route_53_refuses_is_not_published(said: dict[str, str]) -> None:
    one = annotated("Service", "one", LB, hostname="a.test", set_identifier="one", **said)
    other = annotated("Service", "two", LB, hostname="a.test", set_identifier="two", aws_weight="1")
    made = world(one, other)
    assert [one[2] for one in sets(made)] == [["203.0.113.21"]]
    assert not any(name == "a.test." for name, *_ in records(made, "dns", "."))


def test_aliases_are_drawn_from_too() -> None:
    targets = [
        annotated("Service", n, LB, hostname="a.test", target=f"{n}.test", set_identifier=n, aws_weight="1")
        for n in ("one", "two")
    ]
    made = world(*targets)
    assert [r[:3] for r in sets(made)] == [["a.test.", "CNAME", [f"{n}.test."]] for n in ("one", "two")]
    way = {"hostname": "a.test", "target": "one.test,two.test", "set_identifier": "a", "aws_weight": "1"}
    made = world(annotated("Service", "both", LB, **way))
    assert [r[:3] for r in sets(made)] == [["a.test.", "CNAME", ["one.test."]]], "of one set there is one"


def test_a_plain_record_makes_plain_ones_of_all() -> None:
    """Route 53 would refuse one of them."""
    route = {"set_identifier": "a", "aws_weight": "1"}
    plain = annotated("Service", "plain", LB, hostname="a.test")
    weighed = annotated("Service", "weighed", LB, hostname="a.test", **route)
    made = world(plain, weighed)
    assert sets(made) == [] and len(records(made, "dns", ".")) == 2
    zone = (
        "apiVersion: emulab.dev/v1\nkind: Zone\nmetadata: {name: a.test}\n"
        "spec: {records: [{type: A, value: 192.0.2.1}]}\n---\n"
    )
    made = world(zone, weighed)
    assert sets(made) == [] and len(records(made, "dns", "a.test.")) == 2
