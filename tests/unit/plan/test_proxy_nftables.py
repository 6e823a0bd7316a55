"""The rules of kube-proxy as data: what is in the maps, and which chain marks for masquerading."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from worlds import raw_service, raw_slice

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.objects import Object
from emulab.plan.proxy.intents import Viewer, intents
from emulab.plan.proxy.modes import nftables
from emulab.plan.proxy.modes.nftables import MARK
from emulab.plan.proxy.ports import candidates
from emulab.plan.rules.rulesets import ruleset_stages
from emulab.plan.state import Ruleset

MARKS = f"meta mark set meta mark or {MARK}"
NODE = ip_address("10.0.0.11")
VIP = {"loadBalancer": {"ingress": [{"ip": "203.0.113.20", "ipMode": "VIP"}]}}


def rules(*objects: Object, cluster: Cluster | None = None, node: str = "node1", zone: str = "") -> Ruleset:
    """The table of one node."""
    wanted = intents(candidates(Objects(objects), [IPV4]), [Viewer(node, zone, (NODE,))])
    return nftables.rules(wanted[node], cluster or Cluster(), IPV4)


def references(table: Ruleset) -> tuple[set[str], set[str]]:
    """The chains and collections that rules and elements name."""
    texts = [r for chain in table.chains.values() for r in chain[1:]]
    texts += [v for c in table.collections.values() for v in c.elements.values()]
    chains = {m for t in texts for m in re.findall(r"(?:goto|jump) ([\w-]+)", t)}
    return chains, {m for t in texts for m in re.findall(r"@([\w-]+)", t)}


def entered(table: Ruleset, key: str) -> list[str]:
    """The chains that a connection to `ADDRESS . PROTOCOL . PORT` or `PROTOCOL . PORT` goes to, in the rules' order."""
    *address, protocol, port = key.split(" . ")
    rule = re.compile(rf"{'ip daddr . ' if address else ''}{protocol} dport @(\S+) goto (\S+)")
    found = [m for r in table.chains["services" if address else "nodeports"] if (m := rule.fullmatch(r))]
    own = " . ".join([*address, port])
    return [m[2] for m in found if own in table.collections[m[1]].elements]


def resolve(table: Ruleset, key: str) -> set[str]:
    """Every endpoint that a connection to `key` may be translated to, by following sets, chains and maps."""
    chains = entered(table, key)
    if not chains:
        return set()
    (dnat,) = [r for r in table.chains[chains[0]] if r.startswith("dnat ")]
    found = re.search(r"(?:numgen random mod (\d+) )?map @([\w-]+)$", dnat)
    assert found is not None, dnat
    protocol = key.split(" . ")[-2]
    assert f" {protocol} dport" in dnat and f" {protocol} dport" in table.collections[found[2]].declaration
    elements = table.collections[found[2]].elements
    own = " . ".join(part for part in key.split(" . ") if part != protocol)  # a map is one protocol's
    keys = [f"{own} . {i}" for i in range(int(found[1]))] if found[1] else [own]
    return {elements[k] for k in keys}


def addresses(table: Ruleset) -> set[str]:
    """What goes anywhere by its address."""
    names = {r.partition("@")[2].split()[0] for r in table.chains["services"] if " goto " in r and "@" in r}
    return {key for name in names for key in table.collections[name].elements}


COUNTS = st.lists(st.integers(0, 5), max_size=6)


@examples(60)
@given(COUNTS, st.data())
def test_every_endpoint_is_reached_and_nothing_dangles(counts: list[int], data: st.DataObject) -> None:
    objects: list[Object] = []
    for i, n in enumerate(counts):
        spec: dict[str, Any] = {"clusterIP": f"10.96.2.{i}", "ports": [{"name": "p", "port": 80}]}
        if data.draw(st.booleans()):
            spec |= {
                "type": "LoadBalancer",
                "status": {"loadBalancer": {"ingress": [{"ip": f"203.0.113.{i}"}]}},
            }
        if data.draw(st.booleans()):
            spec["ports"] = [{"name": "p", "port": 80, "nodePort": 30000 + i}]
        objects += [raw_service(f"s{i}", **spec), raw_slice(f"s{i}", *(f"10.244.{i}.{e}" for e in range(n)))]
    table = rules(*objects)
    chains, collections = references(table)
    assert chains <= table.chains.keys() and collections <= table.collections.keys()
    for i, n in enumerate(counts):
        spec = dict(objects[2 * i].spec)
        endpoints = {f"10.244.{i}.{e} . 8080" for e in range(n)}
        ips = [spec["clusterIP"], *([f"203.0.113.{i}"] if "type" in spec else [])]
        entries = [(f"{ip} . tcp . 80", "no-endpoint-services") for ip in ips]
        if "nodePort" in spec["ports"][0]:
            entries.append((f"tcp . {30000 + i}", "no-endpoint-nodeports"))
        for key, dead in entries:
            assert resolve(table, key) == endpoints and len(entered(table, key)) == bool(n)
            if n:
                assert key not in table.collections[dead].elements
            else:
                assert table.collections[dead].elements[key] == "goto refuse"
        assert spec["clusterIP"] in table.collections["cluster-ips"].elements
        hairpin = {e.split(" . ")[0] for e in endpoints}
        assert {f"{e} . {e}" for e in hairpin} <= table.collections["hairpin-connections"].elements.keys()


