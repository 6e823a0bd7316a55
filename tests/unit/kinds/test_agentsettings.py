"""Settings of agents of nodes, which the Cluster has, and what Pods ask of network plug-ins by annotations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulab.cluster.admission.loader import Source, load
from emulab.errors import ManifestError


def warned(o: dict[str, Any], about: str, **cluster: Any) -> list[str]:
    """The warnings about an object, in a lab with this Cluster, behind its place."""
    kind = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "lab"}, "spec": cluster}
    lines = load([Source("p.yaml", f"{json.dumps(kind)}\n---\n{json.dumps(o)}")]).warnings
    return [line.partition(f"{about} ")[2] for line in lines if about in line]


def settings(name: str, data: dict[str, str], **cluster: Any) -> list[str]:
    o = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}}
    return warned({**o, "data": data}, f"ConfigMap/{name}", **cluster)


KUBEADM = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: null, tcpCloseWaitTimeout: 1h0m0s, tcpEstablishedTimeout: 24h0m0s, udpTimeout: 0s}
iptables: {masqueradeAll: false, masqueradeBit: null}
ipvs: {excludeCIDRs: null, scheduler: "", strictARP: false, tcpTimeout: 0s}
kind: KubeProxyConfiguration
mode: MODE
nodePortAddresses: null
"""


def test_what_nodes_have_is_no_warning() -> None:
    for mode in ('""', "nftables"):
        assert settings("kube-proxy", {"config.conf": KUBEADM.replace("MODE", mode)}) == []
    given = KUBEADM.replace("MODE", "ipvs").replace('scheduler: ""', "scheduler: lc")
    assert settings("kube-proxy", {"config.conf": given}, proxy={"mode": "ipvs", "scheduler": "lc"}) == []
    flannel = {"Network": "10.244.0.0/16", "EnableNFTables": False, "Backend": {"Type": "vxlan"}}
    assert settings("kube-flannel-cfg", {"net-conf.json": json.dumps(flannel), "cni-conf.json": "{}"}) == []
    assert (
        settings("calico-config", {"veth_mtu": "0", "calico_backend": "vxlan"}, network={"plugin": "calico"})
        == []
    )
    cilium = {"routing-mode": "tunnel", "tunnel-protocol": "vxlan", "kube-proxy-replacement": "true"}
    usual = {"enable-policy": "default", "enable-wireguard": "false", "bpf-lb-mode": "snat"}
    assert settings("cilium-config", {**cilium, **usual}, network={"plugin": "cilium"}) == []


def test_what_kube_proxy_is_asked_for_and_nodes_have_not() -> None:
    given = (
        KUBEADM.replace("MODE", "ipvs").replace('scheduler: ""', "scheduler: lc").replace("10.244", "10.9")
    )
    given = given.replace("24h0m0s", "1h0m0s").replace("masqueradeAll: false", "masqueradeAll: true")
    assert settings("kube-proxy", {"config.conf": given}) == [
        "data[config.conf]: mode \"ipvs\" isn't followed: nodes have the Cluster's proxy.mode, nftables",
        "data[config.conf]: clusterCIDR \"10.9.0.0/16\" isn't followed: nodes have the Cluster's "
        "podCIDR, 10.244.0.0/16",
        "data[config.conf]: ipvs.scheduler \"lc\" isn't followed: nodes have the Cluster's proxy.scheduler, rr",
        "data[config.conf]: conntrack.tcpEstablishedTimeout \"1h0m0s\" isn't followed: nodes have the Cluster's "
        "proxy.conntrack.tcpEstablishedTimeout, 86400",
        "data[config.conf]: iptables.masqueradeAll true isn't followed",
    ]
    assert settings("kube-proxy", {"config.conf": "- [", "kubeconfig.conf": ""}) == []


