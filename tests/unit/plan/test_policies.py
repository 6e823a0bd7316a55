"""Policies: a table of a node decides as the specifications do, for policies and pods that are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from policyworlds import (
    NAMESPACES,
    NODES,
    OUTSIDE,
    PORTS,
    Firewall,
    cluster_policies,
    cluster_policy,
    fed,
    pod,
    pods,
    policies,
    policy,
)

from emulab.kinds.networking.clusterpolicyview import ClusterNetworkPolicy
from emulab.kinds.networking.policyview import EGRESS, INGRESS, NetworkPolicy
from emulab.model.families import IPV4, IPV6, of_family
from emulab.model.keys import Key
from emulab.plan.policies.compiled import CompiledPolicy
from emulab.plan.policies.facts import PolicyPod, PolicyScene
from emulab.plan.policies.table import NodeServices
from emulab.plan.policies.tables import UNSERVED, PolicyTables
from emulab.plan.policies.verdicts import PolicyEnd, Verdicts
from emulab.plan.rules.meaning import MeantRule
from emulab.plan.state import Ruleset


@settings(max_examples=60, deadline=None)
@given(pods, st.one_of(st.just([]), policies), cluster_policies)
def test_tables_decide_as_the_specifications_do(
    known: list[PolicyPod], drawn: list[NetworkPolicy], ruling: list[ClusterNetworkPolicy]
) -> None:
    labels = {n: {**told, "kubernetes.io/metadata.name": n} for n, told in NAMESPACES.items()}
    verdicts = Verdicts(drawn, PolicyScene(tuple(known), labels, NODES), ruling)
    for family in (IPV4, IPV6):
        made = fed(PolicyTables(family), drawn, known, ruling=ruling)
        tables = {node: Firewall(made.get(node)) for node in ("node1", "node2")}
        ends = [PolicyEnd(one, p) for p in known for one in of_family(p.addresses, family)]
        ends += [PolicyEnd(one) for one in of_family(OUTSIDE, family)]
        ends += [
            PolicyEnd(one, node=n) for n, node in NODES.items() for one in of_family(node.addresses, family)
        ]
        for source in ends:
            for destination in ends:
                for protocol, port in PORTS:
                    if source.pod is None and destination.pod is None:
                        continue
                    # What a pod sends to itself meets its node's table where a Service has led it there.
                    found = verdicts.of(source, destination, protocol, port, by_service=True)
                    nodes = {one.pod.node for one in (source, destination) if one.pod is not None}
                    addresses = source.address, destination.address
                    let = all(tables[node].lets(*addresses, protocol, port) for node in nodes)
                    wanted = found.egress.allows and found.ingress.allows
                    assert let == wanted, (source, destination, protocol, port)


def test_a_label_that_changes_is_an_element() -> None:
    """So it costs no more than that, whatever else is there."""
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]}
    told = [policy(0, "one", spec)]

    def table(labels: Mapping[str, str]) -> Ruleset:
        return fed(PolicyTables(IPV4), told, [pod(1, "one", {}, 80), pod(2, "one", labels, 80)])["node2"]

    before, after = table({"app": "b"}), table({"app": "a"})
    assert before.chains == after.chains and before.collections.keys() == after.collections.keys()
    assert before != after


def test_pods_that_are_isolated_alike_share_their_rules() -> None:
    spec = {"podSelector": {}, "ingress": [{}]}
    known = [pod(number, "one", {}, 80) for number in range(1, 7)]
    made = fed(PolicyTables(IPV4), [policy(0, "one", spec)], known)
    for table in made.values():
        assert len(set(table.collections[INGRESS].elements.values())) == 1
        assert len(table.collections[INGRESS].elements) == 3 and not table.collections[EGRESS].elements


namespaces = st.sampled_from([NAMESPACES, {"two": {"team": "red"}}, {"one": {}, "two": {"team": "blue"}}])
nodes = st.sampled_from(
    [NODES, {"node1": NODES["node2"], "node2": NODES["node1"]}, {"node1": NODES["node1"]}]
)
scenes = st.tuples(policies, pods, st.integers(0, 5), namespaces, cluster_policies, nodes)


@settings(max_examples=60, deadline=None)
@given(st.lists(scenes, min_size=2, max_size=4))
def test_tables_that_follow_changes_are_those_made_afresh(drawn: list[Any]) -> None:
    followed = PolicyTables(IPV4)
    for told, known, there, *more in drawn:
        world = told, known[:there], *more
        assert fed(followed, *world) == fed(PolicyTables(IPV4), *world)


def test_what_stays_is_the_very_same() -> None:
    """A node that a change doesn't concern keeps its table, and a table its other sets."""
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]}
    told = {Key("networking.k8s.io", "NetworkPolicy", "one", "p"): CompiledPolicy(policy(0, "one", spec))}
    known = {Key("", "Pod", "one", f"{n}"): pod(n, "one", {}, 80) for n in range(1, 4)}
    tables = PolicyTables(IPV4)
    before = tables.follow(told, known, {}, UNSERVED)
    assert tables.follow(told, dict(known), {}, UNSERVED) is before
    after = tables.follow(told, {**known, Key("", "Pod", "one", "4"): pod(4, "one", {}, 80)}, {}, UNSERVED)
    assert after["node2"] is before["node2"] and after["node1"] != before["node1"]