def test_no_endpoint_map_holds_what_nobody_looks_up() -> None:
    table = rules(
        raw_service("a", clusterIP="10.96.0.1", ports=[{"name": "p", "port": 80, "nodePort": 30080}]),
        raw_slice("a", "10.244.1.2", "10.244.1.3"),
        raw_service("b", clusterIP="10.96.0.2"),
        raw_slice("b", "10.244.1.4"),
    )
    assert table.collections["endpoints-tcp-2"].elements == {
        "10.96.0.1 . 80 . 0": "10.244.1.2 . 8080",
        "10.96.0.1 . 80 . 1": "10.244.1.3 . 8080",
    }
    assert table.collections["endpoints-tcp-1"].elements == {"10.96.0.2 . 80": "10.244.1.4 . 8080"}
    assert table.collections["nodeport-endpoints-tcp-2"].elements == {
        "30080 . 0": "10.244.1.2 . 8080",
        "30080 . 1": "10.244.1.3 . 8080",
    }
    assert "nodeport-endpoints-tcp-1" not in table.collections


def test_who_is_masqueraded() -> None:
    """Inside calls: who comes from outside the pod network; by an external address or a node port: everybody."""
    table = rules(
        raw_service(
            "a",
            clusterIP="10.96.0.1",
            type="LoadBalancer",
            status=VIP,
            ports=[{"name": "p", "port": 80, "nodePort": 30080}],
        ),
        raw_slice("a", "10.244.1.2"),
    )
    marking = {
        name: [r.removesuffix(MARKS).strip() for r in chain if r.endswith(MARKS)]
        for name, chain in table.chains.items()
        if any(MARKS in r for r in chain)
    }
    assert marking == {
        "cluster-tcp-1": ["ip saddr != { 10.244.0.0/16 }"],
        "external-tcp-1": [""],
        "nodeport-tcp-1": [""],
    }
    assert table.chains["nat-postrouting"][1:] == (
        f"meta mark & {MARK} != {MARK} ct status ! dnat return",
        f"meta mark & {MARK} != {MARK} ip saddr . ip daddr != @hairpin-connections return",
        "meta mark set meta mark & 0xffffbfff",
        "masquerade fully-random",
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIP": "None"}, False),
        ({"type": "ExternalName", "externalName": "x"}, False),
        ({}, False),
        ({"clusterIP": "10.96.0.1"}, True),
        ({"clusterIPs": ["fd00::1", "10.96.0.1"]}, True),
    ],
)
def test_which_services_are_in_the_maps(spec: dict[str, Any], expected: bool) -> None:
    table = rules(raw_service("a", **spec), raw_slice("a", "10.244.1.2"))
    assert addresses(table) == ({"10.96.0.1 . 80"} if expected else set())


def test_addresses_that_a_balancer_keeps_to_itself_are_not_translated() -> None:
    """ipMode Proxy, KEP-1860."""
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.20", "ipMode": "Proxy"}]}}
    table = rules(
        raw_service("a", clusterIP="10.96.0.1", type="LoadBalancer", status=status),
        raw_slice("a", "10.244.1.2"),
    )
    assert addresses(table) == {"10.96.0.1 . 80"}


def test_a_service_that_is_no_longer_a_load_balancer_has_no_external_address() -> None:
    table = rules(
        raw_service("a", clusterIP="10.96.0.1", type="ClusterIP", status=VIP), raw_slice("a", "10.244.1.2")
    )
    assert addresses(table) == {"10.96.0.1 . 80"}


def test_external_ips_are_external() -> None:
    table = rules(
        raw_service("a", clusterIP="10.96.0.1", externalIPs=["192.0.2.7"]), raw_slice("a", "10.244.1.2")
    )
    assert entered(table, "192.0.2.7 . tcp . 80") == ["external-tcp-1"]
    assert resolve(table, "192.0.2.7 . tcp . 80") == {"10.244.1.2 . 8080"}


