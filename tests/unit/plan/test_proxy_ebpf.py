"""What proxy mode ebpf makes of Services: what programs look up, and the rules beside them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from worlds import items, raw_service, raw_slice, world

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.objects import Object
from emulab.plan.links import Neighbour, Route, Translated
from emulab.plan.persistent import change_between
from emulab.plan.proxy.intents import Intent, Viewer, intents
from emulab.plan.proxy.modes import ebpf
from emulab.plan.proxy.ports import candidates
from emulab.plan.render import rules_lines
from emulab.plan.state import Ruleset, Translations

NODE = ip_address("10.0.0.11")
MODE = Cluster(proxy_mode="ebpf")
VIP = {"loadBalancer": {"ingress": [{"ip": "203.0.113.20", "ipMode": "VIP"}]}}
PORTS = [{"name": "p", "port": 80, "protocol": "TCP", "nodePort": 30080}]
HERE, THERE = ("10.244.1.5", "node1"), ("10.244.2.5", "node2")


def seen(*objects: Object) -> tuple[Intent, ...]:
    return intents(candidates(Objects(objects), [IPV4]), [Viewer("node1", "", (NODE,))])["node1"]


def table(*objects: Object) -> list[str]:
    """What programs look up, without the networks."""
    choices = ebpf.frontend_sum(seen(*objects), MODE, IPV4).choices()
    return [line.strip() for line in rules_lines(Translations(choices, (), ()))][3:]


def rules(*objects: Object) -> Ruleset:
    return ebpf.frontend_sum(seen(*objects), MODE, IPV4).ruleset()


def exposed(**spec: Any) -> Object:
    given = {"type": "LoadBalancer", "externalIPs": ["192.0.2.80"], "ports": PORTS, "status": VIP, **spec}
    return raw_service("web", clusterIP="10.96.1.7", **given)


def endpoints(*given: tuple[str, str]) -> Object:
    """Ready endpoints: address and node."""
    return raw_slice("web", endpoints=[{"addresses": [a], "nodeName": node} for a, node in given])


def test_a_cluster_ip_is_masqueraded_for_outsiders_alone() -> None:
    web = raw_service("web", clusterIP="10.96.1.7", sessionAffinity="ClientIP")
    assert table(web, raw_slice("web", "10.244.1.5", "10.244.2.5")) == [
        "TCP 10.96.1.7:80 inside affinity 10800s",
        "-> 10.244.1.5:8080",
        "-> 10.244.2.5:8080",
        "TCP 10.96.1.7:80 outside affinity 10800s masquerade",
        "-> 10.244.1.5:8080",
        "-> 10.244.2.5:8080",
    ]


def test_policy_local_has_two_frontends_that_differ() -> None:
    own = table(exposed(externalTrafficPolicy="Local"), endpoints(HERE, THERE))
    assert own[6:] == [
        line
        for frontend in ("192.0.2.80:80", "203.0.113.20:80", "0.0.0.0:30080")
        for line in (
            *(f"TCP {frontend} inside", "-> 10.244.1.5:8080", "-> 10.244.2.5:8080"),
            *(f"TCP {frontend} outside", "-> 10.244.1.5:8080"),
        )
    ]
    without = table(exposed(externalTrafficPolicy="Local"), endpoints(THERE))
    assert not any("outside" in line for line in without[4:]), "a rule drops those"
    made = rules(exposed(externalTrafficPolicy="Local"), endpoints(THERE))
    assert made.collections["no-endpoint-nodeports"].elements == {"tcp . 30080": "drop"}
    assert "203.0.113.20 . tcp . 80" in made.collections["shortcuts"].elements


def test_a_client_is_remembered_once_whatever_frontend_it_asks() -> None:
    for policy in ("externalTrafficPolicy", "internalTrafficPolicy"):
        spec = {policy: "Local", "sessionAffinity": "ClientIP"}
        made = ebpf.frontend_sum(seen(exposed(**spec), endpoints(HERE, THERE)), MODE, IPV4).choices()
        assert {choice.service for choice in made.values()} == {"default/web:p/tcp/IPv4"}
        assert {len(choice.endpoints) for choice in made.values()} == {1, 2}


def test_policy_cluster_masquerades_and_source_ranges_are_the_balancers_alone() -> None:
    found = table(exposed(loadBalancerSourceRanges=["198.51.100.0/24"]), endpoints(HERE))
    assert "TCP 192.0.2.80:80 outside masquerade" in found
    assert "TCP 203.0.113.20:80 outside masquerade from 198.51.100.0/24" in found
    assert "TCP 0.0.0.0:30080 inside masquerade" in found


def test_sctp_keeps_its_port() -> None:
    """As with Cilium, whose programs can't mend its checksum either."""
    ports = [{"name": "p", "protocol": "SCTP", "port": 8080}]
    slices = raw_slice("web", "10.244.1.5", ports=ports)
    for port, lines in ((80, []), (8080, ["SCTP 10.96.1.7:8080 inside", "-> 10.244.1.5:8080"])):
        given = {"name": "p", "port": port, "protocol": "SCTP", "nodePort": 30080}
        sctp = raw_service("web", clusterIP="10.96.1.7", type="NodePort", ports=[given])
        assert table(sctp, slices)[:2] == lines and not any("30080" in line for line in table(sctp, slices))


def test_what_has_no_endpoint_is_left_to_rules() -> None:
    assert table(exposed()) == []
    assert rules(exposed()).collections["no-endpoint-services"].elements["10.96.1.7 . tcp . 80"] == (
        "goto refuse"
    )


def test_a_change_of_an_endpoint_is_one_of_its_own_frontends() -> None:
    others = [raw_service(f"s{n}", clusterIP=f"10.96.2.{n}") for n in range(20)]
    slices = [raw_slice(f"s{n}", f"10.244.2.{n}") for n in range(20)]
    web = raw_service("web", clusterIP="10.96.1.7")
    made = ebpf.frontend_sum(seen(*others, *slices, web, endpoints(HERE)), MODE, IPV4)
    before = made.choices()
    made.exchange(seen(web, endpoints(HERE)), seen(web, endpoints(HERE, THERE)))
    change = change_between(before, made.choices())
    assert {str(f) for f in change.added} == {"TCP 10.96.1.7:80 inside", "TCP 10.96.1.7:80 outside"}
    assert len(made.choices()) == 42


WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {proxy: {mode: ebpf}}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: node1, containers: [{name: c, image: x}]}
"""


def test_programs_are_at_the_links_of_pods_and_at_both_ends_of_the_node() -> None:
    made = world(WORLD).network
    at = {(i.link, i.role) for i in items(made, Translated, "node1")}
    assert at >= {("eth0", "uplink"), ("lo", "loopback")}
    assert len([link for link, role in at if role == "pod"]) >= 1
    near = [str(r.destination) for r in items(made, Route, "node1")]
    assert "169.254.42.1/32" in near and not any(":" in net for net in near)
    assert "169.254.42.1" in [str(n.address) for n in items(made, Neighbour, "node1")]
    assert not items(world(WORLD.replace("ebpf", "nftables")).network, Translated)
