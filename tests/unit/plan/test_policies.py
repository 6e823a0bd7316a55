"""NetworkPolicies: a table of a node decides as the specification does, for policies and pods that are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from emulab.kinds.networking.policyview import EGRESS, INGRESS, NetworkPolicy
from emulab.model.families import IPV4, IPV6, of_family
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.policies.compiled import CompiledPolicy
from emulab.plan.policies.facts import PolicyPod, PolicyScene
from emulab.plan.policies.tables import PolicyTables
from emulab.plan.policies.verdicts import PolicyEnd, Verdicts
from emulab.plan.state import Ruleset

LABELS = [{}, {"app": "a"}, {"app": "b"}, {"app": "a", "tier": "x"}]
NAMESPACES = {"one": {"team": "red"}, "two": {}}
PORTS = [("tcp", 80), ("tcp", 8080), ("udp", 53), ("tcp", 81), ("sctp", 80)]
OUTSIDE = [ip_address("203.0.113.9"), ip_address("2001:db8:1::9")]

label_selectors = st.one_of(
    st.sampled_from([{}, {"matchLabels": {"app": "a"}}, {"matchLabels": {"app": "b"}}]),
    st.builds(
        lambda operator, key: {
            "matchExpressions": [
                {"key": key, "operator": operator, **({"values": ["a"]} if "In" in operator else {})}
            ]
        },
        st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
        st.sampled_from(["app", "tier"]),
    ),
)
namespace_selectors = st.sampled_from(
    [
        {},
        {"matchLabels": {"team": "red"}},
        {"matchLabels": {"kubernetes.io/metadata.name": "two"}},
        {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
    ]
)
blocks = st.sampled_from(
    [
        {"cidr": "10.244.0.0/16"},
        {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24", "10.244.2.2/32"]},
        {"cidr": "203.0.113.0/24"},
        {"cidr": "0.0.0.0/0"},
        {"cidr": "fd00:10:244::/56", "except": ["fd00:10:244:1::/64"]},
        {"cidr": "::/0"},
    ]
)
peers = st.one_of(
    st.builds(lambda s: {"podSelector": s}, label_selectors),
    st.builds(lambda s: {"namespaceSelector": s}, namespace_selectors),
    st.builds(lambda s, n: {"podSelector": s, "namespaceSelector": n}, label_selectors, namespace_selectors),
    st.builds(lambda b: {"ipBlock": b}, blocks),
)
ports = st.sampled_from(
    [
        {"port": 80},
        {"port": 80, "endPort": 81},
        {"port": "http"},
        {"protocol": "UDP"},
        {"protocol": "UDP", "port": 53},
        {"protocol": "UDP", "port": "dns"},
        {"protocol": "SCTP", "port": 80},
        {"port": 81, "endPort": 8080},
        {},
    ]
)


def rules(word: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Few of each: who allows much denies nothing."""
    one = st.one_of(
        st.builds(lambda peer: {word: [peer]}, peers),
        st.builds(lambda port: {"ports": [port]}, ports),
        st.builds(lambda peer, port: {word: [peer], "ports": [port]}, peers, ports),
        st.builds(
            lambda some, ports: {word: some, "ports": ports},
            st.lists(peers, max_size=2),
            st.lists(ports, max_size=2),
        ),
    )
    return st.lists(one, max_size=2)


specs = st.builds(
    lambda selector, incoming, outgoing, types: {
        "podSelector": selector,
        **({} if incoming is None else {"ingress": incoming}),
        **({} if outgoing is None else {"egress": outgoing}),
        **({} if types is None else {"policyTypes": types}),
    },
    st.one_of(st.just({}), label_selectors),
    st.one_of(rules("from"), st.none()),
    st.one_of(rules("to"), st.none()),
    st.one_of(st.none(), st.just(["Ingress", "Egress"]), st.sampled_from([["Ingress"], ["Egress"], []])),
)


def policy(number: int, namespace: str, spec: Mapping[str, Any]) -> NetworkPolicy:
    metadata = {"name": f"p{number}", "namespace": namespace}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return NetworkPolicy.of(Object({**kind, "metadata": metadata, "spec": spec}))


def pod(number: int, namespace: str, labels: Mapping[str, str], http: int) -> PolicyPod:
    node = number % 2 + 1
    addresses = (ip_address(f"10.244.{node}.{number}"), ip_address(f"fd00:10:244:{node}::{number}"))
    named = (("http", "tcp", http), ("dns", "udp", 53))
    return PolicyPod(namespace, f"pod{number}", f"node{node}", labels, addresses, named)


WHERE = ["one", "one", "one", "two", "two"]
pods = st.tuples(*[st.tuples(st.sampled_from(LABELS), st.sampled_from([80, 8080])) for _ in WHERE]).map(
    lambda drawn: [
        pod(number, namespace, *one)
        for number, (namespace, one) in enumerate(zip(WHERE, drawn, strict=True), 1)
    ]
)
policies = st.lists(st.tuples(st.sampled_from(["one", "one", "two"]), specs), min_size=1, max_size=3).map(
    lambda drawn: [policy(number, *one) for number, one in enumerate(drawn)]
)


def fed(
    tables: PolicyTables,
    told: Sequence[NetworkPolicy],
    known: Sequence[PolicyPod],
    labels: Mapping[str, Mapping[str, str]] = NAMESPACES,
) -> Mapping[str, Ruleset]:
    """The tables, once they have followed these."""
    return tables.follow(
        {Key("networking.k8s.io", "NetworkPolicy", p.namespace, p.name): CompiledPolicy(p) for p in told},
        {Key("", "Pod", p.namespace, p.name): p for p in known},
        {Key("", "Namespace", "", n): {**of, "kubernetes.io/metadata.name": n} for n, of in labels.items()},
        None,
    )