def test_the_first_service_has_an_address_that_several_claim() -> None:
    """Whichever has fewer endpoints, and for its own ports alone."""
    ports = [{"name": "p", "port": 80}, {"name": "q", "port": 81}]
    table = rules(
        raw_service("a", clusterIP="10.96.0.1", externalIPs=["192.0.2.7"]),
        raw_slice("a", "10.244.1.2", "10.244.1.3"),
        raw_service("b", clusterIP="10.96.0.2", externalIPs=["192.0.2.7"], ports=ports),
        raw_slice("b", "10.244.1.4", ports=[{"name": n, "protocol": "TCP", "port": 8080} for n in "pq"]),
    )
    assert entered(table, "192.0.2.7 . tcp . 80") == ["external-tcp-2"]
    assert resolve(table, "192.0.2.7 . tcp . 80") == {"10.244.1.2 . 8080", "10.244.1.3 . 8080"}
    assert resolve(table, "192.0.2.7 . tcp . 81") == resolve(table, "10.96.0.2 . tcp . 80")


def test_protocols_of_one_port_are_apart() -> None:
    ports = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    numbers = [{"name": "t", "protocol": "TCP", "port": 1}, {"name": "u", "protocol": "UDP", "port": 2}]
    table = rules(
        raw_service("dns", clusterIP="10.96.0.10", ports=ports), raw_slice("dns", "10.244.1.2", ports=numbers)
    )
    assert resolve(table, "10.96.0.10 . tcp . 53") == {"10.244.1.2 . 1"}
    assert resolve(table, "10.96.0.10 . udp . 53") == {"10.244.1.2 . 2"}


READY, ENDING, DOWN = (
    {"ready": True},
    {"ready": False, "serving": True, "terminating": True},
    {"ready": False, "serving": False, "terminating": True},
)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ((READY, ENDING), {"10.244.1.2"}),
        ((ENDING, ENDING), {"10.244.1.2", "10.244.1.3"}),
        ((ENDING, DOWN), {"10.244.1.2"}),
        (({"ready": False}, {}), {"10.244.1.3"}),
        ((DOWN, {"ready": False}), set()),
        (({"ready": False, "terminating": True}, DOWN), {"10.244.1.2"}),
    ],
)
def test_which_endpoints_count(conditions: tuple[dict[str, bool], ...], expected: set[str]) -> None:
    """KEP-1669: those that end are used while nobody else is ready."""
    endpoints = [{"addresses": [f"10.244.1.{i + 2}"], "conditions": c} for i, c in enumerate(conditions)]
    table = rules(raw_service("a", clusterIP="10.96.0.1"), raw_slice("a", endpoints=endpoints))
    assert resolve(table, "10.96.0.1 . tcp . 80") == {f"{a} . 8080" for a in expected}


def test_a_pod_that_ends_gives_way_to_the_next_one_of_its_address() -> None:
    """Both are in slices for a while, and a pod that isn't ready yet is nobody to send to (addEndpoints)."""
    for conditions, expected in (({"ready": False}, set()), ({"ready": True}, {"10.244.1.2 . 8080"})):
        first, second = ([{"addresses": ["10.244.1.2"], "conditions": c}] for c in (ENDING, conditions))
        slices = [raw_slice("a", endpoints=first), raw_slice("a", "10.244.1.2", endpoints=second)]
        for order in (slices, slices[::-1]):
            table = rules(raw_service("a", clusterIP="10.96.0.1"), *order)
            assert resolve(table, "10.96.0.1 . tcp . 80") == expected


UNPROXIED = pytest.mark.parametrize(
    "label", [{"service.kubernetes.io/service-proxy-name": "other"}, {"service.kubernetes.io/headless": ""}]
)


@UNPROXIED
def test_a_service_of_another_proxy_is_left_alone(label: dict[str, str]) -> None:
    """KEP-2447, and cmd/kube-proxy/app/server.go: the label says whose it is."""
    table = rules(raw_service("a", clusterIP="10.96.0.1", labels=label), raw_slice("a", "10.244.1.2"))
    assert not entered(table, "10.96.0.1 . tcp . 80")


@UNPROXIED
def test_endpoints_of_another_proxy_are_left_alone(label: dict[str, str]) -> None:
    labels = {"kubernetes.io/service-name": "a", **label}
    slices = [
        raw_slice("a", "10.244.1.2"),
        raw_slice("a", "10.244.1.3", metadata={"name": "x", "namespace": "default", "labels": labels}),
    ]
    table = rules(raw_service("a", clusterIP="10.96.0.1"), *slices)
    assert resolve(table, "10.96.0.1 . tcp . 80") == {"10.244.1.2 . 8080"}


