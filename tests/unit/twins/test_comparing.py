"""What counts as a difference between modes, and which differences are known."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import ingress_image
from emulab.kinds.registry import KINDS
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.twins import spread
from emulab.twins.asks import ask
from emulab.twins.comparing import Compared, behaviour, compare, fairness, suspicious
from emulab.twins.counting import counts
from emulab.twins.owners import (
    CLUSTER_IP,
    NODE_PORT,
    OUTSIDE,
    UNUSED_ADDRESS,
    UNUSED_PORT,
    Frontends,
    Owners,
    Situation,
)
from emulab.twins.sampling import Sample

SERVED = Situation(CLUSTER_IP)


def seen(
    status: dict[str, int] | None = None,
    pods: dict[str, int] | None = None,
    source: dict[str, int] | None = None,
    answer: str = "default/web /",
    proxied: bool = False,
    hairpins: dict[str, int] | None = None,
) -> Sample:
    """What came of a request: by default 40 answers of two pods that see the asker itself."""
    outcomes = Counter(status or {"HTTP 200": 40})
    answered = sum(n for word, n in outcomes.items() if word.startswith("HTTP") or word == "echo")
    if not answered:
        return Sample("10.96.0.1", outcomes)
    return Sample(
        "10.96.0.1",
        outcomes,
        answered,
        Counter({answer: answered}),
        Counter(pods or {"a": 22, "b": 18}),
        Counter(source or {"itself": 40}),
        proxied,
        [0.001] * answered,
        Counter(hairpins or {}),
    )


def compared(situation: Situation = SERVED, /, **observed: Sample) -> Compared:
    return compare(ask("http://web/"), situation, observed)


def verdicts(situation: Situation = SERVED, /, **observed: Sample) -> dict[str, bool]:
    """Aspect → whether the difference is known."""
    return {d.aspect: d.is_known for d in compared(situation, **observed).differences}


def test_chi_square_as_in_the_tables() -> None:
    for statistic, freedom, probability in ((3.841, 1, 0.05), (5.991, 2, 0.05), (13.816, 2, 0.001)):
        assert spread.tail(statistic, freedom) == pytest.approx(probability, rel=0.01)
    for statistic, freedom, probability in ((11.345, 3, 0.01), (23.209, 10, 0.01), (20.515, 5, 0.001)):
        assert spread.tail(statistic, freedom) == pytest.approx(probability, rel=0.01)
    assert spread.tail(0, 3) == spread.tail(5, 0) == 1.0


def test_what_few_tries_did_not_see_may_be_there() -> None:
    assert spread.surely_absent({"a": 20, "b": 20}, {"a": 40}) == ["b"]
    assert spread.surely_absent({"a": 39, "b": 1}, {"a": 40}) == []
    assert spread.surely_absent({"a": 1, "b": 1}, {"a": 2}) == []


def test_the_same_is_no_difference() -> None:
    assert verdicts(nftables=seen(), iptables=seen(pods={"a": 15, "b": 25})) == {}
    assert behaviour([compared(nftables=seen(), iptables=seen())]) == "same"


def test_another_status_is_a_difference() -> None:
    assert verdicts(nftables=seen(), iptables=seen({"HTTP 503": 40})) == {"status": False}
    assert verdicts(nftables=seen(), iptables=seen({"no answer": 2})) == {"status": False}
    assert verdicts(nftables=seen({"no answer": 2}), iptables=seen({"TCP reset": 2})) == {"status": False}
    found = compared(nftables=seen(), iptables=seen({"no answer": 2}), userspace=seen())
    assert found.differences[0].unexplained == (("nftables", "iptables"), ("iptables", "userspace"))
    assert behaviour([found]) == "different"


def test_a_refusal_that_comes_late_is_another_one() -> None:
    late = seen({"TCP reset, late": 2})
    assert verdicts(nftables=seen({"TCP reset": 2}), ipvs=late) == {"status": False}


def test_other_endpoints_and_answers_are_differences() -> None:
    assert verdicts(nftables=seen(), iptables=seen(pods={"a": 40})) == {"endpoints": False}
    assert verdicts(nftables=seen(), iptables=seen(answer="default/other /")) == {"answer": False}


def test_an_uneven_spread_is_a_difference() -> None:
    uneven = seen(pods={"a": 190, "b": 10})
    assert fairness(uneven) == "unevenly" and suspicious(SERVED, [uneven])
    assert verdicts(nftables=seen(pods={"a": 95, "b": 105}), iptables=uneven) == {"fairness": False}
    assert not suspicious(SERVED, [seen()])


def test_a_client_with_affinity_gets_any_endpoint() -> None:
    sticky = Situation(CLUSTER_IP, sticky=True)
    one, other = seen(pods={"a": 40}), seen(pods={"b": 40}, answer="default/x /")
    assert verdicts(sticky, nftables=one, iptables=other) == {}
    node = seen(pods={"b": 40}, source={"node/node1": 40})
    assert verdicts(sticky, nftables=one, userspace=node) == {"source": True}
    assert verdicts(sticky, nftables=one, iptables=node) == {"source": False}
    asker = seen(pods={"b": 40}, source={"node/node1": 40}, hairpins={"node/node1": 40})
    assert verdicts(sticky, nftables=one, iptables=asker) == {}
    late = seen(pods={"a": 38, "b": 2}, source={"itself": 38, "node/node1": 2}, hairpins={"node/node1": 2})
    assert verdicts(sticky, nftables=asker, iptables=late) == {}, "affinity ends after a while"
    own = seen(pods={"b": 40}, source={"itself": 40}, hairpins={"itself": 40})
    assert verdicts(sticky, nftables=asker, iptables=own) == {"source": False}
    assert verdicts(sticky, nftables=one, iptables=seen(pods={"a": 40}, source={"node/n": 40})) == {
        "source": False
    }


def test_an_ingress_keeps_its_connections() -> None:
    one, other = seen(pods={"a": 40}, proxied=True), seen(pods={"b": 40}, proxied=True)
    assert verdicts(nftables=one, iptables=other) == {}
    assert fairness(seen(proxied=True)) == ""


def test_userspace_hides_the_client() -> None:
    node = seen(source={"node/node1": 40})
    assert verdicts(nftables=seen(), iptables=seen(), userspace=node) == {"source": True}
    assert verdicts(nftables=seen(), iptables=node, userspace=node) == {"source": False}
    assert verdicts(nftables=seen(), userspace=seen(source={"pod/default/x": 40})) == {"source": False}
    [difference] = compared(nftables=seen(), iptables=seen(), userspace=node).differences
    assert [k.name for k in difference.expected] == ["a process in between"]


def test_taking_turns_is_known() -> None:
    turns = seen(pods={"a": 20, "b": 20})
    assert verdicts(nftables=seen(), userspace=turns) == {"fairness": True}
    assert verdicts(nftables=seen(), ipvs=turns, userspace=turns) == {"fairness": True}
    assert verdicts(nftables=turns, userspace=turns) == {}
    assert verdicts(nftables=turns, iptables=seen()) == {}, "chance may be even"
    assert verdicts(nftables=seen(), userspace=seen(pods={"a": 190, "b": 10})) == {"fairness": False}


def test_what_no_service_has_is_refused_by_nftables_alone() -> None:
    refused, beyond, lost = (
        seen({word: 2}) for word in ("TCP reset", "ICMP network unreachable", "no answer")
    )
    assert verdicts(Situation(UNUSED_PORT), nftables=refused, iptables=beyond) == {"status": True}
    assert verdicts(Situation(UNUSED_PORT), nftables=refused, iptables=beyond, userspace=lost) == {
        "status": False
    }
    assert verdicts(SERVED, nftables=refused, iptables=beyond) == {"status": False}
    assert verdicts(Situation(UNUSED_ADDRESS), nftables=lost, iptables=beyond) == {"status": True}
    assert verdicts(Situation(UNUSED_ADDRESS), nftables=beyond, iptables=lost) == {"status": False}


def test_what_a_node_sends_outside_is_refused_in_all_modes_but_iptables() -> None:
    refused, beyond, accepted = (
        seen({word: 2}) for word in ("TCP reset", "ICMP network unreachable", "reset after connecting")
    )
    outside = Situation(OUTSIDE, of_node=True)
    assert verdicts(outside, nftables=refused, iptables=beyond, userspace=refused) == {"status": True}
    assert verdicts(outside, nftables=refused, iptables=accepted) == {"status": True}
    assert verdicts(outside, nftables=beyond, iptables=refused) == {"status": False}
    assert verdicts(Situation(OUTSIDE), nftables=refused, iptables=beyond) == {"status": False}


def test_local_is_for_everybody_in_ipvs_mode() -> None:
    near, all_ = seen(pods={"a": 20}), seen(pods={"a": 11, "b": 9})
    local = Situation(NODE_PORT, local=True)
    assert verdicts(local, nftables=all_, iptables=all_, ipvs=near) == {"endpoints": True}
    assert verdicts(local, nftables=near, ipvs=all_) == {"endpoints": False}
    assert verdicts(local, nftables=all_, userspace=near) == {"endpoints": False}
    assert verdicts(local, nftables=seen(pods={"b": 20}), ipvs=near) == {"endpoints": False}
    assert verdicts(SERVED, nftables=all_, ipvs=near) == {"endpoints": False}


def test_ways_to_refuse_are_known() -> None:
    reset, message = seen({"TCP reset": 2}), seen({"ICMP port unreachable": 2})
    assert verdicts(nftables=reset, iptables=message, userspace=reset) == {"status": True}
    assert verdicts(nftables=message, iptables=reset) == {"status": False}


def test_kube_router_shows_who_asks_on_the_node_and_lets_no_pod_meet_itself() -> None:
    node = seen(source={"node/node1": 40})
    behind = seen(source={"itself": 20, "node/node2": 20})
    modes = {"iptables": node, "kube-router": behind}
    assert verdicts(**modes) == {"source": True}
    assert verdicts(**{"iptables": behind, "kube-router": node}) == {"source": False}
    silent = {"iptables": seen(), "kube-router": seen({"HTTP 200": 20, "no answer": 20})}
    assert (
        verdicts(**silent)["status"]
        and not verdicts(nftables=seen(), iptables=silent["kube-router"])["status"]
    )


def test_userspace_accepts_first_and_tries_the_next() -> None:
    assert verdicts(iptables=seen({"TCP reset": 2}), userspace=seen({"closed after connecting": 2})) == {
        "status": True
    }
    assert verdicts(iptables=seen({"ICMP port unreachable": 2}), userspace=seen({"no answer": 2})) == {
        "status": True
    }
    half = seen({"HTTP 200": 20, "TCP reset": 20}, pods={"a": 20})
    assert verdicts(iptables=half, userspace=seen(pods={"a": 40})) == {"status": True}
    assert verdicts(iptables=seen(pods={"a": 40}), userspace=half) == {"status": False}
    assert verdicts(iptables=seen(), userspace=seen({"HTTP 403": 40})) == {"status": False}


# whose, and what


def o(kind: str, name: str, **fields: Any) -> Object:
    metadata = {"name": name, **{f: fields.pop(f, d) for f, d in (("namespace", ""), ("labels", {}))}}
    version = KINDS.named(kind).api_version  # type: ignore[union-attr]
    return Object({"apiVersion": version, "kind": kind, "metadata": metadata, **fields})


def test_whose_an_address_is() -> None:
    objects = Objects(
        [
            o("Pod", "web", namespace="app"),
            o("Node", "node1", spec={"podCIDRs": ["10.244.1.0/24"]}, status={"address": "10.0.0.11"}),
        ]
    )
    owners = Owners(objects, {"app.web": ["10.244.1.2"], "node1": ["10.0.0.11"], "client": ["198.51.100.2"]})
    assert owners.whose("10.244.1.2") == "pod/app/web"
    assert owners.whose("10.244.1.0") == owners.whose("10.0.0.11") == "node/node1"
    assert owners.whose("10.244.1.1") == "node/node1", "the pods' gateway, where the node has that"
    assert owners.whose("198.51.100.2") == "client"
    assert owners.whose("192.0.2.1") == "192.0.2.1"
    assert owners.whose("10.244.1.2", asker="10.244.1.2") == "itself"
    assert owners.whose("10.244.1.0", asker="10.0.0.11") == "itself", "a node's overlay address is the node's"
    assert owners.whose("10.244.1.2", asker="10.0.0.11") == "pod/app/web"


@pytest.mark.parametrize("places", [("node1", "app.agent"), ("app.agent", "node1")])
def test_the_address_of_a_node_is_the_nodes_whatever_pods_share_its_network(places: tuple[str, str]) -> None:
    node = o("Node", "node1", spec={}, status={"address": "10.0.0.11"})
    agent = o("Pod", "agent", namespace="app", spec={"hostNetwork": True})
    owners = Owners(Objects([agent, node]), {place: ["10.0.0.11"] for place in places})
    assert owners.whose("10.0.0.11") == "node/node1"


def test_a_controllers_pod_is_of_one_name_whatever_its_engine() -> None:
    """Its image says what serves, and so its Pods have another hash in each lab."""
    found = set()
    for engine, hashed in (("builtin", "6c9f"), ("haproxy", "77b8")):
        name, labels = f"ingress-{hashed}-x7k2p", {"pod-template-hash": hashed}
        spec = {"containers": [{"name": "controller", "image": ingress_image(engine)}]}
        other = o(
            "Pod", f"web-{hashed}-abcde", namespace="app", labels=labels, spec={"containers": [{"name": "c"}]}
        )
        pod = o("Pod", name, namespace="edge", labels=labels, spec=spec)
        addresses = {f"edge.{name}": ["10.244.1.2"], f"app.{other.name}": ["10.244.1.3"]}
        owners = Owners(Objects([pod, other]), addresses)
        found.add(owners.whose("10.244.1.2"))
        assert owners.whose("10.244.1.3") == f"pod/app/{other.name}"
    assert found == {"deployment/edge/ingress"}


def test_what_an_address_and_a_port_stand_for() -> None:
    ports = [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]
    spec = {
        "clusterIP": "10.96.0.1",
        "externalIPs": ["192.0.2.1"],
        "ports": ports,
        "sessionAffinity": "ClientIP",
    }
    node = o("Node", "node1", status={"address": "10.0.0.11"})
    frontends = Frontends(Objects([o("Service", "web", namespace="d", spec=spec), node]), Cluster())

    def situation(target: str) -> Situation:
        parsed = ask(target)
        return frontends.situation(parsed, parsed.target.host)

    assert situation("10.96.0.1:80") == Situation(CLUSTER_IP, True)
    assert situation("10.96.0.1:53/udp").reaches == CLUSTER_IP
    assert situation("10.96.0.1:80/udp").reaches == UNUSED_PORT
    assert situation("10.96.0.2:80").reaches == UNUSED_ADDRESS
    assert situation("10.0.0.11:30080").reaches == NODE_PORT
    assert situation("192.0.2.1:80").reaches == OUTSIDE
    assert situation("node1=192.0.2.1:80").of_node and not situation("192.0.2.1:80").of_node
    other = {"service.kubernetes.io/service-proxy-name": "other"}
    foreign = o("Service", "web", namespace="d", spec=spec, labels=other)
    unserved = Frontends(Objects([foreign, node]), Cluster()).situation(ask("10.96.0.1:80"), "10.96.0.1")
    assert unserved.reaches == UNUSED_ADDRESS, "another proxy's, and kube-proxy serves none of its addresses"
    spec["externalTrafficPolicy"] = "Local"
    frontends = Frontends(Objects([o("Service", "web", namespace="d", spec=spec), node]), Cluster())
    assert situation("192.0.2.1:80").local and situation("10.0.0.11:30080").local
    assert not situation("10.96.0.1:80").local, "a policy for what comes from outside"
    assert situation("10.0.0.11:80").reaches == situation("192.0.2.9:80").reaches == ""
    assert frontends.situation(ask("nowhere:80"), "") == Situation()


def test_an_external_address_is_the_first_services_that_claims_it() -> None:
    ports = [{"port": 80}]
    both = [
        o("Service", name, namespace="d", spec={"externalIPs": ["192.0.2.1"], "ports": ports, **more})
        for name, more in (("z", {"sessionAffinity": "ClientIP"}), ("a", {"externalTrafficPolicy": "Local"}))
    ]
    found = Frontends(Objects(both), Cluster()).situation(ask("192.0.2.1:80"), "192.0.2.1")
    assert found == Situation(OUTSIDE, sticky=True)


# counting rules


def test_rules_are_counted_by_kind() -> None:
    rule: dict[str, Any] = {"family": "ip", "table": "kube-proxy", "chain": "c", "expr": [{"drop": None}]}
    foreign = {**rule, "table": "nat", "expr": [{"xt": {"type": "target"}}]}
    elements = {"family": "ip", "table": "kube-proxy", "name": "s", "elem": ["a", "b"]}
    listing = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "ip", "name": "kube-proxy"}},
            {"rule": rule},
            {"rule": {**rule, "table": "pod-masquerade"}},
            {"rule": foreign},
            {"rule": {**foreign, "expr": [{"drop": None}]}},
            {"map": elements},
            {"set": {**elements, "elem": ["c"]}},
            {"set": {"family": "ip", "table": "kube-proxy", "name": "empty"}},
        ]
    }
    virtual = (
        "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
        "TCP  0A600001:0050 rr\n  -> 0AF40102:1F90 Masq 1 0 0\n  -> 0AF40202:1F90 Masq 1 0 0\nUDP  0A60000A:0035 rr\n"
    )
    assert counts(listing, virtual) == {
        "nftRules": 1,
        "nftElements": 3,
        "iptablesRules": 2,
        "ipvsServices": 2,
        "ipvsServers": 2,
    }
