"""Policies, pods and changes that are drawn, and a reader of tables as the kernel is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import strategies as st

from emulab.kinds.networking.clusterpolicyview import ClusterNetworkPolicy
from emulab.kinds.networking.policyview import NetworkPolicy
from emulab.kinds.registry import CLUSTER_NETWORK_POLICY, NAMESPACE, NETWORK_POLICY, NODE, POD
from emulab.model.objects import Object
from emulab.plan.policies.compiled import CompiledClusterPolicy, CompiledPolicy
from emulab.plan.policies.facts import PolicyNode, PolicyPod
from emulab.plan.policies.tables import UNSERVED, PolicyTables
from emulab.plan.state import Ruleset

LABELS = [{}, {"app": "a"}, {"app": "b"}, {"app": "a", "tier": "x"}]
NAMESPACES = {"one": {"team": "red"}, "two": {}}
PORTS = [("tcp", 80), ("tcp", 8080), ("udp", 53), ("tcp", 81), ("sctp", 80)]
OUTSIDE = [ip_address("203.0.113.9"), ip_address("2001:db8:1::9")]
NODES = {
    name: PolicyNode(labels, (ip_address(f"10.0.0.{number}"), ip_address(f"fd00:10::{number}")))
    for number, (name, labels) in enumerate({"node1": {"disk": "ssd"}, "node2": {}}.items(), 11)
}

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
    ruling: Sequence[ClusterNetworkPolicy] = (),
    nodes: Mapping[str, PolicyNode] = NODES,
) -> Mapping[str, Ruleset]:
    """The tables, once they have followed these."""
    return tables.follow(
        {NETWORK_POLICY.key(p.namespace, p.name): CompiledPolicy(p) for p in told},
        {POD.key(p.namespace, p.name): p for p in known},
        {NAMESPACE.key("", n): {**of, "kubernetes.io/metadata.name": n} for n, of in labels.items()},
        UNSERVED,
        {CLUSTER_NETWORK_POLICY.key("", p.name): CompiledClusterPolicy(p) for p in ruling},
        {NODE.key("", name): node for name, node in nodes.items()},
    )


def rules_of(peers_word: str, peer: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Those of a ClusterNetworkPolicy."""
    one = st.builds(
        lambda action, some, protocols: {
            "action": action,
            peers_word: some,
            **({"protocols": protocols} if protocols else {}),
        },
        st.sampled_from(["Accept", "Deny", "Deny", "Pass"]),
        st.lists(peer, min_size=1, max_size=2),
        st.lists(protocols, max_size=2),
    )
    return st.lists(one, max_size=3)


protocols = st.sampled_from(
    [
        {"tcp": {"destinationPort": {"number": 80}}},
        {"tcp": {"destinationPort": {"range": {"start": 80, "end": 8080}}}},
        {"udp": {"destinationPort": {"number": 53}}},
        {"sctp": {"destinationPort": {"number": 80}}},
        {"destinationNamedPort": "http"},
        {"destinationNamedPort": "nobody"},
    ]
)
selections = st.one_of(
    st.builds(lambda n: {"namespaces": n}, namespace_selectors),
    st.builds(
        lambda s, n: {"pods": {"podSelector": s, "namespaceSelector": n}},
        label_selectors,
        namespace_selectors,
    ),
    st.builds(lambda s: {"pods": {"podSelector": s}}, label_selectors),
)
outside = st.sampled_from(
    [
        {"networks": ["203.0.113.0/24", "2001:db8::/32"]},
        {"networks": ["0.0.0.0/0", "::/0"]},
        {"networks": ["10.244.1.0/24"]},
        {"nodes": {}},
        {"nodes": {"matchLabels": {"disk": "ssd"}}},
        {"domainNames": ["kubernetes.io"]},
    ]
)


def cluster_policy(number: int, drawn: Mapping[str, Any]) -> ClusterNetworkPolicy:
    return ClusterNetworkPolicy.of(Object({"metadata": {"name": f"c{number}"}, "spec": drawn}))


cluster_policies = st.lists(
    st.fixed_dictionaries(
        {
            "tier": st.sampled_from(["Admin", "Baseline"]),
            "priority": st.integers(0, 2),
            "subject": st.one_of(st.just({"namespaces": {}}), selections),
            "ingress": rules_of("from", selections),
            "egress": rules_of("to", st.one_of(selections, outside)),
        }
    ),
    max_size=3,
).map(lambda drawn: [cluster_policy(number, one) for number, one in enumerate(drawn)])


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
        if words[0] == "icmpv6":
            return ""  # neighbour discovery, which is no flow
        while words:
            word = words.pop(0)
            if word in ("counter",):
                continue
            if word in ("accept", "drop", "return"):
                return word
            if word == "goto":
                said = self._run(words.pop(0))
                return "return" if said == "end" else said
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