def test_source_ranges_of_the_other_family_close_nothing() -> None:
    spec = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["2001:db8::/32"]}
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.20"}]}}
    table = rules(
        raw_service("a", clusterIP="10.96.0.1", status=status, **spec), raw_slice("a", "10.244.1.2")
    )
    assert not table.collections["firewalled"].elements


@pytest.mark.parametrize(("given", "allowed"), [("10.0.0.0/24", {"203.0.113.20/32"}), ("10.0.9.0/24", set())])
def test_source_ranges_that_hold_the_node_hold_the_address_itself(given: str, allowed: set[str]) -> None:
    """kube-proxy's allowFromNode: the source of what a node sends to an address that is its own, too."""
    spec = {"type": "LoadBalancer", "loadBalancerSourceRanges": [given]}
    table = rules(raw_service("a", clusterIP="10.96.0.1", status=VIP, **spec), raw_slice("a", "10.244.1.2"))
    found = {key.rpartition(" . ")[2] for key in table.collections["firewall-allowed"].elements}
    assert found == {given, *allowed}


def test_endpoints_of_several_slices_count_once() -> None:
    table = rules(
        raw_service("a", clusterIP="10.96.0.1"),
        raw_slice("a", "10.244.1.2", "10.244.1.3"),
        raw_slice("a", "10.244.1.3", "10.244.1.4", "10.244.1.5"),
        raw_slice("a", "10.244.9.9", namespace="other"),
        raw_slice("a", "fd00::1", "fd00::2", "fd00::3", "fd00::4", addressType="IPv6"),
    )
    assert resolve(table, "10.96.0.1 . tcp . 80") == {f"10.244.1.{i} . 8080" for i in range(2, 6)}


@pytest.mark.parametrize("affinity", ["None", "ClientIP"])
def test_a_service_with_endpoints_of_ipv6_alone_has_none(affinity: str) -> None:
    """Its IPv4 addresses are those of kube-proxy's proxier for IPv4, which has an eye for slices of IPv4 only."""
    service = raw_service("a", clusterIP="10.96.0.1", sessionAffinity=affinity, externalIPs=["192.0.2.7"])
    table = rules(service, raw_slice("a", "fd00::1", "fd00::2", addressType="IPv6"))
    assert table == rules(service)
    assert table.collections["no-endpoint-services"].elements["10.96.0.1 . tcp . 80"] == "goto refuse"


def test_the_pod_network_is_the_clusters() -> None:
    from ipaddress import ip_network

    cluster = Cluster(
        pod_cidrs=(ip_network("10.50.0.0/16"), ip_network("fd00::/56")),
        service_cidrs=(ip_network("10.60.0.0/16"),),
    )
    table = rules(raw_service("a", clusterIP="10.60.0.1"), raw_slice("a", "10.50.1.2"), cluster=cluster)
    assert table.chains["cluster-tcp-1"][1] == f"ip saddr != {{ 10.50.0.0/16 }} {MARKS}"
    assert table.chains["cluster-ips-check"][2] == "ip daddr { 10.60.0.0/16 } drop"


def test_the_order_of_objects_means_nothing_for_what_is_reached() -> None:
    objects = [
        *(raw_service(f"s{i}", clusterIP=f"10.96.0.{i}") for i in range(4)),
        *(raw_slice(f"s{i}", "10.244.1.2", "10.244.1.3") for i in range(4)),
    ]
    assert rules(*objects) == rules(*reversed(objects))


STEPS = st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=2)


@examples(60)
@given(STEPS, st.integers(1, 9))
def test_on_the_way_from_a_table_to_the_next_connections_go_as_before_or_as_after(
    steps: list[list[int]], most: int
) -> None:
    """Whatever is done in one transaction."""
    before, after = (
        rules(
            *(raw_service(f"s{i}", clusterIP=f"10.96.0.{i}") for i in range(4)),
            *(
                raw_slice(f"s{i}", *(f"10.244.{step}.{i * 10 + e}" for e in range(count)))
                for i, count in enumerate(counts)
            ),
        )
        for step, counts in enumerate(steps)
    )
    keys = [f"10.96.0.{i} . tcp . 80" for i in range(4)]
    ends = [[resolve(table, key) for key in keys] for table in (before, after)]
    seen = [[resolve(table, key) for key in keys] for table in ruleset_stages(before, after, most)]
    assert all(state in ends for state in seen)
    assert seen[-1] == ends[-1]
    assert seen == sorted(seen, key=ends.index), "there is no way back"
