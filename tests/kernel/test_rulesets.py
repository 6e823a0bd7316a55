"""Changes of tables against nftables: however one is made, it ends where loading the new table afresh does."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from namespaces import isolated

from emulab.kernel import netns
from emulab.kernel.rules.nft import Nft
from emulab.kernel.rules.tables import Steps, Tables
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.policyview import EGRESS
from emulab.kinds.underlay import underlay_of
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.objects import Object
from emulab.plan.cni.podlinks import masquerade_table
from emulab.plan.policies.compiled import PolicyChain
from emulab.plan.policies.table import JudgedPod, NodeServices, node_table
from emulab.plan.proxy.intents import Viewer, intents
from emulab.plan.proxy.modes import nftables
from emulab.plan.proxy.ports import candidates
from emulab.plan.rules.rulesets import MOST, ruleset_script
from emulab.plan.state import Collection, Namespace, Ruleset
from emulab.plan.topology import _nat_gateway

NODE = Viewer("node1", "", (ip_address("10.0.0.11"),))


class Listing(Nft):
    """nftables that can also answer in JSON."""

    def json(self, command: str) -> str:
        self._context.set_json_output(True)
        try:
            return self.run(command)
        finally:
            self._context.set_json_output(False)


def listing(nft: Listing) -> list[Any]:
    """The ruleset, in an order and without the handles that tell of its history."""
    found = json.loads(nft.json("list ruleset"))["nftables"]
    rules: dict[str, list[Any]] = {}
    rest = []
    for entry in found:
        ((kind, body),) = entry.items()
        body.pop("handle", None)
        if kind == "rule":
            rules.setdefault(body["chain"], []).append(body["expr"])
        elif kind != "metainfo":
            if "elem" in body:
                body["elem"] = sorted(body["elem"], key=json.dumps)
            rest.append({kind: body})
    return [sorted(rest, key=json.dumps), rules]


def pair() -> tuple[Listing, Listing]:
    one, two = netns.create([Namespace("changed"), Namespace("fresh")])
    return Listing("changed", one.fd), Listing("fresh", two.fd)


class Writer:
    """A namespace whose table is changed by one script, or in steps of so many rules each."""

    def __init__(self, name: str = "stepwise") -> None:
        (self.handle,) = netns.create([Namespace(name)])
        self.nft = Listing(name, self.handle.fd)
        self._tables = Tables()

    def change(self, before: Ruleset | None, after: Ruleset, most: int) -> int:
        """Turns one table into another, and returns in how many transactions."""
        steps = Steps(most).between(before, after)
        for _, step in steps:
            self._tables.write(self.handle, step)
        assert steps[-1][0] is after
        return len(steps)


ADDRESSES = [f"10.96.0.{n}" for n in range(1, 5)]
HOOK = "{ type filter hook input priority 0 ; policy accept ; }"
CHAIN_NAMES = ("one", "two", "three")


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    """Tables of a small vocabulary: rules look up sets and verdict maps whose elements go to chains."""
    chains = draw(st.sets(st.sampled_from(CHAIN_NAMES)))
    collections: dict[str, Collection] = {}
    if draw(st.booleans()):
        members = draw(st.sets(st.sampled_from(ADDRESSES)))
        collections["allowed"] = Collection("set", "typeof ip daddr ;", dict.fromkeys(sorted(members), ""))
    if draw(st.booleans()):
        verdicts = {
            a: f"goto {draw(st.sampled_from(sorted(chains)))}" if chains else "drop"
            for a in draw(st.lists(st.sampled_from(ADDRESSES), unique=True))
        }
        collections["ways"] = Collection("map", "typeof ip daddr : verdict ;", verdicts)
    rules = ["accept", "drop", "counter"]
    rules += ["ip daddr @allowed accept"] if "allowed" in collections else []
    hook = [*rules, *(["ip daddr vmap @ways"] if "ways" in collections else [])]
    table = {name: ("", *draw(st.lists(st.sampled_from(rules), max_size=3))) for name in sorted(chains)}
    if draw(st.booleans()):
        table["input"] = (HOOK, *draw(st.lists(st.sampled_from(hook), max_size=3)))
    order = draw(st.permutations(sorted(table)))
    return Ruleset("ip", "t", {name: table[name] for name in order}, collections)


@isolated
def test_any_change_ends_where_a_fresh_load_does() -> None:
    changed, fresh = pair()
    stepwise = Writer()

    @examples(60)
    @given(st.lists(rulesets(), min_size=2, max_size=4), st.integers(1, 6))
    def check(states: list[Ruleset], most: int) -> None:
        before: Ruleset | None = None
        try:
            for after in states:
                if before is None or before != after:
                    changed.run(ruleset_script(before, after))
                    stepwise.change(before, after, most)
                before = after
            fresh.run(ruleset_script(None, states[-1]))
            assert listing(changed) == listing(fresh)
            assert listing(stepwise.nft) == listing(fresh)
        finally:
            for nft in (changed, fresh, stepwise.nft):
                nft.run("flush ruleset")

    check()


@isolated
def test_a_chain_that_comes_to_be_called_from_another_hook() -> None:
    """A chain's declaration is part of it: another priority is another chain of that name."""
    changed, fresh = pair()
    before = Ruleset("ip", "t", {"input": (HOOK, "accept")})
    after = Ruleset("ip", "t", {"input": (HOOK.replace("priority 0", "priority 10"), "accept")})
    changed.run(ruleset_script(None, before))
    changed.run(ruleset_script(before, after))
    fresh.run(ruleset_script(None, after))
    assert listing(changed) == listing(fresh)


