"""kube-proxy's iptables rules as text."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from emulab.kinds.core.serviceview import ServicePort
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.modes.iptables import LARGE_CLUSTER, rules
from emulab.plan.proxy.modes.iptablesport import chain_name, probability
from emulab.plan.render import rules_lines
from emulab.plan.rules.iptables_script import table_script


def backend(address: str, node: str = "node1") -> ProxiedEndpoint:
    return ProxiedEndpoint(ip_address(address), 8080, node, True, True, False, (), ())


ONE, TWO = backend("10.244.1.2"), backend("10.244.2.2", "node2")
THREE = backend("10.244.2.3", "node2")
TITLE = "shop/web:http"


def intent(*backends: ProxiedEndpoint, **fields: Any) -> Intent:
    known: dict[str, Any] = {
        "namespace": "shop",
        "name": "web",
        "port": ServicePort("http", "TCP", 80, 8080, fields.get("node_port", 0), ""),
        "cluster_ips": (ip_address("10.96.0.7"),),
        "external_ips": (),
        "balancer_ips": (),
        "source_ranges": (),
        "node_port": 0,
        "internal_local": False,
        "external_local": False,
        "affinity": 0,
        "cluster": backends,
        "local": (),
        "has_any": bool(backends),
    }
    if fields.get("internal_local") or fields.get("external_local"):
        known["local"] = tuple(b for b in backends if b.node == "node1")
    return Intent(**(known | fields))


EXPOSED: dict[str, Any] = {
    "node_port": 30080,
    "external_ips": (ip_address("203.0.113.7"),),
    "balancer_ips": (ip_address("203.0.113.20"),),
}


def chains(*intents: Intent, table: str = "nat") -> dict[str, list[str]]:
    """The rules of each chain of a table."""
    found = rules(intents, Cluster(), IPV4).tables[table]
    return {name: list(lines) for name, lines in found.items()}


def service_chains(*intents: Intent) -> list[str]:
    """The chains that belong to Services alone, as `-A` lines."""
    return [
        f"-A {name} {line}"
        for name, lines in chains(*intents).items()
        if name.startswith(("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"))
        for line in lines
    ]


def expand(text: str) -> list[str]:
    """Lines in which `SVC`, `EXT`, … stand for the chains of shop/web:http and `SEP1`, … for those of endpoints."""
    for number, b in enumerate((ONE, TWO, THREE), start=1):
        text = text.replace(f"SEP{number}", chain_name("SEP", TITLE, "tcp", f"{b.address}:{b.port}"))
    for kind in ("SVC", "SVL", "EXT", "FW"):
        text = re.sub(rf"\b{kind}\b", chain_name(kind, TITLE, "tcp"), text)
    return text.strip().splitlines()


# names and numbers


@pytest.mark.parametrize(
    ("kind", "title", "endpoint", "name"),
    [
        ("SVC", "ns1/svc1:p80", "", "KUBE-SVC-XPGD46QRK7WJZT7O"),
        ("SEP", "ns1/svc1:p80", "10.180.0.1:80", "KUBE-SEP-SXIVWICOYRO3J4NJ"),
        ("EXT", "ns2/svc2:p80", "", "KUBE-EXT-GNZBNJ2PO5MGZ6GT"),
        ("FW", "ns5/svc5:p80", "", "KUBE-FW-NUKIZ6OKUXPJNT4C"),
        ("SVC", "default/kubernetes:https", "", "KUBE-SVC-NPX46M4PTMTKRN6Y"),
    ],
)
def test_chains_have_the_names_that_kube_proxy_gives_them(
    kind: str, title: str, endpoint: str, name: str
) -> None:
    assert chain_name(kind, title, "tcp", endpoint) == name


def test_cluster_dns_has_the_chains_that_every_cluster_shows() -> None:
    assert chain_name("SVC", "kube-system/kube-dns:dns", "udp") == "KUBE-SVC-TCOU7JCQXEZGVUNU"
    assert chain_name("SVC", "kube-system/kube-dns:dns-tcp", "tcp") == "KUBE-SVC-ERIFXISQEP7F7OF4"


def test_probabilities_are_written_with_ten_digits() -> None:
    assert [probability(n) for n in (1, 2, 3)] == ["1.0000000000", "0.5000000000", "0.3333333333"]


# rules


def test_a_lab_without_services_has_the_fixed_chains() -> None:
    assert rules_lines(rules([], Cluster(), IPV4)) == [
        line if line.startswith("*") else f"  {line}" for line in FIXED.strip().splitlines()
    ]


FIXED = """
*filter
:INPUT
:FORWARD
:OUTPUT
:KUBE-SERVICES
:KUBE-EXTERNAL-SERVICES
:KUBE-FORWARD
:KUBE-NODEPORTS
:KUBE-PROXY-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
*nat
:PREROUTING
:OUTPUT
:POSTROUTING
:KUBE-SERVICES
:KUBE-NODEPORTS
:KUBE-POSTROUTING
:KUBE-MARK-MASQ
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j KUBE-NODEPORTS
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
"""  # noqa: E501


def test_a_cluster_ip_with_three_endpoints() -> None:
    assert chains(intent(ONE, TWO, THREE))["KUBE-SERVICES"][:-1] == expand(
        '-m comment --comment "shop/web:http cluster IP" -m tcp -p tcp -d 10.96.0.7 --dport 80 -j SVC'
    )
    assert service_chains(intent(ONE, TWO, THREE)) == expand("""
