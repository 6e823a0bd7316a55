"""What Pods ask of network plug-ins by annotations, and isn't done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_ONE_NETWORK = "isn't followed: Pods have one network, and eth0 in it"
_ADDRESS = "isn't followed: Pods have the next free address of their node"
_CALICO = "cni.projectcalico.org/"
_UNFOLLOWED: Mapping[str, str] = {
    "k8s.v1.cni.cncf.io/networks": _ONE_NETWORK,
    "v1.multus-cni.io/default-network": _ONE_NETWORK,
    **dict.fromkeys(
        (*(f"{_CALICO}{name}" for name in ("ipAddrs", "ipAddrsNoIpam", "ipv4pools", "ipv6pools")),), _ADDRESS
    ),
    f"{_CALICO}floatingIPs": "isn't followed: Pods have no addresses beside their own",
    f"{_CALICO}hwAddr": "isn't followed: Pods have MAC addresses of the lab's choice",
    **dict.fromkeys(("ipam.cilium.io/ip-pool", "ovn.kubernetes.io/ip_address"), _ADDRESS),
}
"""What becomes of annotations of plug-ins. Where a chain of this machine's is called, they are told them all."""

_BANDWIDTH = ("kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth")
_UNLIMITED = (
    "isn't followed: it is a limit of the CNI plug-in bandwidth, which the Cluster's network.cni may name"
)


def oddities(o: Object, path: FieldPath, annotations: Mapping[str, str], world: Lookup) -> Iterator[Finding]:
    """Of the annotations that stand at a path of an object, which are Pods' or their Namespace's."""
    chain = world.cluster.chain
    for name in annotations:
        if name in _UNFOLLOWED and not chain:
            yield Finding(o, (*path, name), _UNFOLLOWED[name])
        elif name in _BANDWIDTH and '"bandwidth"' not in chain:
            yield Finding(o, (*path, name), _UNLIMITED)