@isolated
def test_a_set_of_another_type_is_another_set() -> None:
    changed, fresh = pair()
    chain = {"input": (HOOK, "ip daddr @s accept"), "other": ("", "th dport @s accept")}
    before = Ruleset(
        "ip", "t", {"input": chain["input"]}, {"s": Collection("set", "typeof ip daddr ;", {"10.0.0.1": ""})}
    )
    after = Ruleset(
        "ip", "t", {"other": chain["other"]}, {"s": Collection("set", "typeof th dport ;", {"80": ""})}
    )
    changed.run(ruleset_script(None, before))
    changed.run(ruleset_script(before, after))
    fresh.run(ruleset_script(None, after))
    assert listing(changed) == listing(fresh)


def service(
    name: str,
    ip: str,
    node_port: int = 0,
    vip: str = "",
    protocol: str = "TCP",
    more: dict[str, Any] | None = None,
) -> Object:
    port: dict[str, Any] = {"name": "p", "port": 80, "protocol": protocol}
    if node_port:
        port["nodePort"] = node_port
    status = {"loadBalancer": {"ingress": [{"ip": vip, "ipMode": "VIP"}]}} if vip else {}
    spec = {"clusterIP": ip, "ports": [port], "type": "LoadBalancer" if vip else "NodePort", **(more or {})}
    metadata = {"name": name, "namespace": "default"}
    return Object(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status}
    )


def slice_of(name: str, endpoints: int, protocol: str = "TCP") -> Object:
    return Object(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-x",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "p", "protocol": protocol, "port": 8080}],
            "endpoints": [
                {"addresses": [f"10.244.1.{i + 2}"], "nodeName": f"node{i % 2 + 1}"} for i in range(endpoints)
            ],
        }
    )


