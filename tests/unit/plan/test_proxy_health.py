"""Health check node ports, and the server that speaks for the proxies; Services without node ports."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import Walker, plan

from emulab.kinds.core.serviceschema import NODE_PORTS
from emulab.kinds.registry import SERVICE
from emulab.plan.state import World
from emulab.servers.configuration import to_json

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {SPEC, selector: {app: web}, ports: [{port: 80, targetPort: 8080}, {name: u, protocol: UDP, port: 53}]}
"""
LOCAL = "type: LoadBalancer, externalTrafficPolicy: Local"


def made(spec: str) -> tuple[dict[str, Any], World]:
    text = WEB.replace("SPEC", spec).replace("[{port: 80,", "[{name: h, port: 80,")
    objects, world = plan(text)
    service = objects.get(SERVICE.key("default", "web"))
    assert service is not None
    return dict(service.spec), world


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        (LOCAL, True),
        (f"{LOCAL}, allocateLoadBalancerNodePorts: false", True),
        ("type: LoadBalancer", False),
        ("type: NodePort, externalTrafficPolicy: Local", False),
        ("type: ClusterIP, internalTrafficPolicy: Local", False),
    ],
)
def test_a_health_check_node_port_is_for_balancers_of_local_services(spec: str, given: bool) -> None:
    found, _ = made(spec)
    assert (found.get("healthCheckNodePort") in NODE_PORTS) is given
    assert found.get("healthCheckNodePort") not in [p.get("nodePort") for p in found["ports"]] or not given


def test_one_that_is_asked_for_is_given() -> None:
    assert made(f"{LOCAL}, healthCheckNodePort: 31234")[0]["healthCheckNodePort"] == 31234


def config(world: World, server: str) -> dict[str, Any]:
    """A server's configuration as its process gets it."""
    return dict(to_json(world.servers[server].config))


def test_every_node_speaks_for_its_proxy() -> None:
    spec, world = made(LOCAL)
    server, told = world.servers["kube-proxy"], config(world, "kube-proxy")
    assert (server.kind, server.namespace, told["mode"]) == ("kube-proxy", "", "nftables")
    assert list(server.listen) == told["listen"] == list(told["sockets"])
    port = spec["healthCheckNodePort"]
    for node, address in (("node1", "10.0.0.11"), ("node2", "10.0.0.12")):
        own = {k: v for k, v in told["sockets"].items() if v["node"] == node}
        assert {k: v["page"] for k, v in own.items()} == {
            f"tcp/127.0.0.1/10249@{node}": "metrics",
            f"tcp/{address}/10256": "healthz",
            f"tcp/{address}/{port}": "service",
        }
        assert {server.listen[k] for k in own} == {node}
        assert server.everywhere & own.keys() == own.keys() - {f"tcp/127.0.0.1/10249@{node}"}
        assert own[f"tcp/{address}/{port}"]["service"] == "default/web"


def test_what_each_node_is_told() -> None:
    _, world = made(LOCAL)
    nodes = config(world, "kube-proxy")["nodes"]
    pod = next(p for p in world.places.values() if p.name.startswith("default.web"))
    near = "node1" if str(pod.addresses[0]).startswith("10.244.1.") else "node2"
    (far,) = {"node1", "node2"} - {near}
    assert nodes == {near: {"endpoints": {"default/web": 1}}, far: {"no_local": {"IPv4": {"external": 2}}}}
    assert config(made("type: ClusterIP")[1], "kube-proxy")["nodes"] == {"node1": {}, "node2": {}}


def test_balancers_ask_for_the_health_of_local_services() -> None:
    spec, world = made(LOCAL)
    for frontend in config(world, "lb-default-web")["frontends"].values():
        health = frontend["health"]
        assert (health["port"], health["path"], health["fall"]) == (
            spec["healthCheckNodePort"],
            "/healthz",
            1,
        )
    _, plain = made("type: LoadBalancer")
    assert all("path" not in f["health"] for f in config(plain, "lb-default-web")["frontends"].values())


def test_without_node_ports_the_balancer_has_the_endpoints_and_the_way_to_them() -> None:
    spec, world = made("type: LoadBalancer, allocateLoadBalancerNodePorts: false")
    assert not any(p.get("nodePort") for p in spec["ports"])
    pod = next(p for p in world.places.values() if p.name.startswith("default.web"))
    frontends = config(world, "lb-default-web")["frontends"].values()
    targets = [(t["address"], t["port"]) for f in frontends for t in f["targets"]]
    assert targets == [(str(pod.addresses[0]), 8080), (str(pod.addresses[0]), 53)]
    assert all("port" not in f["health"] for f in frontends)
    path = Walker(world.network).walk("lb-default-web", str(pod.addresses[0]))
    assert path[0] == "lb-default-web" and path[1] in ("node1", "node2") and path[2:] == [pod.namespace]


def test_a_node_port_asked_for_is_kept() -> None:
    text = "type: LoadBalancer, allocateLoadBalancerNodePorts: false"
    objects, world = plan(
        WEB.replace("SPEC", text).replace("[{port: 80,", "[{name: h, nodePort: 30080, port: 80,")
    )
    service = objects.get(SERVICE.key("default", "web"))
    assert service is not None and [p.get("nodePort") for p in service.spec["ports"]] == [30080, None]
    first, second = config(world, "lb-default-web")["frontends"].values()
    assert [t["port"] for t in first["targets"]] == [30080, 30080]
    assert [t["port"] for t in second["targets"]] == [53]
