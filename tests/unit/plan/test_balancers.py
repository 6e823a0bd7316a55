"""The L4 balancers' configuration, and what objects say of them."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import make
from worlds import plan, raw_service, world

from emulab.cluster.brought import OWN_INGRESS
from emulab.cluster.statuses import balancer_statuses
from emulab.cluster.system import system_objects
from emulab.kinds.core.serviceview import ingress_ips
from emulab.kinds.emulab.balancerplaces import service_place
from emulab.kinds.emulab.balancingview import HealthCheck
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.servicebalancing import service_balancing
from emulab.kinds.registry import SERVICE
from emulab.model.collection import Objects, PutStatus
from emulab.model.objects import Object
from emulab.plan.balancers import HEALTH, asked_policy, paced
from emulab.plan.state import World
from emulab.servers.configuration import from_json, to_json
from emulab.servers.l4.config import FrontendConfig
from emulab.servers.l4.spec import checked_spec

WEB = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  type: LoadBalancer
  loadBalancerSourceRanges: [192.0.2.0/24]
  selector: {app: db}
  ports: [{name: sql, port: 5432, nodePort: 30432}, {name: ping, port: 53, protocol: UDP, nodePort: 30053}]
---
"""


def balancer(name: str, spec: str) -> str:
    return f"apiVersion: emulab.dev/v1\nkind: LoadBalancer\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"


def frontends(built: World, place: str) -> dict[str, dict[str, Any]]:
    server = built.servers[place]
    config = to_json(server.config)
    found: dict[str, dict[str, Any]] = config["frontends"]
    assert server.kind == "l4" and server.namespace == place
    assert [*sorted(found), *config["metrics"]] == config["listen"] == list(server.listen)
    for key, frontend in found.items():
        assert checked_spec(key, from_json(FrontendConfig, frontend)).key == key
    return found


def targets(frontend: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(t["name"], t["address"], t["port"]) for t in frontend["targets"]]


