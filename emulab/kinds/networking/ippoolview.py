"""The typed view of Calico's IPPools (projectcalico.org/v3), and what they say of a Cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any, NamedTuple

from emulab.kinds.emulab.podnetworks import BLOCKS_OF, CALICO
from emulab.model.addresses import IPNetwork
from emulab.model.objects import Object

NEVER, ALWAYS, CROSS_SUBNET = MODES = "Never", "Always", "CrossSubnet"
WORKLOAD = "Workload"
DEFAULTS: Mapping[str, Any] = {
    "ipipMode": NEVER,
    "vxlanMode": NEVER,
    "nodeSelector": "all()",
    "allowedUses": [WORKLOAD, "Tunnel"],
    "assignmentMode": "Automatic",
}
"""What Calico's API server fills in, beside the size of blocks."""


class AddressPool(NamedTuple):
    """What is done about addresses of a network."""

    name: str
    network: IPNetwork
    block: int  # the prefix length of its blocks
    mode: str  # as a Cluster's network.mode: ipip, vxlan or bgp
    masquerades: bool  # what its pods send out of all pools
    gives: bool  # whether pods get its addresses

    @staticmethod
    def of(o: Object) -> AddressPool:
        spec = o.spec
        network = ip_network(spec["cidr"], strict=False)
        return AddressPool(
            o.name,
            network,
            block_size(spec),
            mode_of_pool(spec),
            bool(spec.get("natOutgoing")),
            not spec.get("disabled") and WORKLOAD in (spec.get("allowedUses") or [WORKLOAD]),
        )

    def has_pods(self, pods: Sequence[IPNetwork]) -> bool:
        """Whether pods of these networks get addresses of it."""
        return self.gives and any(self.network.overlaps(one) for one in pods)


def with_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A pool's `spec` as Calico's API server stores it."""
    return {**DEFAULTS, **spec, "blockSize": block_size(spec)}


def block_size(spec: Mapping[str, Any]) -> int:
    """The prefix length of a pool's blocks."""
    version = ip_network(spec["cidr"], strict=False).version
    return spec.get("blockSize") or BLOCKS_OF[CALICO].length(version)


def mode_of_pool(spec: Mapping[str, Any]) -> str:
    """How packets travel between nodes. Those of a lab are all in one subnet, which CrossSubnet asks for."""
    if spec.get("ipipMode") == ALWAYS:
        return "ipip"
    return "vxlan" if spec.get("vxlanMode") == ALWAYS else "bgp"


def pool_spec(network: IPNetwork, mode: str, masquerades: bool) -> dict[str, Any]:
    """The `spec` of the pool that calico-node makes of a cluster's network where there is none."""
    own = {"ipip": "ipipMode", "vxlan": "vxlanMode"}
    modes = {field: ALWAYS if own.get(mode) == field else NEVER for field in own.values()}
    return with_defaults({"cidr": str(network), "natOutgoing": masquerades, **modes})
