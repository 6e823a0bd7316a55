"""What the records of proxy modes and of pods' networks name is there, and each is known wherever it must be."""

from __future__ import annotations

from emulab.kernel import probe
from emulab.kernel.networkneeds import NEEDS
from emulab.kinds.core.kuberouterservice import DSR, SKIP_BALANCER, TUNNEL
from emulab.kinds.emulab import cluster
from emulab.kinds.emulab.balancing import BALANCER_ENGINES
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER, NETWORK_MODES, NETWORKS, around, carries
from emulab.kinds.images import ENGINES
from emulab.model.families import FAMILIES
from emulab.model.objects import Object
from emulab.plan.cni import OVERLAY_PORTS, PLUGINS, TABLES, mode_of
from emulab.plan.cni.receivers import direct_needs
from emulab.plan.proxy.modes import MODES, is_of_proxies
from emulab.twins.axes import BY_VALUE
from emulab.twins.differences import KNOWN


def test_the_schema_knows_every_mode_and_network() -> None:
    assert {*cluster.MODES["proxy.mode"]} == MODES.keys()
    assert {name: tuple(plugin.modes) for name, plugin in PLUGINS.items()} == NETWORKS
    assert Cluster().proxy_mode in MODES and mode_of(Cluster()) is PLUGINS["flannel"].modes["vxlan"]
    assert all(name == record.name for table in (MODES, PLUGINS) for name, record in table.items())


def test_the_kernel_can_be_asked_for_all_that_modes_need() -> None:
    checks = {check.name for check, _ in probe._networks()} | {"iptables", "ipvs", "dummy", "ebpf"}
    for mode in MODES.values():
        assert mode.needs and all(set(probe._NEEDS[need].features) <= checks for need in mode.needs)
    assert {need for mode in MODES.values() for need in mode.needs} == probe._NEEDS.keys()


def test_every_known_difference_is_of_a_mode_or_an_engine_and_the_other_way_round() -> None:
    assert {*BY_VALUE} <= {*MODES, *ENGINES, *BALANCER_ENGINES}
    assert {name for names in BY_VALUE.values() for name in names} == {known.name for known in KNOWN}


def test_every_mode_says_how_its_rules_are_looked_at() -> None:
    for family in FAMILIES:
        shown = {name: mode.shown_by(family) for name, mode in MODES.items()}
        assert shown["nftables"] == f"nft list table {family.nft} kube-proxy"
        assert shown["iptables"] == f"{family.iptables}-save -t nat"
        assert is_of_proxies(family.iptables) and is_of_proxies(f"{family.nft} kube-proxy")
    assert not any(is_of_proxies(f"ip {table}") for table in TABLES)


def test_overlays_say_what_is_theirs() -> None:
    assert frozenset({8472, 4789, 51820, 51821}) == OVERLAY_PORTS
    found = {m: [around(m, f.version) for f in FAMILIES if carries(m, f.version)] for m in NETWORK_MODES}
    assert found == {"vxlan": [50, 70], "routed": [0, 0], "ipip": [20], "bgp": [0, 0], "wireguard": [80, 80]}
    networks = {need for p in PLUGINS.values() for mode in p.modes.values() for need in mode.needs}
    cluster = Cluster(network_plugin=KUBE_ROUTER, proxy_mode=KUBE_ROUTER, families=FAMILIES)
    needs = direct_needs([direct("LoadBalancer")], cluster)
    assert {*networks, *needs} == NEEDS.keys() and needs == ["ipip", "ip6_tunnel"]
    assert direct_needs([direct("LoadBalancer", SKIP_BALANCER)], cluster) == ["ipip"]
    assert direct_needs([direct("ExternalName")], cluster) == []


def direct(kind: str, *annotations: str) -> Object:
    """A Service with direct server return."""
    said = {DSR: TUNNEL} | dict.fromkeys(annotations, "")
    spec = {"externalIPs": ["203.0.113.77"], "type": kind}
    metadata = {"name": "s", "annotations": said}
    return Object({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
