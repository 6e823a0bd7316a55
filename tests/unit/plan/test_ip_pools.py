"""Calico's IPPools: what they say of masquerading, blocks and modes, what is refused, and what is there anyway."""

from __future__ import annotations

import pytest
from manifest_texts import manifest, problems
from worlds import world

from emulab.cluster.admission import deletion
from emulab.cluster.system import system_objects
from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import Cluster, cluster_of, cluster_to_be
from emulab.kinds.registry import IP_POOL
from emulab.lab import engines
from emulab.model.collection import Objects
from emulab.model.families import IPV4, IPV6
from emulab.plan.links import Route
from emulab.plan.state import Ruleset
from emulab.servers.bgp.config import BgpConfig
from emulab.servers.engines.bird.conf import bird_conf


def cluster(network: str = "{plugin: calico}") -> str:
    return (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\n"
        f"spec: {{ingress: {{replicas: 0}}, network: {network}}}\n---\n"
    )


def pool(spec: str, name: str = "mine", version: str = "projectcalico.org/v3") -> str:
    return f"apiVersion: {version}\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"


def sets(text: str) -> tuple[list[str], list[str]]:
    """What is masqueraded, and what nothing is masqueraded to."""
    found = world(text).network.rulesets["node1", "ip calico"]
    assert isinstance(found, Ruleset)
    return tuple(sorted(found.collections[f"cali40{name}-ipam-pools"].elements) for name in ("masq", "all"))  # type: ignore[return-value]


def test_nat_outgoing_is_that_of_each_pool() -> None:
    own = "10.244.0.0/16"
    assert sets(cluster()) == ([own], [own])
    assert sets(cluster() + pool(f"cidr: {own}, vxlanMode: Always")) == ([], [own])
    lan = pool("cidr: 10.0.0.0/24, disabled: true", "lan", "crd.projectcalico.org/v1")
    assert sets(cluster() + lan) == ([own], ["10.0.0.0/24", own])


def test_blocks_are_of_the_pools_size() -> None:
    made = world(cluster() + pool("cidr: 10.244.0.0/16, blockSize: 28, vxlanMode: Always"))
    holes = {str(i.destination) for i in made.network.items if isinstance(i, Route) and i.type == "blackhole"}
    assert holes == {"10.244.1.0/28", "10.244.2.0/28"}


@pytest.mark.parametrize("mode", ["vxlanMode", "ipipMode"])
def test_a_block_of_one_address_is_not_in_the_way_of_its_pod(mode: str) -> None:
    made = world(cluster() + pool(f"cidr: 10.244.0.0/16, blockSize: 32, {mode}: Always"))
    assert not [i for i in made.network.items if isinstance(i, Route) and i.type == "blackhole"]


def test_bird_has_no_route_of_its_own_to_a_block_of_one_address() -> None:
    text = bird_conf(BgpConfig((), own=("10.0.0.11",), blocks=("10.244.1.0/32", "10.244.1.64/26")))
    assert "route 10.244.1.64/26 blackhole;" in text and "route 10.244.1.0/32" not in text
    assert "if ( net = 10.244.1.0/32 ) then { accept; }" in text


@pytest.mark.parametrize(
    ("network", "modes", "mode"),
    [
        ("{plugin: calico}", "ipipMode: Always", "ipip"),
        ("{plugin: calico}", "ipipMode: CrossSubnet", "bgp"),
        ("{plugin: calico}", "vxlanMode: Always", "vxlan"),
        ("{plugin: calico}", "vxlanMode: CrossSubnet", "bgp"),
        ("{plugin: calico}", "natOutgoing: true", "bgp"),
        ("{plugin: calico}", "disabled: true", "vxlan"),
        ("{plugin: calico, mode: vxlan}", "ipipMode: Always", "vxlan"),
        ("{plugin: flannel}", "ipipMode: Always", "vxlan"),
        ("{plugin: calico, families: [IPv4, IPv6]}", "ipipMode: Always", "vxlan"),
    ],
)
def test_a_pools_mode_is_the_clusters_where_that_says_none(network: str, modes: str, mode: str) -> None:
    text = cluster(network) + pool(f"cidr: 10.244.0.0/16, {modes}")
    assert cluster_of(Objects(manifest(text).objects)).network_mode == mode
    odd = network != "{plugin: calico}" or "disabled" in modes
    assert bool(manifest(text).warnings) == odd