@pytest.mark.parametrize(
    ("name", "data", "network", "said"),
    [
        (
            "kube-flannel-cfg",
            {"net-conf.json": '{"Network": "10.1.0.0/16", "SubnetLen": 25, "Backend": {"Type": "host-gw"}}'},
            {},
            [
                "data[net-conf.json]: Network \"10.1.0.0/16\" isn't followed: nodes have the Cluster's podCIDR, "
                "10.244.0.0/16",
                "data[net-conf.json]: Backend.Type \"host-gw\" isn't followed: nodes have the Cluster's network.mode, "
                "vxlan",
                "data[net-conf.json]: SubnetLen 25 isn't followed",
            ],
        ),
        (
            "kube-flannel-cfg",
            {"net-conf.json": '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 4096}}'},
            {},
            ["data[net-conf.json]: Backend.VNI 4096 isn't followed"],
        ),
        (
            "kube-flannel-cfg",
            {"net-conf.json": '{"Network": "10.244.0.0/16"}'},
            {"plugin": "calico"},
            ["data[net-conf.json]: has no effect: nodes have the Cluster's network.plugin, calico"],
        ),
        (
            "cilium-config",
            {"kube-proxy-replacement": "false", "tunnel-protocol": "geneve", "bpf-lb-mode": "dsr"},
            {"plugin": "cilium"},
            [
                "data: tunnel-protocol \"geneve\" isn't followed: nodes have the Cluster's network.mode, vxlan",
                "data: kube-proxy-replacement \"false\" isn't followed: nodes have the Cluster's proxy.mode, ebpf",
                'data: bpf-lb-mode "dsr" isn\'t followed',
            ],
        ),
        (
            "calico-config",
            {"calico_backend": "bird"},
            {"plugin": "calico"},
            ["data: calico_backend \"bird\" isn't followed: nodes have the Cluster's network.mode, vxlan"],
        ),
    ],
)
def test_what_networks_are_asked_for_and_nodes_have_not(
    name: str, data: dict[str, str], network: dict[str, Any], said: list[str]
) -> None:
    assert settings(name, data, network=network) == said


def test_networks_of_ipv6_are_those_of_ipv6() -> None:
    given = {
        "EnableIPv4": False,
        "EnableIPv6": True,
        "IPv6Network": "fd00:244::/48",
        "Network": "10.244.0.0/16",
    }
    both = {"families": ["IPv4", "IPv6"]}
    assert settings("kube-flannel-cfg", {"net-conf.json": json.dumps(given)}, network=both) == []
    (line,) = settings(
        "kube-flannel-cfg", {"net-conf.json": json.dumps({**given, "IPv6Network": "fd01::/48"})}, network=both
    )
    assert line.endswith("nodes have the Cluster's podCIDR, fd00:244::/48")
    wide = {**given, "EnableIPv4": True, "SubnetLen": 24, "IPv6SubnetLen": 80}
    (line,) = settings("kube-flannel-cfg", {"net-conf.json": json.dumps(wide)}, network=both)
    assert line.endswith("IPv6SubnetLen 80 isn't followed")


@pytest.mark.parametrize("said", ["10.244.0.0/16,FD00:0244::0/48", "fd00:244::/48, 10.244.0.0/16"])
def test_networks_have_many_spellings(said: str) -> None:
    both = {"families": ["IPv4", "IPv6"]}
    given = KUBEADM.replace("MODE", '""').replace("10.244.0.0/16", said)
    assert settings("kube-proxy", {"config.conf": given}, network=both) == []
    given = {"cluster-pool-ipv6-cidr": "fd00:244:0::/48"}
    assert settings("cilium-config", given, network={**both, "plugin": "cilium"}) == []


def pod(annotations: dict[str, str], **spec: Any) -> dict[str, Any]:
    metadata = {"name": "web", "annotations": annotations}
    spec = {"containers": [{"name": "c", "image": "nginx"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_annotations_for_network_plugins_are_warned_of() -> None:
    asked = {"k8s.v1.cni.cncf.io/networks": "macvlan", "kubernetes.io/egress-bandwidth": "1M", "other": "x"}
    assert [line.partition(": ")[0] for line in warned(pod(asked), "Pod/web")] == [
        "metadata.annotations[k8s.v1.cni.cncf.io/networks]",
        "metadata.annotations[kubernetes.io/egress-bandwidth]",
    ]
    assert warned(pod(asked), "Pod/web", network={"cni": "bridge"}) == []
    pools = {"cni.projectcalico.org/ipv4pools": '["a"]'}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": pools}}
    assert len(warned(namespace, "Namespace/shop")) == 1


def test_another_range_of_services_is_warned_of() -> None:
    o = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"}}
    (line,) = warned({**o, "spec": {"cidrs": ["10.200.0.0/16"]}}, "ServiceCIDR/more:")
    assert line == "gives no Service an address: all are of the Cluster's serviceCIDR; say this range there"


@pytest.mark.parametrize(
    ("version", "kind", "whose"),
    [
        ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration", "kube-proxy's"),
        ("kubeadm.k8s.io/v1beta4", "ClusterConfiguration", "kubeadm's"),
        ("kind.x-k8s.io/v1alpha4", "Cluster", "kind's"),
    ],
)
def test_files_of_programs_are_no_objects(version: str, kind: str, whose: str) -> None:
    with pytest.raises(
        ManifestError, match=f"{kind}: is {whose} own configuration, and no object: what nodes have"
    ):
        warned({"apiVersion": version, "kind": kind, "mode": "ipvs"}, kind)
