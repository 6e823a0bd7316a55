"""Balancers with two nodes: their places, servers, rules and what they tell each other."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import plan

from emulab.cluster.admission.conflicts import conflicts
from emulab.cluster.balancerstates import is_active, state_event, with_frontends, with_state
from emulab.kinds.registry import LOAD_BALANCER
from emulab.model.objects import Object
from emulab.plan.balancers import unhealthy
from emulab.plan.draft import mac
from emulab.plan.links import Address, Route
from emulab.plan.state import Ruleset, Tuning
from emulab.servers.l4.config import L4Config
from emulab.servers.vrrp.config import VrrpConfig

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}
---
"""


def balancer(name: str, more: str, network: str = "internet") -> str:
    spec = f"{{network: {network}, ports: [80], target: {{service: {{name: web, port: 80}}}}, {more}}}"
    return f"apiVersion: emulab.dev/v1\nkind: LoadBalancer\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"


def cluster(engine: str) -> str:
    spec = f"{{balancers: {{engine: {engine}}}}}"
    return f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: c}}\nspec: {spec}\n---\n"


TWO = balancer("lb", "address: 203.0.113.40, replicas: 2")


def test_each_node_has_its_own_address_and_neither_the_one_that_moves() -> None:
    objects, built = plan(WEB + TWO)
    o = objects.get(LOAD_BALANCER.key("", "lb"))
    assert o is not None
    own, nodes = o.status["address"], o.status["replicas"]
    assert [node["name"] for node in nodes] == ["lb", "lb-2"]
    first, second = (node["addresses"][0] for node in nodes)
    assert len({own, first, second}) == 3
    given = {(i.namespace, str(i.address)) for i in built.network.items if isinstance(i, Address)}
    assert {("lb", f"{first}/24"), ("lb-2", f"{second}/24")} <= given
    assert not any(address.startswith((f"{own}/", "203.0.113.40/")) for _, address in given)
    routes = [i for i in built.network.items if isinstance(i, Route) and i.namespace == "router"]
    ways = {str(i.destination): str(i.gateway) for i in routes}
    assert ways["203.0.113.40/32"] == own
    assert all(own in map(str, built.places[name].addresses) for name in ("lb", "lb-2"))


def routers(text: str, name: str = "lb") -> tuple[VrrpConfig, VrrpConfig]:
    _, built = plan(text)
    one, two = (built.servers[f"{place}/vrrp"].config for place in (name, f"{name}-2"))
    assert isinstance(one, VrrpConfig) and isinstance(two, VrrpConfig)
    return one, two


def test_what_the_nodes_are_told() -> None:
    one, two = routers(WEB + TWO)
    assert (one.priority, two.priority) == (150, 100) and one.own != two.own
    assert (
        one.identifier == two.identifier
        and one.addresses == two.addresses
        and "203.0.113.40" in one.addresses
    )
    assert (one.version, one.interval, one.preempt, one.peer) == (3, 0.25, True, "")
    asked, _ = routers(WEB + balancer("lb", "replicas: 2, vrrp: {version: 2, preempt: false}"))
    assert (asked.version, asked.interval, asked.preempt) == (2, 1.0, False)


def test_nodes_that_forward_tell_each_other_of_connections() -> None:
    text = WEB + balancer("lb", "replicas: 2, mode: nat")
    one, two = routers(text)
    assert (one.peer, two.peer) == (two.own, one.own)
    _, built = plan(text)
    for place in ("lb", "lb-2"):
        tuning = built.network.rulesets[place, "conntrack"]
        assert isinstance(tuning, Tuning)
        assert ("net/netfilter/nf_conntrack_tcp_be_liberal", "1") in tuning.sysctls
        config = built.servers[place].config
        assert isinstance(config, L4Config) and config.watched
    # Nodes answer by whichever of the two a connection came by, at the address that both may have.
    marks = built.network.rulesets["node1", "ip balancers"]
    assert isinstance(marks, Ruleset)
    [came] = [rule for rule in marks.chains["arrivals"] if "ct state new" in rule]
    assert all(mac("vpc", own) in came and own in came for own in (one.own, two.own))


def test_every_virtual_router_has_a_number_of_its_own() -> None:
    text = WEB + "".join(balancer(f"lb{n}", "replicas: 2") for n in range(4))
    numbers = {routers(text, f"lb{n}")[0].identifier for n in range(4)}
    assert len(numbers) == 4 and all(0 < number < 256 for number in numbers)


@pytest.mark.parametrize(
    ("engine", "more", "served", "moved"),
    [
        ("builtin", "", "l4", ""),
        ("haproxy", "", "l4-by-haproxy", ""),
        ("haproxy", "replicas: 2", "l4-by-haproxy", "vrrp"),
        ("haproxy", "mode: nat, replicas: 2", "l4", "vrrp"),
        ("haproxy", "engine: builtin", "l4", ""),
        ("haproxy+keepalived", "", "l4-by-haproxy", "vrrp-by-keepalived"),
        ("haproxy+keepalived", "replicas: 1", "l4-by-haproxy", ""),
        ("haproxy+keepalived", "mode: nat", "l4", ""),
    ],
)
def test_what_serves_is_the_balancers_affair_and_else_the_clusters(
    engine: str, more: str, served: str, moved: str
) -> None:
    _, built = plan(cluster(engine) + WEB + balancer("lb", more))
    assert built.servers["lb"].kind == served
    assert (built.servers["lb/vrrp"].kind if "lb/vrrp" in built.servers else "") == moved


def test_haproxy_gets_no_datagrams_to_serve() -> None:
    text = balancer("lb", "engine: haproxy").replace("[80]", '[80, "53/UDP"]')
    _, built = plan(WEB + text)
    assert [key.partition("/")[0] for key in built.servers["lb"].listen] == ["tcp", "tcp"]


def test_a_place_that_is_there_already_is_refused() -> None:
    def made(name: str, **spec: Any) -> Object:
        kind = {"apiVersion": "emulab.dev/v1", "kind": "LoadBalancer", "metadata": {"name": name}}
        return Object({**kind, "spec": spec})

    found = conflicts([made("lb", replicas=2), made("lb-2")])
    assert [f.message for f in found] == ['its second node would be "lb-2", which is another place']
    assert not conflicts([made("lb", replicas=1), made("lb-2")])


STATUS: dict[str, Any] = {"replicas": [{"name": "lb", "addresses": []}, {"name": "lb-2", "addresses": []}]}


def of(status: dict[str, Any]) -> Object:
    kind = {"apiVersion": "emulab.dev/v1", "kind": "LoadBalancer", "metadata": {"name": "lb"}, "spec": {}}
    return Object({**kind, "status": status})


def test_the_active_node_is_in_the_status_and_its_word_counts() -> None:
    status = dict(with_state(STATUS, "lb-2", "active"))
    assert [one.get("state") for one in status["replicas"]] == [None, "active"]
    assert is_active(of(status), "lb-2") and not is_active(of(status), "lb") and is_active(of({}), "lb")
    target = {"address": "fd00::1", "port": 80, "healthy": False, "check": {"word": "L4CON"}}
    told = with_frontends(status, {"tcp/x/80": {"targets": {"node1": target}}})
    assert unhealthy(of(dict(told))) == {("tcp/x/80", "[fd00::1]:80")}
    assert "unhealthyBackends" not in with_frontends(told, {})
    tell = state_event(of(status), "lb-2", "active", "why")
    assert (tell.reason, tell.message) == ("NodeActive", "lb-2 is active: why")