def test_the_public_balancer_leads_to_the_ingress_of_every_node() -> None:
    objects, built = plan("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
    service = objects.get(SERVICE.key("ingress-nginx", "ingress-nginx-controller"))
    assert service is not None
    ports = {p["port"]: p["nodePort"] for p in service.spec["ports"]}
    found = frontends(built, "public-lb")
    assert {k: targets(f) for k, f in found.items()} == {
        f"tcp/203.0.113.10/{port}": [
            ("node1", "10.0.0.11", ports[port]),
            ("node2", "10.0.0.12", ports[port]),
        ]
        for port in (80, 443)
    }
    assert all("source_ranges" not in f for f in found.values())


def test_a_balancer_of_a_service_with_an_acl() -> None:
    spec = (
        "{network: vpc, address: 10.0.0.100, ports: [15432, 15433], sourceRanges: [10.0.0.0/24],"
        " target: {service: {name: db, port: sql}}}"
    )
    found = frontends(world(WEB, balancer("private-lb", spec)), "private-lb")
    nodes = [("node1", "10.0.0.11", 30432), ("node2", "10.0.0.12", 30432)]
    assert {k: targets(f) for k, f in found.items()} == {
        "tcp/10.0.0.100/15432": nodes,
        "tcp/10.0.0.100/15433": nodes,
    }
    assert {tuple(f["source_ranges"]) for f in found.values()} == {("10.0.0.0/24",)}


@pytest.mark.parametrize(
    "target", ["{ingress: true}", "{service: {name: none, port: 80}}", "{service: {name: db, port: 99}}"]
)
def test_a_port_that_leads_nowhere_has_no_targets(target: str) -> None:
    built = world(WEB, balancer("b", f"{{network: vpc, ports: [8443], target: {target}}}"))
    assert [targets(f) for f in frontends(built, "b").values()] == [[]]


def test_a_load_balancer_service_has_a_balancer_of_its_own() -> None:
    found = frontends(world(WEB), "lb-default-db")
    assert {k: targets(f) for k, f in found.items()} == {
        "tcp/203.0.113.20/5432": [("node1", "10.0.0.11", 30432), ("node2", "10.0.0.12", 30432)],
        "udp/203.0.113.20/53": [("node1", "10.0.0.11", 30053), ("node2", "10.0.0.12", 30053)],
    }
    assert {tuple(f["source_ranges"]) for f in found.values()} == {("192.0.2.0/24",)}


def test_long_names_of_places_are_shortened_and_stay_apart() -> None:
    one, other = (service_place(raw_service("s" * 60 + end, "n" * 60)) for end in "ab")
    assert one != other and len(one) <= 63 and one.startswith("lb-nnn")
    assert service_place(raw_service("db", "app")) == "lb-app-db"


# statuses


def lb(name: str, target: dict[str, Any], vip: str = "") -> Object:
    spec = {"network": "vpc", "target": target}
    return make("LoadBalancer", name, "", spec=spec, status={"vip": vip} if vip else {})


def shop(balancer: str = "") -> Object:
    annotations = {"emulab.dev/load-balancer": balancer} if balancer else {}
    return make("Ingress", "shop", metadata={"annotations": annotations}, spec={})


def test_an_ingress_that_nobody_serves_has_no_address() -> None:
    front = lb("public-lb", {"ingress": True}, "203.0.113.10")
    alb = shop().replace(spec={"ingressClassName": "alb"})
    assert entries(front, alb) == {}
    told = alb.replace(status={"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}})
    assert entries(front, told) == {"shop": []}, "it had one while it was served"
    for classes in (("alb",), ("*",)):
        changes = balancer_statuses(Objects([*INGRESS, front, alb]), Cluster(ingress_classes=classes))
        (change,) = (c for c in changes if isinstance(c, PutStatus) and c.key == alb.key)
        assert change.status["loadBalancer"]["ingress"]


INGRESS = [o for o in system_objects(Cluster()) if o.key in OWN_INGRESS]


def entries(*objects: Object) -> dict[str, Any]:
    """What is said of these, beside the ingress controller that every lab has."""
    there = (*INGRESS, *objects)
    changes = balancer_statuses(Objects(there), Cluster())
    by_key = {o.key: o for o in there}
    done = [by_key[c.key].replace(status=c.status) for c in changes if isinstance(c, PutStatus)]
    assert len(done) == len(changes)
    again = {o.key: o for o in (*there, *done)}
    assert balancer_statuses(Objects(again.values()), Cluster()) == [], "said once"
    return {o.name: o.status["loadBalancer"]["ingress"] for o in done if o.key not in OWN_INGRESS}


def test_an_ingress_says_where_it_is_reached() -> None:
    public, private = (
        lb("public-lb", {"ingress": True}, "203.0.113.10"),
        lb("p", {"ingress": True}, "10.0.0.9"),
    )
    assert entries(public, private, shop()) == {"shop": [{"ip": "203.0.113.10"}]}
    assert entries(public, private, shop("p")) == {"shop": [{"ip": "10.0.0.9"}]}
    assert entries(public, shop("gone")) == {}
    stale = shop("gone").replace(status={"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}})
    assert entries(public, stale) == {"shop": []}


def test_the_controllers_service_has_the_addresses_of_all_its_balancers() -> None:
    served = {"emulab.dev/served-by": "load-balancers"}
    controller = raw_service("c", type="LoadBalancer", annotations=served)
    found = entries(
        controller,
        raw_service("plain", type="LoadBalancer"),
        lb("a", {"ingress": True}, "203.0.113.10"),
        lb("b", {"ingress": True}),
        lb("d", {"service": {"name": "db", "port": 1}}, "10.0.0.9"),
    )
    assert found == {"c": [{"ip": "203.0.113.10", "ipMode": "Proxy"}]}


def test_of_many_targets_each_is_asked_less_often_unless_told() -> None:
    asked = [paced(HEALTH, targets).interval for targets in (2, 100, 101, 300, 1000)]
    assert asked == [1.0, 1.0, 2.0, 5.0, 10.0]
    assert all(targets / paced(HEALTH, targets).interval <= 100 for targets in range(1, 1001))
    own = asked_policy(paced(HEALTH, 1000), HealthCheck(interval=3.0))
    assert own.interval == 3.0 and own.down_interval == HEALTH.down_interval


def test_an_address_of_each_family_may_be_asked_for() -> None:
    """As of MetalLB, which takes a pair of them for a Service of both families."""

    def service(name: str, asked: str) -> str:
        return f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{metallb.io/loadBalancerIPs: "{asked}"}}}}
spec: {{type: LoadBalancer, ports: [{{port: 80}}], ipFamilyPolicy: RequireDualStack}}
"""

    cluster = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {network: {families: [IPv4, IPv6]}}
"""
    pair = "203.0.113.77,2001:db8:2::77"
    objects, _ = plan(cluster + service("a", pair) + service("b", "203.0.113.78,2001:db8:2::77"))
    found = {o.name: ingress_ips(o) for o in objects.kind(SERVICE) if o.name in ("a", "b")}
    assert found == {"a": pair.split(","), "b": []}  # which waits, as one of its addresses is another's


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ("sessionAffinity: ClientIP\n", 10800),
        ("sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}\n", 60),
        ("sessionAffinity: None\n", 0),
        ("loadBalancerClass: service.k8s.aws/nlb\n  sessionAffinity: ClientIP\n", 0),
    ],
)
@pytest.mark.parametrize("mode", ["proxy", "nat"])
def test_session_affinity_is_the_balancers_business_too(mode: str, more: str, seconds: int) -> None:
    """As the clouds' controllers have it: each node by itself would pick another endpoint."""
    own = WEB.replace("spec:\n", f"spec:\n  {more}", 1)
    o = plan(own)[0].get(SERVICE.key("default", "db"))
    assert o is not None and service_balancing(o).stickiness == seconds
    annotations = f"{{balancer.emulab.dev/mode: {mode}, balancer.emulab.dev/stickiness: '7'}}"
    said = own.replace("{name: db}", f"{{name: db, annotations: {annotations}}}")
    o = plan(said)[0].get(SERVICE.key("default", "db"))
    assert o is not None and (service_balancing(o).stickiness, service_balancing(o).mode) == (7, mode)
