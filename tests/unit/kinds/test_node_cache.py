"""What a container of node-cache is told by its flags and volumes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from emulab.kinds.core.nodecache import NodeCacheFlags, caches_of, own_addresses
from emulab.model.objects import Object
from emulab.plan.nodecache import unheeded

IMAGE = "registry.k8s.io/dns/k8s-dns-node-cache:1.26.4"
VOLUMES = [
    {"name": "other", "configMap": {"name": "kube-dns"}},
    {"name": "config", "configMap": {"name": "own", "items": [{"key": "Core", "path": "Corefile.base"}]}},
]
MOUNTS = [{"name": "other", "mountPath": "/etc/kube-dns"}, {"name": "config", "mountPath": "/etc/coredns"}]


def flags(*args: str, **fields: Any) -> NodeCacheFlags:
    container = {"name": "c", "image": IMAGE, "args": list(args), "volumeMounts": MOUNTS}
    return NodeCacheFlags.of("ns", {"hostNetwork": True, "volumes": VOLUMES, **fields}, container)


@pytest.mark.parametrize(
    "words",
    [
        ("-localip", "169.254.20.10,10.96.0.10", "-upstreamsvc", "up", "-health-port", "8088"),
        (
            "--localip=169.254.20.10,10.96.0.10",
            "-setupiptables=false",
            "--upstreamsvc=up",
            "--health-port=8088",
        ),
    ],
)
def test_flags_are_read_as_go_reads_them(words: tuple[str, ...]) -> None:
    told = flags(*words)
    assert [str(a) for a in told.local] == ["169.254.20.10", "10.96.0.10"]
    assert (told.upstream, told.namespace) == ("up", "ns")
    assert (told.config_map, told.key) == ("own", "Core")
    assert own_addresses(told, [ip_network("10.96.0.0/12")]) == (ip_address("169.254.20.10"),)


def test_what_is_not_said_is_as_the_manifest_has_it() -> None:
    told = flags("-localip", "nonsense", "-health-port", "x", volumes=[])
    assert told == NodeCacheFlags((), "kube-dns", "ns", "node-local-dns", "Corefile")


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ("0.0.0.0:9000", "", 9000),
        (":9001", "", 9001),
        ("169.254.20.10:9353", "169.254.20.10", 9353),
        ("x:y", "", 9353),
    ],
)
def test_where_its_metrics_are(given: str, host: str, port: int) -> None:
    told = flags("-metrics-listen-address", given)
    assert (told.metrics_host, told.metrics_port) == (host, port)


def test_caches_are_those_that_share_the_nodes_network() -> None:
    spec = {"containers": [{"name": "c", "image": IMAGE}, {"name": "d", "image": "nginx"}]}
    assert list(caches_of("ns", spec)) == []
    assert len(list(caches_of("ns", {**spec, "hostNetwork": True}))) == 1


def test_variables_of_a_corefile_are_addresses_by_and_by() -> None:
    """Those of the manifest in kubernetes/kubernetes: cluster/addons/dns/nodelocaldns."""
    text = """
    cluster.local:53 {
        reload
        bind 169.254.20.10 __PILLAR__DNS__SERVER__
        forward . __PILLAR__CLUSTER__DNS__ {
            force_tcp
        }
        health 169.254.20.10:8080
    }
    .:53 {
        forward . __PILLAR__UPSTREAM__SERVERS__
    }
    """
    names = {"name": "node-local-dns", "namespace": "kube-system"}
    o = Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": names, "data": {"Corefile": text}})
    assert not list(unheeded(o))
    wrong = Object({**o.raw, "data": {"Corefile": text.replace("force_tcp", "force_udp")}})
    (found,) = unheeded(wrong)
    assert "unknown property 'force_udp'" in found.line()