-A SVC -m comment --comment "shop/web:http cluster IP" -m tcp -p tcp -d 10.96.0.7 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A SVC -m comment --comment "shop/web:http -> 10.244.1.2:8080" -m statistic --mode random --probability 0.3333333333 -j SEP1
-A SVC -m comment --comment "shop/web:http -> 10.244.2.2:8080" -m statistic --mode random --probability 0.5000000000 -j SEP2
-A SVC -m comment --comment "shop/web:http -> 10.244.2.3:8080" -j SEP3
-A SEP1 -m comment --comment shop/web:http -s 10.244.1.2 -j KUBE-MARK-MASQ
-A SEP1 -m comment --comment shop/web:http -m tcp -p tcp -j DNAT --to-destination 10.244.1.2:8080
-A SEP2 -m comment --comment shop/web:http -s 10.244.2.2 -j KUBE-MARK-MASQ
-A SEP2 -m comment --comment shop/web:http -m tcp -p tcp -j DNAT --to-destination 10.244.2.2:8080
-A SEP3 -m comment --comment shop/web:http -s 10.244.2.3 -j KUBE-MARK-MASQ
-A SEP3 -m comment --comment shop/web:http -m tcp -p tcp -j DNAT --to-destination 10.244.2.3:8080
""")  # noqa: E501


def test_affinity_asks_what_an_endpoint_remembers_before_it_chooses() -> None:
    assert service_chains(intent(ONE, TWO, affinity=10800))[1:] == expand("""
-A SVC -m comment --comment "shop/web:http -> 10.244.1.2:8080" -m recent --name SEP1 --rcheck --seconds 10800 --reap -j SEP1
-A SVC -m comment --comment "shop/web:http -> 10.244.2.2:8080" -m recent --name SEP2 --rcheck --seconds 10800 --reap -j SEP2
-A SVC -m comment --comment "shop/web:http -> 10.244.1.2:8080" -m statistic --mode random --probability 0.5000000000 -j SEP1
-A SVC -m comment --comment "shop/web:http -> 10.244.2.2:8080" -j SEP2
-A SEP1 -m comment --comment shop/web:http -s 10.244.1.2 -j KUBE-MARK-MASQ
-A SEP1 -m comment --comment shop/web:http -m recent --name SEP1 --set -m tcp -p tcp -j DNAT --to-destination 10.244.1.2:8080
-A SEP2 -m comment --comment shop/web:http -s 10.244.2.2 -j KUBE-MARK-MASQ
-A SEP2 -m comment --comment shop/web:http -m recent --name SEP2 --set -m tcp -p tcp -j DNAT --to-destination 10.244.2.2:8080
""")  # noqa: E501


def test_external_addresses_lead_to_the_external_chain() -> None:
    found = chains(intent(TWO, **EXPOSED))
    assert found["KUBE-SERVICES"][1:3] == expand("""
-m comment --comment "shop/web:http external IP" -m tcp -p tcp -d 203.0.113.7 --dport 80 -j EXT
-m comment --comment "shop/web:http loadbalancer IP" -m tcp -p tcp -d 203.0.113.20 --dport 80 -j EXT
""")
    assert found["KUBE-NODEPORTS"] == expand(
        "-m comment --comment shop/web:http -m tcp -p tcp --dport 30080 -j EXT"
    )
    assert service_chains(intent(TWO, **EXPOSED))[:2] == expand("""
-A EXT -m comment --comment "masquerade traffic for shop/web:http external destinations" -j KUBE-MARK-MASQ
-A EXT -j SVC
""")


def test_external_policy_local_spares_the_clusters_own_traffic() -> None:
    lines = service_chains(intent(ONE, TWO, external_local=True, **EXPOSED))
    assert lines[:4] == expand("""
-A EXT -m comment --comment "pod traffic for shop/web:http external destinations" -s 10.244.0.0/16 -j SVC
-A EXT -m comment --comment "masquerade LOCAL traffic for shop/web:http external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A EXT -m comment --comment "route LOCAL traffic for shop/web:http external destinations" -m addrtype --src-type LOCAL -j SVC
-A EXT -j SVL
""")  # noqa: E501
    assert lines[7:8] == expand('-A SVL -m comment --comment "shop/web:http -> 10.244.1.2:8080" -j SEP1')
    elsewhere = intent(TWO, external_local=True, **EXPOSED)
    assert service_chains(elsewhere)[:3] == lines[:3]
    assert not any("KUBE-SVL" in line for line in service_chains(elsewhere))
    assert chains(elsewhere, table="filter")["KUBE-EXTERNAL-SERVICES"] == expand("""