class Firewall:
    """Reads a table as the kernel does, for the words that it has."""

    def __init__(self, table: Ruleset | None) -> None:
        self._table = table

    def lets(self, source: Any, destination: Any, protocol: str, port: int) -> bool:
        """Whether the first packet of a flow is forwarded."""
        if self._table is None:
            return True
        self._fields = {"saddr": source, "daddr": destination}
        self._service = f"{protocol} . {port}"
        return self._run("forward") != "drop"

    def _run(self, chain: str) -> str:
        assert self._table is not None
        for rule in self._table.chains[chain][1:]:
            if (said := self._rule(rule.split())) in ("accept", "drop", "return"):
                return said
        return "end"

    def _rule(self, words: list[str]) -> str:
        table = self._table
        assert table is not None
        if words[:2] == ["ct", "state"]:
            return ""  # a new flow
        while words:
            word = words.pop(0)
            if word in ("counter",):
                continue
            if word in ("accept", "drop", "return"):
                return word
            if word == "meta":
                words = words[words.index("{") + 1 :]
                elements = " ".join(words[: words.index("}")]).split(", ")
                words = words[words.index("}") + 1 :]
                matching = sum(self._is_service(one) for one in elements)
                assert matching < 2, "the kernel takes no intervals that overlap"
                if not matching:
                    return ""
                continue
            assert word == table.family, word
            keys = [self._fields[words.pop(0)]]
            while words[0] == ".":
                words.pop(0)
                keys.append(self._key(words))
            if words[0] == "vmap":
                verdict = table.collections[words[1][1:]].elements.get(str(keys[0]))
                if verdict is None:
                    return ""
                said = self._run(verdict.removeprefix("jump "))
                return said if said == "drop" else ""
            unlike = words[0] == "!="
            if unlike:
                words.pop(0)
            if self._is(keys, words.pop(0)) == unlike:
                return ""
        return ""

    def _key(self, words: list[str]) -> Any:
        if words[0] == "meta":
            del words[:5]  # meta l4proto . th dport
            return self._service
        words.pop(0)
        return self._fields[words.pop(0)]

    def _is(self, keys: Sequence[Any], against: str) -> bool:
        assert self._table is not None
        if against.startswith("@"):
            return " . ".join(map(str, keys)) in self._table.collections[against[1:]].elements
        return keys[0] in ip_network(against)

    def _is_service(self, element: str) -> bool:
        protocol, _, given = element.partition(" . ")
        own, _, port = self._service.partition(" . ")
        first, _, last = given.partition("-")
        return protocol == own and int(first) <= int(port) <= int(last or first)


def end(address: Any, known: Sequence[PolicyPod]) -> PolicyEnd:
    return PolicyEnd(address, next((one for one in known if address in one.addresses), None))


@settings(max_examples=100, deadline=None)
@given(pods, policies)
def test_tables_decide_as_the_specification_does(known: list[PolicyPod], drawn: list[NetworkPolicy]) -> None:
    scene = PolicyScene(
        tuple(known), {n: {**told, "kubernetes.io/metadata.name": n} for n, told in NAMESPACES.items()}
    )
    verdicts = Verdicts(drawn, scene)
    for family in (IPV4, IPV6):
        made = fed(PolicyTables(family), drawn, known)
        tables = {node: Firewall(made.get(node)) for node in ("node1", "node2")}
        ends = [PolicyEnd(one, p) for p in known for one in of_family(p.addresses, family)]
        ends += [PolicyEnd(one) for one in of_family(OUTSIDE, family)]
        for source in ends:
            for destination in ends:
                for protocol, port in PORTS:
                    if source.pod is None and destination.pod is None:
                        continue
                    wanted = verdicts.of(source, destination, protocol, port).allows
                    nodes = {one.pod.node for one in (source, destination) if one.pod is not None}
                    addresses = source.address, destination.address
                    found = all(tables[node].lets(*addresses, protocol, port) for node in nodes)
                    assert found == wanted, (source, destination, protocol, port)


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
scenes = st.tuples(policies, pods, st.integers(0, 5), namespaces)


@settings(max_examples=100, deadline=None)
@given(st.lists(scenes, min_size=2, max_size=4))
def test_tables_that_follow_changes_are_those_made_afresh(drawn: list[Any]) -> None:
    followed = PolicyTables(IPV4)
    for told, known, there, labels in drawn:
        assert fed(followed, told, known[:there], labels) == fed(
            PolicyTables(IPV4), told, known[:there], labels
        )


def test_what_stays_is_the_very_same() -> None:
    """A node that a change doesn't concern keeps its table, and a table its other sets."""
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]}
    told = {Key("networking.k8s.io", "NetworkPolicy", "one", "p"): CompiledPolicy(policy(0, "one", spec))}
    known = {Key("", "Pod", "one", f"{n}"): pod(n, "one", {}, 80) for n in range(1, 4)}
    tables = PolicyTables(IPV4)
    before = tables.follow(told, known, {}, None)
    assert tables.follow(told, dict(known), {}, None) is before
    after = tables.follow(told, {**known, Key("", "Pod", "one", "4"): pod(4, "one", {}, 80)}, {}, None)
    assert after["node2"] is before["node2"] and after["node1"] != before["node1"]


def test_an_isolated_pod_finds_its_node() -> None:
    """Neighbour discovery is ICMPv6, which connection tracking knows nothing of."""
    spec = {"podSelector": {}, "policyTypes": ["Egress"]}
    for family, asks in ((IPV4, False), (IPV6, True)):
        table = fed(PolicyTables(family), [policy(0, "one", spec)], [pod(1, "one", {}, 80)])["node2"]
        assert any("nd-neighbor-solicit" in rule for rule in table.chains["input"]) is asks