def of(*counts: int) -> Ruleset:
    """kube-proxy's table for Services with so many endpoints each; one of them is UDP."""
    objects = []
    for i, n in enumerate(counts):
        protocol = "UDP" if i == 1 else "TCP"
        vip = "203.0.113.20" if i in (2, 3) else ""
        # What a Service asks for turns with the number of its endpoints, so that a step changes both.
        more: dict[str, Any] = {
            **({"sessionAffinity": "ClientIP"} if n % 2 else {}),
            **({"externalTrafficPolicy": "Local"} if n in (2, 3) else {}),
            **({"internalTrafficPolicy": "Local"} if n == 4 else {}),
            **(
                {"loadBalancerSourceRanges": ["10.0.0.0/8", "10.1.0.0/16", "198.51.100.0/24"][:n]}
                if vip
                else {}
            ),
        }
        objects += [
            service(f"s{i}", f"10.96.1.{i}", 30000 + i, vip, protocol, more),
            slice_of(f"s{i}", n, protocol),
        ]
    wanted = intents(candidates(Objects(objects), [IPV4]), [NODE])
    return nftables.rules(wanted["node1"], Cluster(), IPV4)


@isolated
def test_the_rules_of_services_load_and_follow_their_endpoints() -> None:
    changed, fresh = pair()
    stepwise = Writer()

    @examples(40)
    @given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=2, max_size=3), st.integers(1, 20))
    def check(steps: list[list[int]], most: int) -> None:
        before: Ruleset | None = None
        try:
            for counts in steps:
                after = of(*counts)
                changed.run(ruleset_script(before, after))
                stepwise.change(before, after, most)
                before = after
            fresh.run(ruleset_script(None, of(*steps[-1])))
            assert listing(changed) == listing(fresh)
            assert listing(stepwise.nft) == listing(fresh)
        finally:
            for nft in (changed, fresh, stepwise.nft):
                nft.run("flush ruleset")

    check()


@pytest.mark.privilege
@isolated
def test_more_elements_than_one_command_holds() -> None:
    changed, fresh = pair()
    many = {f"10.{i >> 8}.{i & 255}.1": "" for i in range(2500)}
    few = {k: "" for i, k in enumerate(many) if i % 100 == 0}
    before, after = (
        Ruleset("ip", "t", {}, {"s": Collection("set", "typeof ip daddr ;", e)}) for e in (many, few)
    )
    changed.run(ruleset_script(None, before))
    changed.run(ruleset_script(before, after))
    fresh.run(ruleset_script(None, after))
    assert listing(changed) == listing(fresh)
    assert len(listing(changed)[0][0]["set"]["elem"]) == 25


@pytest.mark.privilege
@isolated
def test_hundreds_of_services_with_affinity_come_and_go() -> None:
    """More chains and sets than an ordinary user's socket takes at once (net.core.wmem_max)."""
    writer = Writer()
    objects = []
    for i in range(300):
        kept = {"sessionAffinity": "ClientIP"}
        objects += [service(f"s{i}", f"10.96.1.{i % 250}", 30000 + i, "", "TCP", kept), slice_of(f"s{i}", 3)]
    many = nftables.rules(
        intents(candidates(Objects(objects), [IPV4]), [NODE])["node1"],
        Cluster(),
        IPV4,
    )
    few = nftables.rules(
        intents(candidates(Objects(objects[:4]), [IPV4]), [NODE])["node1"],
        Cluster(),
        IPV4,
    )
    assert len(many.chains) > 1500
    assert writer.change(None, many, MOST) > 10
    assert len(json.loads(writer.nft.json("list chains"))["nftables"]) == len(many.chains) + 1
    assert writer.change(many, few, MOST) > 5
    changed, fresh = writer.nft, Writer("fresh")
    fresh.change(None, few, MOST)
    assert listing(changed) == listing(fresh.nft)


@isolated
def test_the_other_tables_load() -> None:
    nft, _ = pair()
    judged = JudgedPod("n", ("10.244.1.2",), {EGRESS: PolicyChain("egress-x", ("", "drop"), frozenset())})
    served = NodeServices(("10.96.0.1 . tcp . 443",), ("tcp . 30080",))
    policies = node_table([judged], {}, IPV4, served)
    for rules in (_nat_gateway(underlay_of(IPV4)), masquerade_table(Cluster(), IPV4, ()), policies):
        nft.run(ruleset_script(None, rules))
    found = nft.run("list ruleset")
    assert "snat to 203.0.113.1" in found and "masquerade fully-random" in found
