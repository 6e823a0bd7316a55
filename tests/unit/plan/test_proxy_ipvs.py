"""What kube-proxy's ipvs mode makes of Services: virtual servers, the device, and the rules beside them."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

import pytest
from worlds import addresses, items, plan, raw_service, raw_slice, world

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.objects import Object
from emulab.plan.links import Address, Dummy
from emulab.plan.proxy.intents import Intent, Viewer, intents
from emulab.plan.proxy.modes import ipvs
from emulab.plan.proxy.ports import candidates
from emulab.plan.render import render, rules_lines
from emulab.plan.state import Ipvs, Ruleset

NODE = [ip_address("10.0.0.11"), ip_address("10.244.1.0")]
VIP = {"loadBalancer": {"ingress": [{"ip": "203.0.113.20", "ipMode": "VIP"}]}}
PORTS = [{"name": "p", "port": 80, "protocol": "TCP", "nodePort": 30080}]


def seen(*objects: Object) -> tuple[Intent, ...]:
    return intents(candidates(Objects(objects), [IPV4]), [Viewer("node1", "", (NODE[0],))])["node1"]


def table(*objects: Object, **cluster: Any) -> list[str]:
    """The lines of the table, without its settings."""
    mode = Cluster(proxy_mode="ipvs", **cluster)
    found = ipvs.node_table({IPV4: ipvs.server_sum(seen(*objects), mode, IPV4)}, mode, NODE)
    return [line.strip() for line in rules_lines(found) if "sysctl" not in line][1:]


def rules(*objects: Object) -> Ruleset:
    return ipvs.server_sum(seen(*objects), Cluster(proxy_mode="ipvs"), IPV4).ruleset()


def elements(of: Ruleset, name: str) -> dict[str, str]:
    return dict(of.collections[name].elements)


def exposed(**spec: Any) -> Object:
    return raw_service(
        "web",
        clusterIP="10.96.1.7",
        type="LoadBalancer",
        externalIPs=["192.0.2.80"],
        ports=PORTS,
        status=VIP,
        **spec,
    )


def endpoints(*given: tuple[str, str]) -> Object:
    """Ready endpoints: address and node."""
    return raw_slice("web", endpoints=[{"addresses": [a], "nodeName": node} for a, node in given])


HERE, THERE = ("10.244.1.5", "node1"), ("10.244.2.5", "node2")


def test_a_service_reads_as_ipvsadm_shows_it() -> None:
    web = raw_service("web", clusterIP="10.96.1.7", sessionAffinity="ClientIP")
    assert table(web, raw_slice("web", "10.244.1.5", "10.244.2.5")) == [
        "TCP 10.96.1.7:80 rr persistent 10800",
        "-> 10.244.1.5:8080 Masq 1",
        "-> 10.244.2.5:8080 Masq 1",
    ]
    assert table(raw_service("web", clusterIP="10.96.1.7"), scheduler="sh") == ["TCP 10.96.1.7:80 sh"]


def test_every_address_has_a_virtual_server_and_node_ports_those_of_the_node() -> None:
    assert table(exposed(), endpoints(HERE)) == [
        line
        for server in (
            "10.96.1.7:80",
            "192.0.2.80:80",
            "203.0.113.20:80",
            "10.0.0.11:30080",
            "10.244.1.0:30080",
        )
        for line in (f"TCP {server} rr", "-> 10.244.1.5:8080 Masq 1")
    ]


@pytest.mark.parametrize(
    ("policies", "given", "internal", "external"),
    [
        ({}, (HERE, THERE), (HERE, THERE), (HERE, THERE)),
        ({"internalTrafficPolicy": "Local"}, (HERE, THERE), (HERE,), (HERE, THERE)),
        ({"externalTrafficPolicy": "Local"}, (HERE, THERE), (HERE, THERE), (HERE,)),
        # Without an endpoint here, IPVS has all of them for pods and the node; rules drop what others send.
        ({"externalTrafficPolicy": "Local"}, (THERE,), (THERE,), (THERE,)),
        # The same with the internal policy, of a Service that outsiders reach as well.
        ({"internalTrafficPolicy": "Local"}, (THERE,), (THERE,), (THERE,)),
    ],
)
def test_policies_say_which_servers(
    policies: dict[str, str],
    given: tuple[tuple[str, str], ...],
    internal: tuple[tuple[str, str], ...],
    external: tuple[tuple[str, str], ...],
) -> None:
    made = ipvs.server_sum(seen(exposed(**policies), endpoints(*given)), Cluster(), IPV4)
    found = ipvs.node_table({IPV4: made}, Cluster(), NODE)
    for server, members in found.servers.items():
        wanted = internal if str(server.address) == "10.96.1.7" else external
        assert [str(a) for a, _ in members] == [a for a, _ in wanted], server


def test_a_service_for_pods_alone_is_refused_where_local_has_no_endpoint() -> None:
    web = raw_service("web", clusterIP="10.96.1.7", internalTrafficPolicy="Local")
    assert table(web, endpoints(THERE)) == ["TCP 10.96.1.7:80 rr"]
    found = rules(web, endpoints(THERE))
    assert elements(found, "no-endpoint-services") == {"10.96.1.7 . tcp . 80": "goto refuse"}


def test_only_the_own_short_cut_lets_pods_through_where_local_has_no_endpoint() -> None:
    found = rules(exposed(externalTrafficPolicy="Local"), endpoints(THERE))
    assert elements(found, "shortcuts").keys() == {"192.0.2.80 . tcp . 80", "203.0.113.20 . tcp . 80"}
    assert elements(found, "shortcut-nodeports").keys() == {"tcp . 30080"}
    dropped = elements(found, "no-endpoint-services")
    assert dropped == dict.fromkeys(("192.0.2.80 . tcp . 80", "203.0.113.20 . tcp . 80"), "drop")
    check = found.chains["no-endpoint-check"]
    assert [r for r in check if r.endswith("return")] == list(check[1:5]), "they come before the verdicts"
    assert not elements(rules(exposed(externalTrafficPolicy="Local"), endpoints(HERE)), "shortcuts")


def test_what_is_masqueraded() -> None:
    found = rules(exposed(), endpoints(HERE))
    assert elements(found, "service-ips") == {
        "10.96.1.7 . tcp . 80": "goto mark-cluster",
        "192.0.2.80 . tcp . 80": "goto mark-external",
        "203.0.113.20 . tcp . 80": "goto mark-external",
    }
    assert elements(found, "service-nodeports") == {"tcp . 30080": "goto mark-external"}
    local = rules(exposed(externalTrafficPolicy="Local"), endpoints(HERE))
    assert elements(local, "service-ips")["192.0.2.80 . tcp . 80"] == "goto mark-local"
    assert elements(local, "service-nodeports") == {"tcp . 30080": "goto mark-local"}
    assert elements(found, "hairpin-connections").keys() == {"10.244.1.5 . tcp . 8080 . 10.244.1.5"}


def test_nothing_dangles_and_only_the_services_ports_are_open() -> None:
    found = rules(exposed(), endpoints(HERE, THERE))
    texts = [r for chain in found.chains.values() for r in chain[1:]]
    verdicts = [v for c in found.collections.values() for v in c.elements.values()]
    assert {
        m for t in (*texts, *verdicts) for m in re.findall(r"(?:goto|jump) ([\w-]+)", t)
    } <= found.chains.keys()
    assert {m for t in texts for m in re.findall(r"@([\w-]+)", t)} <= found.collections.keys()
    assert elements(found, "virtual-ips").keys() == {"10.96.1.7", "192.0.2.80", "203.0.113.20"}
    assert elements(found, "virtual-servers").keys() == elements(found, "service-ips").keys()


def test_source_ranges_that_hold_the_node_let_it_in_by_the_address_itself() -> None:
    allowed = elements(rules(exposed(loadBalancerSourceRanges=["10.0.0.0/24"])), "firewall-allowed")
    assert {key.rpartition(" . ")[2] for key in allowed} == {"10.0.0.0/24", "203.0.113.20/32"}
    allowed = elements(rules(exposed(loadBalancerSourceRanges=["10.0.9.0/24"])), "firewall-allowed")
    assert {key.rpartition(" . ")[2] for key in allowed} == {"10.0.9.0/24"}


CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: x}
spec: {nodes: 2, proxy: {mode: ipvs, MORE}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.1.7, externalIPs: [10.0.0.12, 192.0.2.80], ports: [{port: 80, nodePort: 30080}]}
"""