def test_what_calico_refuses() -> None:
    for spec, why in (
        ("cidr: 10.244.0.0/16, ipipMode: Always, vxlanMode: Always", "together with vxlanMode"),
        ('cidr: "fd00::/48", ipipMode: Always', "IPv6"),
        ("cidr: 10.244.0.0/16, blockSize: 19", "20"),
        ("cidr: 10.244.0.0/28", "smaller than a block"),
        ("cidr: 10.244.0.1/16", "strictly masked"),
        ("cidr: 169.254.7.0/24", "169.254.0.0/16"),
        ('cidr: "fe80::/64"', "fe80::/10"),
        ("cidr: 10.244.0.0", "prefix"),
        ("blockSize: 26", "required"),
        ("cidr: 10.244.0.0/16, vxlan: Always", "unknown field"),
    ):
        assert any(why in problem for problem in problems(pool(spec))), spec
    assert sets(cluster() + pool("cidr: 192.0.2.7/32, disabled: true"))[1] == [
        "10.244.0.0/16",
        "192.0.2.7/32",
    ]


def test_what_is_not_followed_is_said() -> None:
    for spec, why in (
        ("cidr: 192.168.0.0/16, vxlanMode: Always", "say this one there"),
        ('cidr: 10.244.0.0/16, vxlanMode: Always, nodeSelector: "has(x)"', "nodeSelector"),
        ("cidr: 10.244.0.0/16, vxlanMode: Always, blockSize: 22", "is 24 here"),
        ("cidr: 10.244.0.0/16, vxlanMode: Always, disableBGPExport: true", "disableBGPExport"),
        ("cidr: 10.244.0.0/17, vxlanMode: Always", "to no pool"),
    ):
        assert [why in one for one in manifest(cluster() + pool(spec)).warnings] == [True], spec


def test_what_is_as_in_a_cluster_is_not_said() -> None:
    halves = pool("cidr: 10.244.0.0/17, vxlanMode: Always, nodeSelector: ''")
    halves += pool("cidr: 10.244.128.0/17, vxlanMode: Always", "other")
    assert not manifest(cluster() + halves).warnings


def test_a_cluster_to_be_has_pools_that_are_there_but_for_those_that_follow_from_it() -> None:
    (own,) = manifest(cluster()).objects
    (ipip,) = manifest(pool("cidr: 10.244.0.0/16, ipipMode: Always")).objects
    made = [o for o in system_objects(cluster_of(Objects([own]))) if o.type == IP_POOL]
    (bgp,) = manifest(cluster("{plugin: calico, mode: bgp}")).objects
    for given, there, mode in (
        ([ipip], [own], "ipip"),
        ([own], [own, ipip], "ipip"),
        ([own], [bgp, *made], "vxlan"),
        ([bgp], [own, *made], "bgp"),
        ([], [own, ipip], "ipip"),
    ):
        assert cluster_to_be(given, Objects(there)).network_mode == mode


def test_the_end_of_the_last_pool_is_told() -> None:
    objects = manifest(cluster() + pool("cidr: 10.244.0.0/16") + pool("cidr: 10.9.0.0/16", "other")).objects
    mine, other = (o.key for o in objects if o.type == IP_POOL)
    assert deletion.notes(Objects(objects), [other]) == []
    assert deletion.notes(Objects(objects), [mine]) == deletion.notes(Objects(objects), [mine, other])
    (told,) = deletion.notes(Objects(objects), [mine])
    assert told.startswith("no IPPool gives pods addresses any more")


async def test_a_program_that_a_pools_mode_needs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "installed", lambda _: None)
    (own,) = manifest(cluster()).objects
    (plain,) = manifest(pool("cidr: 10.244.0.0/16")).objects
    for given, there in (([plain], [own]), ([own, plain], []), ([own], [own, plain])):
        with pytest.raises(UserError, match="network mode bgp needs bird") as told:
            await engines.refuse_missing(given, Objects(there))
        assert ("IPPool/mine" in str(told.value)) == (plain in given)
    await engines.refuse_missing([own], Objects())


def test_a_pool_is_there_in_any_case() -> None:
    both = Cluster(network_plugin="calico", families=(IPV4, IPV6))
    assert not [o for o in system_objects(Cluster()) if o.type == IP_POOL]
    [one] = [o for o in system_objects(both) if o.type == IP_POOL]
    assert one.name == "default-ipv4-ippool" and one.spec["vxlanMode"] == "Always" and one.spec["natOutgoing"]
