"""emulab's own kinds: what is refused, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import accepted, described, refused

from emulab.kinds.emulab.cluster import MAX_NODES, MODES
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER, NETWORKS, around, carries

LABEL = "(a-z, 0-9 and inside '-', at most 63)"
OUTSIDE = "overlaps with a network outside the cluster (10.0.0.0/24 and the public ones)"

POD_NETWORKS = [(plugin, mode) for plugin, modes in NETWORKS.items() for mode in modes]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"nodes": 0}, "nodes: 0 nodes are too few: a lab has one at least"),
        ({"nodes": MAX_NODES + 1}, f"nodes: {MAX_NODES + 1} nodes are too many: {MAX_NODES} at most"),
        ({"nodes": "3"}, f'nodes: "3" is not a number of nodes (1-{MAX_NODES}); write it without quotes'),
        ({"nodes": True}, f"nodes: true is not a number of nodes (1-{MAX_NODES})"),
        (
            {"pods": {"runtime": "crum"}},
            'pods.runtime: "crum" is not one of builtin, crun, runc',
        ),
        ({"nodes": []}, "nodes: 0 nodes are too few: a lab has one at least"),
        ({"nodes": [{"zone": "a"}]}, "nodes[0].name: is required"),
        (
            {"nodes": [{"name": "a", "capacity": {"cpu": "many"}}]},
            'nodes[0].capacity.cpu: "many": quantities must match the regular expression '
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            {"nodes": [{"name": "a", "capacity": {"memory": "100m"}}]},
            "nodes[0].capacity.memory: must be an integer",
        ),
        (
            {"nodes": [{"name": "a", "capacity": {"cpu": -1}}]},
            "nodes[0].capacity.cpu: must be greater than or equal to 0",
        ),
        (
            {"nodes": [{"name": "a", "capacity": {"ram": 1}}]},
            "nodes[0].capacity.ram: is no resource: cpu, ephemeral-storage, memory, pods, hugepages-SIZE, or a name "
            "with a domain, example.com/gpu",
        ),
        ({"nodes": ["a"]}, 'nodes[0]: "a" is not a mapping'),
        ({"nodes": [{"name": "a"}, {"name": "a"}]}, 'nodes[1].name: "a" is already the name of item 0'),
        ({"nodes": [{"name": "a.b"}]}, f'nodes[0].name: "a.b" is not a DNS label {LABEL}'),
        ({"nodes": [{"name": "dns"}]}, 'nodes[0].name: "dns" is the name of another place of the lab'),
        (
            {"nodes": [{"name": f"n{n}"} for n in range(MAX_NODES + 1)]},
            f"nodes: {MAX_NODES + 1} nodes are too many: {MAX_NODES} at most",
        ),
        ({"podCIDR": "10.244.0.0"}, 'podCIDR: "10.244.0.0" is not a CIDR such as 10.0.0.0/24'),
        (
            {"network": {"cni": "a/b"}},
            'network.cni: "a/b" is not the name of a plug-in, such as bridge',
        ),
        (
            {"network": {"plugin": "a/b"}},
            'network.plugin: "a/b" is not the name of a plug-in, such as bridge',
        ),
        (
            {"network": {"plugin": "flannel", "mode": "vlan"}},
            'network.mode: "vlan" is not one of vxlan, routed, wireguard, ipip, bgp',
        ),
        (
            {"network": {"plugin": "bridge", "mode": "vxlan"}},
            "network.mode: bridge has no mode vxlan; it has routed",
        ),
        (
            {"network": {"plugin": "kindnet", "mode": "bgp"}},
            "network.mode: kindnet has no mode bgp; it has routed",
        ),
        (
            {"network": {"cni": "bridge", "mode": "ipip"}},
            "network.mode: there is no mode ipip for pods of this machine's plug-ins; there are vxlan, routed and"
            " wireguard",
        ),
        ({"network": {"cni": {}}}, "network.cni.plugins: is required"),
        ({"network": {"cni": {"plugins": []}}}, "network.cni.plugins: must not be empty"),
        ({"network": {"cni": {"plugins": [{"mtu": 1}]}}}, "network.cni.plugins[0].type: is required"),
        (
            {"network": {"cni": {"cniVersion": "0.2.0", "plugins": [{"type": "a"}]}}},
            'network.cni.cniVersion: "0.2.0" is not one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
        ),
        (
            {"network": {"plugin": "flannel", "cni": {"plugins": [{"type": "a"}]}}},
            "network.plugin: says what makes pods' networks, and so does cni: leave one out",
        ),
        ({"podCIDR": 10}, "podCIDR: 10 is not a CIDR such as 10.0.0.0/24"),
        ({"podCIDR": "10.244.0.0/33"}, 'podCIDR: "10.244.0.0/33" is not a CIDR such as 10.0.0.0/24'),
        ({"podCIDR": "10.244.0.0/25"}, "podCIDR: 10.244.0.0/25 is too small: it must be a /24 or larger"),
        ({"podCIDR": "10.244.0.0/24"}, "podCIDR: 10.244.0.0/24 has room for 1 nodes, not for 2"),
        (
            {"podCIDR": "224.0.0.0/16"},
            "podCIDR: 224.0.0.0/16 overlaps with 224.0.0.0/4, the multicast addresses",
        ),
        (
            {"serviceCIDR": "10.96.0.0/12,fe80::/112"},
            "serviceCIDR: fe80::/112 overlaps with fe80::/10, the link-local addresses, where pods have their gateway",
        ),
        ({"podCIDR": "10.0.0.0/16"}, f"podCIDR: 10.0.0.0/16 {OUTSIDE}"),
        (
            {"podCIDR": "10.244.0.0/16,10.245.0.0/16"},
            'podCIDR: "10.244.0.0/16,10.245.0.0/16" may hold one CIDR of each IP family',
        ),
        (
            {"podCIDR": "10.96.0.0/16"},
            "podCIDR: the pods' 10.96.0.0/16 and the services' 10.96.0.0/12 overlap",
        ),
        (
            {"serviceCIDR": "10.244.1.0/24"},
            "serviceCIDR: the pods' 10.244.0.0/16 and the services' 10.244.1.0/24 overlap",
        ),
        (
            {"serviceCIDR": "10.50.0.0/28"},
            "serviceCIDR: 10.50.0.0/28 is too small: it must be a /27 or larger",
        ),
        ({"serviceCIDR": "203.0.113.0/25"}, f"serviceCIDR: 203.0.113.0/25 {OUTSIDE}"),
        (
            {"clusterDomain": "Cluster"},
            "clusterDomain: \"Cluster\" is not a DNS name (a-z, 0-9 and inside '-' and '.', at most 253)",
        ),
        (
            {"network": {"mode": "flannel"}},
            'network.mode: "flannel" is not one of vxlan, routed, wireguard, ipip, bgp',
        ),
        ({"network": {"mtu": 575}}, "network.mtu: 575 is not an MTU (576-9216)"),
        ({"network": {"mtu": 9217}}, "network.mtu: 9217 is not an MTU (576-9216)"),
        ({"network": {"underlay": "10.0.0"}}, 'network.underlay: "10.0.0" is not a CIDR such as 10.0.0.0/24'),
        (
            {"network": {"underlay": "10.0.0.0/25"}},
            "network.underlay: 10.0.0.0/25 must be a /24 or larger, and a /8 at most",
        ),
        (
            {"network": {"underlay": "0.0.0.0/7"}},
            "network.underlay: 0.0.0.0/7 must be a /24 or larger, and a /8 at most",
        ),
        (
            {"network": {"underlay": "0.0.0.0/8"}},
            "network.underlay: 0.0.0.0/8 overlaps with 0.0.0.0/8, addresses of this very host (RFC 791)",
        ),
        (
            {"network": {"underlay": "127.1.0.0/16"}},
            "network.underlay: 127.1.0.0/16 overlaps with 127.0.0.0/8, the loopback addresses",
        ),
        (
            {"network": {"underlay": "169.254.0.0/16"}},
            "network.underlay: 169.254.0.0/16 overlaps with 169.254.0.0/16, the link-local addresses, where pods have"
            " their gateway",
        ),
        (
            {"network": {"underlay": "239.0.0.0/8"}},
            "network.underlay: 239.0.0.0/8 overlaps with 224.0.0.0/4, the multicast addresses",
        ),
        (
            {"network": {"underlay": "250.0.0.0/8"}},
            "network.underlay: 250.0.0.0/8 overlaps with 240.0.0.0/4, addresses that are reserved (RFC 1112)",
        ),
        (
            {"network": {"underlay": "fd00::/64"}},
            "network.underlay: fd00::/64 is of IPv6, which the lab hasn't: its nodes have IPv4",
        ),
        (
            {"network": {"underlay": "10.8.0.0/16,10.9.0.0/16"}},
            'network.underlay: "10.8.0.0/16,10.9.0.0/16" may hold one CIDR of each IP family',
        ),
        ({"network": {"underlay": "10.8.0.0/16,"}}, 'network.underlay: "" is not a CIDR such as 10.0.0.0/24'),
        (
            {"network": {"underlay": "10.244.8.0/24"}},
            "network.underlay: 10.244.8.0/24 overlaps with the pods' 10.244.0.0/16",
        ),
        (
            {"network": {"underlay": "10.0.0.0/8"}, "podCIDR": "172.16.0.0/16"},
            "network.underlay: 10.0.0.0/8 overlaps with the services' 10.96.0.0/12",
        ),
        (
            {"network": {"underlay": "203.0.0.0/16"}},
            "network.underlay: 203.0.0.0/16 overlaps with the public 203.0.113.0/24",
        ),
        (
            {"nodes": 201},
            "nodes: 10.0.0.0/24 has room for 200 nodes, not for 201; network.underlay takes a larger one",
        ),
        (
            {"nodes": 300, "network": {"underlay": "172.16.0.0/16"}},
            "podCIDR: 10.244.0.0/16 has room for 256 nodes, not for 300",
        ),
        (
            {"podCIDR": "fd00:244::/56"},
            "podCIDR: pods would have IPv6, and Services IPv4: give podCIDR and serviceCIDR the same families in one"
            " order, or say network.families",
        ),
        (
            {"podCIDR": "10.8.0.0/16,fd00:8::/48", "serviceCIDR": "fd00:9::/112,10.9.0.0/16"},
            "podCIDR: pods would have IPv4 and IPv6, and Services IPv6 and IPv4: give podCIDR and serviceCIDR the same"
            " families in one order",
        ),
        (
            {"podCIDR": "fd00:8::/48", "network": {"families": ["IPv4", "IPv6"]}},
            "podCIDR: fd00:8::/48 is of IPv6, and network.families says IPv4 and IPv6",
        ),
        (
            {"network": {"plugin": "calico", "mode": "ipip", "families": ["IPv4", "IPv6"]}},
            "network.mode: ipip carries IPv4 alone, and pods have IPv6, too",
        ),
        (
            {"network": {"links": [{"from": "zone/zone-a", "to": "zone-b", "delay": "2ms"}]}},
            'network.links[0].to: "zone-b" is not a zone, such as zone/zone-a',
        ),
        (
            {"network": {"links": [{"from": "zone/zone-a", "to": "zone/zone-c", "delay": "2ms"}]}},
            "network.links[0].to: no node is in zone/zone-c; there is zone/zone-a, zone/zone-b",
        ),
        (
            {"network": {"links": [{"from": "zone/zone-a", "to": "zone/zone-a", "rate": "1gbit"}]}},
            "network.links[0].to: zone/zone-a is where the link comes from: nodes of one zone are close",
        ),
        (
            {"network": {"links": [{"from": "zone/zone-a", "to": "zone/zone-b", "delay": "0"}]}},
            "network.links[0]: changes nothing without delay, rate or loss: say one of them",
        ),
        (
            {"network": {"links": [{"from": "zone/zone-a", "to": "zone/zone-b", "loss": "101%"}]}},
            'network.links[0].loss: "101%" is not a percentage above 0, as 5%',
        ),
        (
            {"network": {"links": [{"from": "zone/zone-a", "to": "zone/zone-b", "jitter": "5ms"}]}},
            "network.links[0].jitter: is how much longer or shorter delay may be, and there is none: say delay, too",
        ),
        (
            {"network": {"links": [{"from": "zone/zone-a", "to": "zone/zone-b", "rate": "fast"}]}},
            'network.links[0].rate: "fast" is not a rate from 8kbit to 100gbit, as 10mbit',
        ),
        (
            {
                "network": {
                    "links": [
                        {"from": "zone/zone-a", "to": "zone/zone-b", "rate": "1gbit"},
                        {"from": "zone/zone-b", "to": "zone/zone-a", "delay": "2ms"},
                    ]
                }
            },
            "network.links[1]: is a link between two zones that have one already",
        ),
        ({"network": {"families": []}}, "network.families: must not be empty"),
        ({"network": {"families": ["IPv6", "IPv6"]}}, "network.families[1]: IPv6 is there twice"),
        ({"network": {"families": ["ipv6"]}}, 'network.families[0]: "ipv6" is not one of IPv4, IPv6'),
        (
            {"network": {"families": ["IPv6"], "mtu": 1349}},
            "network.mtu: 1349 is too small: IPv6 needs links of 1280 bytes (RFC 8200), and VXLAN takes 70: 1350 at"
            " least",
        ),
        (
            {"network": {"families": ["IPv4", "IPv6"], "mtu": 1279, "mode": "routed"}},
            "network.mtu: 1279 is too small: IPv6 needs links of 1280 bytes (RFC 8200)",
        ),
        (
            {"network": {"families": ["IPv6"], "underlay": "10.8.0.0/16"}},
            "network.underlay: 10.8.0.0/16 is of IPv4, which the lab hasn't: its nodes have IPv6",
        ),
        (
            {"network": {"families": ["IPv4", "IPv6"], "underlay": "10.8.0.0/16,fd00:8::/121"}},
            "network.underlay: fd00:8::/121 must be a /120 or larger, and a /32 at most",
        ),
        (
            {"network": {"families": ["IPv6"], "underlay": "fd00::/31"}},
            "network.underlay: fd00::/31 must be a /120 or larger, and a /32 at most",
        ),
        (
            {"network": {"families": ["IPv6"], "underlay": "fe80:8::/64"}},
            "network.underlay: fe80:8::/64 overlaps with fe80::/10, the link-local addresses, where pods have their"
            " gateway",
        ),
        (
            {"network": {"families": ["IPv6"], "underlay": "ff05::/64"}},
            "network.underlay: ff05::/64 overlaps with ff00::/8, the multicast addresses",
        ),
        (
            {"network": {"families": ["IPv6"], "underlay": "fd00:244:0:1::/64"}},
            "network.underlay: fd00:244:0:1::/64 overlaps with the pods' fd00:244::/48",
        ),
        (
            {"network": {"families": ["IPv4", "IPv6"], "underlay": "fd00:96::/64"}},
            "network.underlay: fd00:96::/64 overlaps with the services' fd00:96::/112",
        ),
        (
            {"network": {"families": ["IPv6"], "underlay": "2001:db8::/32"}},
            "network.underlay: 2001:db8::/32 overlaps with the public 2001:db8:1::/64",
        ),
        (
            {"nodes": 201, "network": {"families": ["IPv6"], "underlay": "fd00:8::/120"}},
            "nodes: fd00:8::/120 has room for 200 nodes, not for 201; network.underlay takes a larger one",
        ),
        (
            {"dns": {"nodeLocalCache": True}, "network": {"families": ["IPv6"], "underlay": "fd00:20::/64"}},
            "network.underlay: fd00:20::/64 has fd00:20::10 in it, where DNS caches of nodes answer",
        ),
        (
            {"podCIDR": "fd00:10::/48", "network": {"families": ["IPv6"]}},
            "podCIDR: fd00:10::/48 overlaps with a network outside the cluster (fd00:10::/64 and the public ones)",
        ),
        (
            {"proxy": {"mode": "bpf"}},
            'proxy.mode: "bpf" is not one of nftables, iptables, ipvs, userspace, ebpf, kube-router',
        ),
        (
            {"proxy": {"mode": "kube-router"}},
            "proxy.mode: kube-router goes with network.plugin kube-router alone",
        ),
        (
            {"proxy": {"mode": "ebpf"}, "network": {"cni": "bridge"}},
            "proxy.mode: ebpf needs links that the lab makes itself, and network.cni has plug-ins make them",
        ),
        ({"ingress": {"workers": 0}}, "ingress.workers: 0 is not a number (1-64)"),
        ({"ingress": {"upstream": "pods"}}, 'ingress.upstream: "pods" is not one of service, endpoints'),
        (
            {"ingress": {"classes": ["A b"]}},
            "ingress.classes[0]: \"A b\" is not a DNS name (a-z, 0-9 and inside '-' and '.', at most 253)",
        ),
        (
            {"proxy": {"conntrack": {"udpTimeout": "1d"}}},
            'proxy.conntrack.udpTimeout: "1d" is not a duration of whole seconds, such as 24h0m0s',
        ),
        ({"ingress": {"replicas": -1}}, "ingress.replicas: -1 is not a number of 0 or more"),
    ],
)
def test_clusters(spec: dict[str, Any], problem: str) -> None:
    assert refused(described("Cluster", spec)) == [f"spec.{problem}"]


@pytest.mark.parametrize("mode", MODES["proxy.mode"])
def test_proxy_modes(mode: str) -> None:
    network = {"network": {"plugin": mode}} if mode == KUBE_ROUTER else {}
    assert accepted(described("Cluster", {"proxy": {"mode": mode}, **network}))


@pytest.mark.parametrize(("plugin", "mode"), POD_NETWORKS)
def test_networks_of_pods(plugin: str, mode: str) -> None:
    assert accepted(described("Cluster", {"network": {"plugin": plugin, "mode": mode}}))
    assert accepted(described("Cluster", {"network": {"plugin": plugin}}))


@pytest.mark.parametrize("mtu", [576, 1500, 9216])
def test_sound_clusters(mtu: int) -> None:
    assert accepted(described("Cluster", {"nodes": 200, "network": {"mtu": mtu}}))


def test_a_large_cluster() -> None:
    spec = {"nodes": MAX_NODES, "podCIDR": "10.240.0.0/12", "network": {"underlay": "172.16.0.0/16"}}
    (o,) = accepted(described("Cluster", spec))
    assert list(map(str, Cluster.of(o).vpcs)) == ["172.16.0.0/16"]


@pytest.mark.parametrize(("plugin", "mode"), [pair for pair in POD_NETWORKS if carries(pair[1], 6)])
def test_a_cluster_of_ipv6(plugin: str, mode: str) -> None:
    """As many nodes as there may be at all, with links as narrow as IPv6 has them."""
    own = {"plugin": plugin, "mode": mode}
    network = {"families": ["IPv6"], "mtu": 1280 + around(mode, 6), **own}
    (o,) = accepted(described("Cluster", {"nodes": MAX_NODES, "network": network}))
    assert [str(net) for net in (*Cluster.of(o).pod_cidrs, *Cluster.of(o).service_cidrs)] == [
        "fd00:244::/48",
        "fd00:96::/112",
    ]


@pytest.mark.parametrize(
    ("spec", "networks"),
    [
        ({"network": {"families": ["IPv6"]}}, ["fd00:10::/64"]),
        ({"network": {"families": ["IPv6"], "underlay": "fd00:8::/120"}}, ["fd00:8::/120"]),
        ({"network": {"families": ["IPv6", "IPv4"]}}, ["fd00:10::/64", "10.0.0.0/24"]),
        (
            {"network": {"families": ["IPv6", "IPv4"], "underlay": "172.16.0.0/16"}},
            ["fd00:10::/64", "172.16.0.0/16"],
        ),
        (
            {"network": {"families": ["IPv6", "IPv4"], "underlay": "172.16.0.0/16, fd00:8::/56"}},
            ["fd00:8::/56", "172.16.0.0/16"],
        ),
        (
            {"podCIDR": "fd00:10::/48", "network": {"families": ["IPv6"], "underlay": "fd00:8::/64"}},
            ["fd00:8::/64"],
        ),
    ],
)
def test_the_nodes_have_a_network_of_each_family(spec: dict[str, Any], networks: list[str]) -> None:
    """In the families' order, whatever theirs is; what isn't said is by default."""
    (o,) = accepted(described("Cluster", spec))
    assert list(map(str, Cluster.of(o).vpcs)) == networks


def test_an_underlay_makes_room_for_others_where_it_is_not() -> None:
    spec = {"podCIDR": "10.0.0.0/16", "network": {"underlay": "172.16.0.0/24"}}
    assert accepted(described("Cluster", spec))


def test_balancers_are_where_the_underlay_is() -> None:
    cluster = described("Cluster", {"network": {"underlay": "172.16.0.0/16"}})
    balancer = {"address": "172.16.1.0", "ports": [80], "target": {"ingress": True}}
    assert accepted(cluster, described("LoadBalancer", balancer))
    assert refused(cluster, described("LoadBalancer", {**balancer, "address": "10.0.0.100"})) == [
        "spec.address: 10.0.0.100 is not in 172.16.0.0/16, the addresses of network vpc"
    ]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"network": "public"}, 'network: "public" is not one of vpc, internet'),
        ({"address": "10.0.0"}, 'address: "10.0.0" is not an IP address'),
        (
            {"address": "203.0.113.9"},
            "address: 203.0.113.9 is not in 10.0.0.0/24, the addresses of network vpc",
        ),
        (
            {"network": "internet", "address": "10.0.0.100"},
            "address: 10.0.0.100 is not in 203.0.113.0/24, the addresses of network internet",
        ),
        ({"address": "fd00::1"}, "address: fd00::1 is not in 10.0.0.0/24, the addresses of network vpc"),
        ({"address": "10.0.0.0"}, "address: 10.0.0.0 is not an address of a host in 10.0.0.0/24"),
        ({"address": "10.0.0.255"}, "address: 10.0.0.255 is not an address of a host in 10.0.0.0/24"),
        ({"network": "internet", "address": "203.0.113.1"}, "address: 203.0.113.1 is the NAT gateway's"),
        ({"address": "10.0.0.1"}, "address: 10.0.0.1 is the router's"),
        (
            {"network": "internet", "address": "203.0.113.10"},
            "address: 203.0.113.10 is already that of public-lb",
        ),
        ({"ports": []}, "ports: must not be empty"),
        ({"ports": [0]}, "ports[0]: 0 is not a port (1-65535)"),
        ({"ports": [80, 443, 80]}, "ports[2]: 80 is given twice"),
        ({"target": {}}, "target: needs exactly one of ingress, service; it has none"),
        ({"target": {"ingress": False}}, "target.ingress: must be true, or left out"),
        (
            {"target": {"ingress": True, "service": {"name": "db", "port": 1}}},
            "target: needs exactly one of ingress, service; not ingress and service together",
        ),
        ({"target": {"service": {"name": "db"}}}, "target.service.port: is required"),
        ({"sourceRanges": ["10.0.0.1"]}, 'sourceRanges[0]: "10.0.0.1" is not a CIDR such as 10.0.0.0/24'),
    ],
)
def test_load_balancers(spec: dict[str, Any], problem: str) -> None:
    assert refused(described("LoadBalancer", spec, "lb")) == [f"spec.{problem}"]


def test_public_lb_may_be_redefined_with_its_own_address() -> None:
    spec = {"network": "internet", "address": "203.0.113.10", "ports": [80]}
    assert accepted(described("LoadBalancer", spec, "public-lb"))


def test_clients() -> None:
    assert refused(described("Client", {"network": "lan"}, "c")) == [
        'spec.network: "lan" is not one of vpc, internet'
    ]
    assert accepted(described("Client", {"network": "vpc"}, "client"))


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({}, ".type: is required"),
        ({"type": "a", "value": "x"}, '.type: "a" is not one of A, AAAA, CNAME, NS, PTR, TXT, MX, SRV, CAA'),
        ({"type": "A", "value": "fd00::1"}, '.value: "fd00::1" is not an IPv4 address'),
        ({"type": "A", "value": "host"}, '.value: "host" is not an IPv4 address'),
        ({"type": "AAAA", "value": "10.0.0.1"}, '.value: "10.0.0.1" is not an IPv6 address'),
        ({"type": "CNAME", "name": "a", "value": "a..b"}, '.value: "a..b" is not a DNS name'),
        (
            {"type": "A", "name": "*.bücher", "value": "192.0.2.1"},
            '.name: "*.bücher" is *.xn--bcher-kva in the DNS: write it so',
        ),
        (  # which IDNA of 2003 has for another name than RFC 5890 does
            {"type": "A", "name": "straße", "value": "192.0.2.1"},
            '.name: "straße" is not @, * or a name relative to the zone',
        ),
        (
            {"type": "A", "name": "bü cher", "value": "192.0.2.1"},
            '.name: "bü cher" is not @, * or a name relative to the zone',
        ),
        ({"type": "CNAME", "value": "b"}, ".type: the zone's own name cannot be a CNAME"),
        (
            {"type": "CAA", "value": "256 issue x"},
            '.value: "256 issue x" is not an authorization of a certificate authority such as 0 issue'
            ' "letsencrypt.org"',
        ),
        ({"type": "TXT", "value": '"a'}, '.value: "\\"a" has a quotation that doesn\'t end'),
        (
            {"type": "TXT", "value": f'"{"x" * 256}"'},
            f'.value: "\\"{"x" * 56}… has a string of more than 255 octets: make it several',
        ),
        (
            {"type": "A", "value": "10.0.0.1", "name": ".".join(["x" * 62] * 4)},
            ".name: is too long with the zone's name behind it",
        ),
        ({"type": "TXT", "value": 5}, ".value: 5 is not a string; put it in quotes"),
        (
            {"type": "MX", "value": "mail"},
            '.value: "mail" is not a mail exchange such as "10 mail.example.com"',
        ),
        (
            {"type": "SRV", "value": "0 5 70000 sip"},
            '.value: "0 5 70000 sip" is not a service location "PRIORITY WEIGHT PORT TARGET" '
            'such as "0 5 5060 sip.example.com"',
        ),
        ({"type": "A", "value": "10.0.0.1", "ttl": -1}, ".ttl: -1 is not a number of seconds (0-2147483647)"),
        (
            {"type": "A", "value": "10.0.0.1", "name": "a b"},
            '.name: "a b" is not @, * or a name relative to the zone',
        ),
    ],
)
def test_records(record: dict[str, Any], problem: str) -> None:
    found = refused(described("Zone", {"records": [record]}, "abc.com"))
    assert found[0] == f"spec.records[0]{problem}"


def test_sound_records() -> None:
    records = [
        {"name": "@", "type": "A", "value": "203.0.113.10"},
        {"name": "*", "type": "A", "value": "203.0.113.10"},
        {"name": "*.dev", "type": "AAAA", "value": "fd00::1"},
        {"name": "www.a", "type": "CNAME", "value": "app.example.com.", "ttl": 0},
        {"name": "_sip._tcp", "type": "SRV", "value": "0 5 5060 sip"},
        {"type": "MX", "value": "10 mail.example.com"},
        {"type": "TXT", "value": ""},
        {"type": "NS", "value": "dns.example.com."},
        {"name": "10", "type": "PTR", "value": "host.example.com."},
    ]
    assert accepted(described("Zone", {"visibility": "private", "records": records}, "abc.com"))


_A = {"name": "www", "type": "A"}
_SOME = 'of "www" A some records have weight and others don\'t: all have it, or none'


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([{"weight": 256}], "[0].weight: 256 is not a weight (0-255)"),
        ([{"failover": "third"}], '[0].failover: "third" is not one of primary, secondary'),
        (
            [{"weight": 1}, {}],
            '[1]: of "www" A some records have weight and others don\'t: all have it, or none',
        ),
        (
            [{}, {"weight": 1}],
            '[1].weight: of "www" A some records have weight and others don\'t: all have it, or none',
        ),
        (
            [{"weight": 1, "failover": "primary"}],
            "[0].failover: goes with weight in no record: it is by weight, or by failover",
        ),
        ([{"setIdentifier": "blue"}], "[0].setIdentifier: needs weight or failover"),
        (
            [{"weight": 1, "setIdentifier": "blue"}, {"weight": 2, "setIdentifier": "blue"}],
            "[1].weight: 2 is not that of the same setIdentifier before",
        ),
        (
            [{"type": "CNAME", "value": "a.test", "weight": 1, "healthCheck": {}}],
            "[0].healthCheck: needs address, loadBalancer or service: a record of type CNAME has no address itself",
        ),
        (
            [{"healthCheck": {"loadBalancer": "public-lb", "path": "/"}}],
            "[0].healthCheck.path: loadBalancer says it all, so there is no path beside it",
        ),
        (
            [{"healthCheck": {"protocol": "TCP", "path": "/"}}],
            "[0].healthCheck.path: needs protocol: HTTP or HTTPS",
        ),
        (
            [{"type": "CNAME", "value": "a.test", "weight": 1}, {"type": "CNAME", "value": "b.test"}],
            '[0].name: "www" has other records, so it cannot be a CNAME',
        ),
    ],
)
def test_records_by_weight_failover_and_health(records: list[dict[str, Any]], problem: str) -> None:
    given = [{**_A, "value": f"10.0.0.{index}", **record} for index, record in enumerate(records)]
    assert f"spec.records{problem}" in refused(described("Zone", {"records": given}, "abc.com"))


def test_several_aliases_by_weight() -> None:
    given = [{"name": "www", "type": "CNAME", "value": to, "weight": 1} for to in ("a.test", "b.test")]
    assert accepted(described("Zone", {"records": given}, "abc.com"))


def test_zones() -> None:
    assert refused(described("Zone", {"visibility": "all"}, "abc.com")) == [
        'spec.visibility: "all" is not one of public, private'
    ]
    records = [
        {"name": "a", "type": "A", "value": "10.0.0.1"},
        {"name": "A", "type": "CNAME", "value": "b"},
    ]
    assert refused(described("Zone", {"records": records}, "abc.com")) == [
        'spec.records[1].name: "A" has other records, so it cannot be a CNAME'
    ]


@pytest.mark.parametrize(
    ("kind", "spec", "field", "meant"),
    [
        ("Cluster", {"node": 3}, "node", "nodes"),
        ("Cluster", {"nodes": [{"name": "a", "label": {}}]}, "nodes[0].label", "labels"),
        ("Cluster", {"network": {"MTU": 1500}}, "network.MTU", "mtu"),
        ("LoadBalancer", {"sourceRange": ["10.0.0.0/24"]}, "sourceRange", "sourceRanges"),
        ("Zone", {"records": [{"type": "A", "value": "10.0.0.1", "tll": 5}]}, "records[0].tll", "ttl"),
    ],
)
def test_fields_that_there_are_not(kind: str, spec: dict[str, Any], field: str, meant: str) -> None:
    assert refused(described(kind, spec, "x")) == [f'unknown field "spec.{field}"; did you mean {meant}?']


def test_where_nothing_near_is_meant_all_fields_are_told() -> None:
    assert refused(described("Zone", {"quux": 1}, "x")) == [
        'unknown field "spec.quux"; known: visibility, records'
    ]
    spec = {"visibility": "public"}
    assert refused({**described("Zone", spec, "x"), "extra": 1}) == [
        'unknown field "extra"; known: apiVersion, kind, metadata, spec'
    ]


def test_a_resolvers_bounds_agree() -> None:
    assert refused(described("Resolver", {"maxTTL": 10, "minTTL": 60}, "r")) == [
        "spec.minTTL: 60 is more than maxTTL"
    ]
    assert accepted(described("Resolver", {"maxTTL": 60, "minTTL": 60}, "r"))