def test_the_device_holds_every_address_but_the_nodes_own() -> None:
    network = world(CLUSTER.replace("MORE", "scheduler: wlc")).network
    (device,) = items(network, Dummy, "node2")
    held = {str(a.address) for a in items(network, Address, "node2") if a.link == device.name}
    assert device.name == "kube-ipvs0" and {"10.96.1.7/32", "192.0.2.80/32", "10.96.0.10/32"} <= held
    assert "10.0.0.12/32" not in held and "10.0.0.12/32" in addresses(network, "node1")
    found = network.rulesets["node2", "ipvs"]
    assert isinstance(found, Ipvs)
    ports = {str(s.address) for s in found.servers if s.port == 30080}
    assert ports == {"10.0.0.12", "10.244.2.0"}, "its underlay address and that of the overlay"
    assert {s.scheduler for s in found.servers} == {"wlc"}
    assert dict(found.sysctls)["net/ipv4/vs/conntrack"] == "1"
    assert not [key for key, _ in found.sysctls if "arp" in key]


def test_strict_arp_and_the_plan_as_text() -> None:
    _, planned = plan(CLUSTER.replace("MORE", "strictARP: true"))
    text = render(planned)
    assert "sysctl net/ipv4/conf/all/arp_ignore = 1" in text
    assert "  dummy kube-ipvs0 mac " in text and "    TCP 10.96.1.7:80 rr" in text
    assert text == render(plan(CLUSTER.replace("MORE", "strictARP: true"))[1])
