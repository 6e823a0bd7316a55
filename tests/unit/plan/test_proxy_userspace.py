"""The userspace mode as data: which port stands for what, where traffic is led, and what the process is told."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from worlds import raw_service, raw_slice, world

from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.objects import Object
from emulab.plan.proxy import modes
from emulab.plan.proxy.intents import Intent, Viewer, intents
from emulab.plan.proxy.modes import userspace
from emulab.plan.proxy.modes.portals import PORTS, Portal, portals
from emulab.plan.proxy.ports import candidates
from emulab.plan.state import PlannedServer, Ruleset, UdpBackends
from emulab.servers.l4.config import FrontendConfig, L4Config
from emulab.servers.l4.spec import checked_spec

NODE = ip_address("10.0.0.11")
VIP = {"loadBalancer": {"ingress": [{"ip": "203.0.113.20", "ipMode": "VIP"}]}}
EPHEMERAL, NODE_PORTS = range(32768, 61000), range(30000, 32768)


def wanted(*objects: Object, node: str = "node1") -> tuple[Intent, ...]:
    return intents(candidates(Objects(objects), [IPV4]), [Viewer(node, "", (NODE,))])[node]


def table(found: tuple[Intent, ...]) -> Ruleset:
    return userspace.node_sum(found, NODE, Cluster()).ruleset()


def process(found: tuple[Intent, ...]) -> PlannedServer:
    return userspace.server("node1", userspace.node_sum(found, NODE, Cluster()).frontends)


def service(name: str = "s", **spec: Any) -> Object:
    return raw_service(name, **{"clusterIP": "10.96.2.1", "ports": [{"name": "p", "port": 80}], **spec})


def on(*nodes: str, service: str = "s", **more: Any) -> Object:
    """A slice with one ready endpoint on each node."""
    endpoints = [{"addresses": [f"10.244.{i}.2"], "nodeName": node} for i, node in enumerate(nodes, 1)]
    return raw_slice(service, endpoints=endpoints, **more)


def led(rules: Ruleset, name: str) -> dict[str, str]:
    return dict(rules.collections[name].elements)


def frontends(server: PlannedServer) -> Mapping[str, FrontendConfig]:
    assert isinstance(server.config, L4Config)
    assert server.config == L4Config.at(server.config.frontends), "it listens for each of them"
    return server.config.frontends


def behind(server: PlannedServer, address: str) -> list[str]:
    """The targets of the frontend that an element leads to."""
    ip, _, port = address.partition(" . ")
    (frontend,) = [f for key, f in frontends(server).items() if key.endswith(f"/{ip}/{port}")]
    return [f"{t.address}:{t.port}" for t in frontend.targets]


def test_every_address_of_a_service_leads_to_its_process() -> None:
    found = wanted(
        service(
            type="LoadBalancer",
            status=VIP,
            externalIPs=["192.0.2.1"],
            ports=[{"name": "p", "port": 80, "nodePort": 30080}],
        ),
        on("node1", "node2"),
    )
    rules, server = table(found), process(found)
    portal = portals(found)[Portal("tcp", "default/s:p", "cluster")]
    to = f"10.0.0.11 . {portal}"
    assert led(rules, "portals-tcp") == {f"{a} . 80": to for a in ("10.96.2.1", "192.0.2.1", "203.0.113.20")}
    assert led(rules, "nodeports-tcp") == {"30080": to}
    assert not led(rules, "shortcuts-tcp") and not led(rules, "portals-udp")
    assert behind(server, to) == ["10.244.1.2:8080", "10.244.2.2:8080"]
    assert server.namespace == "node1" and list(server.listen) == [f"tcp/10.0.0.11/{portal}"]
    ((key, frontend),) = frontends(server).items()
    assert checked_spec(key, frontend).policy is None, "an endpoint's readiness is the kubelet's business"


def test_a_local_policy_has_a_portal_of_its_own_and_pods_a_short_cut() -> None:
    spec = {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "ports": [{"name": "p", "port": 80, "nodePort": 30080}],
    }
    found = wanted(service(**spec), on("node1", "node2"))
    rules, server = table(found), process(found)
    assert behind(server, led(rules, "portals-tcp")["10.96.2.1 . 80"]) == [
        "10.244.1.2:8080",
        "10.244.2.2:8080",
    ]
    assert behind(server, led(rules, "nodeports-tcp")["30080"]) == ["10.244.1.2:8080"]
    assert behind(server, led(rules, "nodeport-shortcuts-tcp")["30080"]) == [
        "10.244.1.2:8080",
        "10.244.2.2:8080",
    ]

    far = table(wanted(service(**spec), on("node2")))
    assert not led(far, "nodeports-tcp") and led(far, "no-endpoint-nodeports") == {"tcp . 30080": "drop"}
    assert led(far, "nodeport-shortcuts-tcp")


def test_internal_policy_local() -> None:
    spec = {"internalTrafficPolicy": "Local"}
    found = wanted(service(**spec), on("node1", "node2"))
    assert behind(process(found), led(table(found), "portals-tcp")["10.96.2.1 . 80"]) == ["10.244.1.2:8080"]
    assert led(table(wanted(service(**spec), on("node2"))), "no-endpoint-services") == {
        "10.96.2.1 . tcp . 80": "drop"
    }


def test_without_endpoints_traffic_is_refused_and_the_process_listens_all_the_same() -> None:
    found = wanted(service())
    assert not led(table(found), "portals-tcp")
    assert led(table(found), "no-endpoint-services") == {"10.96.2.1 . tcp . 80": "goto refuse"}
    assert [f.targets for f in frontends(process(found)).values()] == [()]
    assert process(found).listen == process(wanted(service(), on("node1"))).listen


def test_affinity_and_protocols() -> None:
    ports = [
        {"name": "t", "port": 53},
        {"name": "u", "port": 53, "protocol": "UDP"},
        {"name": "s", "port": 53, "protocol": "SCTP"},
    ]
    slices = on(
        "node1",
        ports=[
            {"name": n, "protocol": p, "port": 5353} for n, p in (("t", "TCP"), ("u", "UDP"), ("s", "SCTP"))
        ],
    )
    found = wanted(service(sessionAffinity="ClientIP", ports=ports), slices)
    both = frontends(process(found))
    assert sorted(key.split("/")[0] for key in both) == ["tcp", "udp"]
    assert [checked_spec(key, f).affinity for key, f in both.items()] == [10800.0, 10800.0]
    rules = table(found)
    assert set(led(rules, "portals-tcp")) == set(led(rules, "portals-udp")) == {"10.96.2.1 . 53"}
    assert all("sctp" not in rule for chain in rules.chains.values() for rule in chain)


def test_udp_flows_may_go_on_to_the_ports_of_the_process() -> None:
    ports = [{"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053}]
    spec = {"type": "NodePort", "externalTrafficPolicy": "Local", "ports": ports}
    found = wanted(service(**spec), on("node1", ports=[{"name": "u", "protocol": "UDP", "port": 5353}]))
    given = portals(found)
    cluster, local = (f"{NODE}:{given[Portal('udp', 'default/s:u', use)]}" for use in ("cluster", "local"))
    flows = userspace.udp_flows(found, given, NODE)
    assert flows == UdpBackends(
        {("10.96.2.1", 53): frozenset({cluster}), ("", 30053): frozenset({cluster, local})}
    )
    nobody = wanted(service(**spec))
    assert userspace.udp_flows(nobody, portals(nobody), NODE) == UdpBackends(
        {("10.96.2.1", 53): frozenset(), ("", 30053): frozenset()}
    )


@examples(30)
@given(st.sets(st.integers(0, 200), min_size=1, max_size=60))
def test_ports_are_stable_apart_and_in_their_range(numbers: set[int]) -> None:
    def made(which: set[int]) -> tuple[Intent, ...]:
        return wanted(*(service(f"s{n}", clusterIP=f"10.96.2.{n + 1}") for n in sorted(which)))

    given = portals(made(numbers))
    assert len(set(given.values())) == len(given) == len(numbers)
    assert all(p in PORTS and p not in EPHEMERAL and p not in NODE_PORTS for p in given.values())
    assert given == portals(tuple(reversed(made(numbers))))
    alone = portals(made({min(numbers)}))
    moved = [p for p in alone if given[p] != alone[p]]
    assert not moved or given[moved[0]] > alone[moved[0]]  # none but to the next free port


def test_a_full_range_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes.portals, "PORTS", range(61000, 61003))
    services = [service(f"s{n}", clusterIP=f"10.96.2.{n + 1}") for n in range(4)]
    assert sorted(portals(wanted(*services[:3])).values()) == [61000, 61001, 61002]
    with pytest.raises(UserError, match="room for 3 TCP Service ports"):
        portals(wanted(*services))


def test_nothing_dangles() -> None:
    rules = table(wanted(service(), on("node1")))
    text = " ".join(rule for chain in rules.chains.values() for rule in chain)
    assert all(f"@{name}" in text for name in rules.collections)
    assert "redirect" not in text and "127.0.0.0/8" in text


def test_a_world_has_a_process_for_each_node() -> None:
    made = world(
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\nspec: {nodes: 3, proxy: {mode: userspace}}\n"
    )
    found = {s.name: s for s in made.servers.values() if s.name.endswith("/kube-proxy")}
    assert {(n, s.kind, s.namespace) for n, s in found.items()} == {
        (f"node{i}/kube-proxy", "l4", f"node{i}") for i in (1, 2, 3)
    }
    for i in (1, 2, 3):
        rules = made.network.rulesets[f"node{i}", "ip kube-proxy"]
        flows = made.network.rulesets[f"node{i}", "udp-backends"]
        assert isinstance(rules, Ruleset) and isinstance(flows, UdpBackends)
        dns = rules.collections["portals-udp"].elements["10.96.0.10 . 53"]
        assert (
            dns.startswith(f"10.0.0.1{i} . ")
            and f"udp/10.0.0.1{i}/{dns.split()[-1]}" in found[f"node{i}/kube-proxy"].listen
        )
        assert flows.frontends["10.96.0.10", 53] == {dns.replace(" . ", ":")}


def test_between_two_sets_of_rules_the_process_serves_both() -> None:
    def ports(*names: str) -> list[dict[str, Any]]:
        return [{"name": name, "port": ord(name)} for name in names]

    near = on("node1", ports=[{"name": name, "port": 8080} for name in "abc"])
    far = on("node1", "node2", ports=[{"name": name, "port": 9090} for name in "abc"])
    old, new = wanted(service(ports=ports("a", "b")), near), wanted(service(ports=ports("b", "c")), far)
    both = userspace.between(process(old), process(new))
    to = {**led(table(old), "portals-tcp"), **led(table(new), "portals-tcp")}
    targets = {chr(int(key.rpartition(" ")[2])): behind(both, element) for key, element in to.items()}
    assert targets == {
        "a": ["10.244.1.2:8080"],  # gone, but the old rules lead there still
        "b": ["10.244.1.2:9090", "10.244.2.2:9090"],
        "c": ["10.244.1.2:9090", "10.244.2.2:9090"],
    }
    assert set(both.listen) == set(frontends(both)) and len(frontends(both)) == 3
    assert userspace.between(process(new), process(new)) == process(new)