ISOLATED = {"podSelector": {}, "policyTypes": ["Egress"]}


def test_an_isolated_pod_finds_its_node_and_by_a_bridge_other_pods() -> None:
    """Neighbour discovery is ICMPv6, which connection tracking knows nothing of."""
    for family, asks in ((IPV4, False), (IPV6, True)):
        table = fed(PolicyTables(family), [policy(0, "one", ISOLATED)], [pod(1, "one", {}, 80)])["node2"]
        for chain in ("input", "forward"):
            assert any("nd-neighbor-solicit" in rule for rule in table.chains[chain]) is asks


def test_what_a_nodes_own_proxy_goes_on_with_is_let_through_before_it_is_judged() -> None:
    """IPVS and the proxy of userspace mode have the node itself for a Service, at the Service's ports alone."""
    told = {Key("networking.k8s.io", "NetworkPolicy", "one", "p"): CompiledPolicy(policy(0, "one", ISOLATED))}
    known = {Key("", "Pod", "one", "1"): pod(1, "one", {}, 80)}
    served = NodeServices(("10.96.0.1 . tcp . 443",), ("tcp . 30080",))
    asked = PolicyTables(IPV4).follow(told, known, {}, served)["node2"]
    services, ports, judged = asked.chains["input"][-3:]
    assert services == "ip daddr . meta l4proto . th dport @services accept"
    assert ports == "fib daddr type local meta l4proto . th dport @node-ports accept" and "vmap" in judged
    assert dict(asked.collections["services"].elements) == {"10.96.0.1 . tcp . 443": ""}
    hook, _, *behind = asked.chains["input-behind-ipvs"]
    assert "priority 110" in hook, "an endpoint of the node itself is judged once it is found"
    assert [rule.endswith(judged) for rule in behind] == [True, True]
    first, second = (rule.removesuffix(judged).split()[-1] for rule in behind)
    assert (first, second) == ("@services", "@node-ports"), "and nothing else once more"
    portals = PolicyTables(IPV4).follow(told, known, {}, NodeServices(portals=True))["node2"]
    assert "input-behind-ipvs" not in portals.chains
    assert portals.chains["input"][-2:] == ("ct status dnat accept", judged)
    own = PolicyTables(IPV4).follow(told, known, {}, NodeServices(own=True))["node2"]
    assert own.chains["forward"][1] == 'iifname "lo" accept', "by BPF programs what a node sends is forwarded"


def ruled(**spec: Any) -> ClusterNetworkPolicy:
    return cluster_policy(0, {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, **spec})


def test_a_namespace_that_is_called_otherwise_has_other_subjects() -> None:
    drop = [{"action": "Deny", "from": [{"namespaces": {}}]}]
    ruling = [ruled(subject={"namespaces": {"matchLabels": {"team": "red"}}}, ingress=drop)]
    tables, known = PolicyTables(IPV4), [pod(1, "one", {}, 80)]
    assert fed(tables, [], known, {"one": {}}, ruling) == {}
    assert fed(tables, [], known, {"one": {"team": "red"}}, ruling).keys() == {"node2"}
    assert fed(tables, [], known, {"one": {}}, ruling) == {}


def test_a_rule_that_drops_says_which_it_is() -> None:
    rule = {"name": "no-web", "action": "Deny", "to": [{"namespaces": {}}]}
    made = fed(PolicyTables(IPV4), [], [pod(1, "one", {}, 80)], ruling=[ruled(egress=[rule])])
    [drop] = [text for rules in made["node2"].chains.values() for text in rules if "drop" in text]
    assert isinstance(drop, MeantRule) and drop.meaning.object == "ClusterNetworkPolicy c0"
    assert "spec.egress[0] (no-web) of ClusterNetworkPolicy c0 (Admin tier) denies it" in drop.meaning.remedy