-m comment --comment "shop/web:http has no local endpoints" -m tcp -p tcp -d 203.0.113.7 --dport 80 -j DROP
-m comment --comment "shop/web:http has no local endpoints" -m tcp -p tcp -d 203.0.113.20 --dport 80 -j DROP
-m comment --comment "shop/web:http has no local endpoints" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j DROP
""")  # noqa: E501


def test_internal_policy_local_uses_the_local_chain_alone() -> None:
    lines = service_chains(intent(ONE, TWO, internal_local=True, cluster=()))
    assert lines[:2] == expand("""
-A SVL -m comment --comment "shop/web:http cluster IP" -m tcp -p tcp -d 10.96.0.7 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A SVL -m comment --comment "shop/web:http -> 10.244.1.2:8080" -j SEP1
""")  # noqa: E501
    elsewhere = intent(TWO, internal_local=True, cluster=())
    assert service_chains(elsewhere) == []
    assert chains(elsewhere, table="filter")["KUBE-SERVICES"] == expand(
        '-m comment --comment "shop/web:http has no local endpoints" -m tcp -p tcp -d 10.96.0.7 --dport 80 -j DROP'
    )


def test_source_ranges_come_before_the_external_chain() -> None:
    ranges = (ip_network("198.51.100.0/24"),)
    guarded = intent(ONE, source_ranges=ranges, **EXPOSED)
    assert chains(guarded)["KUBE-SERVICES"][2].endswith(expand("-d 203.0.113.20 --dport 80 -j FW")[0])
    firewall = expand("""
-A FW -m comment --comment "shop/web:http loadbalancer IP" -s 198.51.100.0/24 -j EXT
-A FW -m comment --comment "other traffic to shop/web:http will be dropped by KUBE-PROXY-FIREWALL"
""")
    assert service_chains(guarded)[2:4] == firewall
    assert chains(guarded, table="filter")["KUBE-PROXY-FIREWALL"] == expand("""
-m comment --comment "shop/web:http traffic not accepted by FW" -m tcp -p tcp -d 203.0.113.20 --dport 80 -j DROP
""")
    assert not any("KUBE-FW" in line for line in service_chains(intent(source_ranges=ranges, **EXPOSED)))


def test_what_nobody_serves_is_rejected() -> None:
    found = chains(intent(**EXPOSED), table="filter")
    assert found["KUBE-SERVICES"] == expand(
        '-m comment --comment "shop/web:http has no endpoints" -m tcp -p tcp -d 10.96.0.7 --dport 80 -j REJECT'
    )
    assert [line.rpartition(" -j ")[2] for line in found["KUBE-EXTERNAL-SERVICES"]] == ["REJECT"] * 3
    assert service_chains(intent(**EXPOSED)) == []


def test_health_checks_of_balancers_are_let_in() -> None:
    found = chains(intent(ONE, health_check_port=31000), table="filter")
    assert found["KUBE-NODEPORTS"] == [
        '-m comment --comment "shop/web:http health check node port" -m tcp -p tcp --dport 31000 -j ACCEPT'
    ]


def test_large_clusters_have_no_comments_in_the_chains_of_endpoints() -> None:
    many = [
        intent(ONE, TWO, name=f"s{n}", cluster_ips=(ip_address(0x0A600000 + n),))
        for n in range(LARGE_CLUSTER // 2 + 1)
    ]
    assert '"shop/s0:http -> ' in " ".join(service_chains(*many[:-1]))
    lines = service_chains(*many)
    assert not any(" -> " in line for line in lines)
    assert not any("--comment" in line for line in lines if line.startswith("-A KUBE-SEP"))
    assert '--comment "shop/s0:http cluster IP"' in lines[0]


def test_only_what_changed_is_written() -> None:
    before = rules([intent(ONE, TWO), intent(ONE, name="other")], Cluster(), IPV4)
    after = rules([intent(TWO), intent(ONE, name="other")], Cluster(), IPV4)
    assert table_script("filter", before.tables["filter"], after.tables["filter"]) == ""
    assert table_script("nat", before.tables["nat"], after.tables["nat"]).splitlines() == expand("""
*nat
:SVC - [0:0]
:SEP1 - [0:0]
-A SVC -m comment --comment "shop/web:http cluster IP" -m tcp -p tcp -d 10.96.0.7 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A SVC -m comment --comment "shop/web:http -> 10.244.2.2:8080" -j SEP2
-X SEP1
COMMIT
""")  # noqa: E501
