"""IPPools (projectcalico.org/v3): networks of pods' addresses, as Calico's API server checks them.

What follows from them is the Cluster's (`cluster_of`): masquerading, the size of blocks, and how packets travel between
nodes where the Cluster doesn't say it. Pods get addresses of the Cluster's `podCIDR`, whatever the pools.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import collapse_addresses, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.podnetworks import CALICO, NODE_LENGTHS
from emulab.kinds.following import kind_table, table
from emulab.kinds.networking.ippoolview import (
    MODES,
    NEVER,
    WORKLOAD,
    AddressPool,
    block_size,
    with_defaults,
)
from emulab.kinds.networking.networkpolicy import policy_cidr
from emulab.kinds.registry import CLUSTER, IP_POOL
from emulab.model.checks import (
    Problems,
    boolean,
    dns_subdomain,
    integer,
    mapping,
    one_of,
    sequence,
    string,
    wrong,
)
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_SIZES = {4: (20, 32), 6: (116, 128)}
_LINK_LOCAL = {4: ip_network("169.254.0.0/16"), 6: ip_network("fe80::/10")}
_ALL_NODES = "all()"
_FIXED = {"cidr": "IPPool CIDR cannot be modified", "blockSize": "IPPool BlockSize cannot be modified"}


def _network(spec: dict[str, Any]) -> Problems:
    network = ip_network(spec["cidr"], strict=False)
    if ip_interface(spec["cidr"]).ip != network.network_address:
        return wrong(f"{spec['cidr']} is not strictly masked: its network is {network}", "cidr")
    if network.overlaps(local := _LINK_LOCAL[network.version]):
        return wrong(f"{network} overlaps with the link-local range {local}", "cidr")
    return ()


def _sizes(spec: dict[str, Any]) -> Problems:
    network = ip_network(spec["cidr"], strict=False)
    least, most = _SIZES[network.version]
    size = block_size(spec)
    if not least <= size <= most:
        return wrong(f"must be between {least} and {most} for {network}", "blockSize")
    if network.prefixlen > size and not spec.get("disabled"):
        return wrong(f"{network} is smaller than a block, which is a /{size}", "cidr")
    return ()


def _modes(spec: dict[str, Any]) -> Problems:
    ipip, vxlan = (spec.get(field, NEVER) != NEVER for field in ("ipipMode", "vxlanMode"))
    if ipip and vxlan:
        return wrong("can't be enabled together with vxlanMode", "ipipMode")
    if ipip and ip_network(spec["cidr"], strict=False).version == 6:
        return wrong("isn't supported on an IPv6 pool", "ipipMode")
    return ()


_spec = mapping(
    {
        "cidr": policy_cidr,
        "blockSize": integer(20, 128),
        "ipipMode": one_of(*MODES),
        "vxlanMode": one_of(*MODES),
        "natOutgoing": boolean,
        "disabled": boolean,
        "disableBGPExport": boolean,
        "nodeSelector": string,
        "namespaceSelector": string,
        "allowedUses": sequence(one_of(WORKLOAD, "Tunnel", "LoadBalancer")),
        "assignmentMode": one_of("Automatic", "Manual"),
    },
    required=("cidr",),
    rules=(_network, _sizes, _modes),
    closed=True,
)


def _stored(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {**raw, "apiVersion": IP_POOL.api_version}


def _written(o: Object) -> Object:
    return o.replace(spec=with_defaults(o.spec))


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    whole_spec = _written(new.replace(spec=spec)).spec
    for field, why in _FIXED.items():
        if whole_spec[field] != old.spec.get(field):
            raise UserError(f"{new.position}: {new.key} spec.{field}: {why}")
    return spec


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    cluster, pool, spec = world.cluster, AddressPool.of(o), o.spec
    if cluster.network_plugin != CALICO or cluster.chain:
        yield Finding(o, (), "has no effect without the Cluster's network.plugin calico")
        return
    if pool.gives:
        yield from _addresses(o, pool, world)
    others = [
        one.name
        for one in world.kind(IP_POOL)
        if one.name != o.name and AddressPool.of(one).network.overlaps(pool.network)
    ]
    if others:
        text = (
            f"overlaps with IPPool {', '.join(sorted(others))}, which Calico refuses; delete that one first"
        )
        yield Finding(o, ("spec", "cidr"), text)
    if pool.has_pods(cluster.pod_cidrs) and pool.mode != cluster.network_mode:
        field = "ipipMode" if "ipip" in (pool.mode, cluster.network_mode) else "vxlanMode"
        said = any((c.spec.get("network") or {}).get("mode") for c in world.kind(CLUSTER))
        why = ", as the Cluster's network.mode says" if said else ""
        text = f"isn't followed: it means {pool.mode}, and packets of all pods travel by {cluster.network_mode}{why}"
        yield Finding(o, ("spec", field), text)
    if pool.block < (least := NODE_LENGTHS[4]) and pool.network.version == 4:
        yield Finding(o, ("spec", "blockSize"), f"is {least} here: blocks are parts of nodes' ranges")
    if (spec.get("nodeSelector") or _ALL_NODES).replace(" ", "") != _ALL_NODES:
        yield Finding(o, ("spec", "nodeSelector"), "isn't followed: all nodes have addresses of the podCIDR")
    if spec.get("assignmentMode") == "Manual":
        yield Finding(o, ("spec", "assignmentMode"), "isn't followed: pods get addresses of the podCIDR")


def _addresses(o: Object, pool: AddressPool, world: Lookup) -> Iterator[Finding]:
    """What of a pool's addresses isn't followed, as pods have those of the Cluster's podCIDR."""
    pods, version = world.cluster.pod_cidrs, pool.network.version
    if not pool.has_pods(pods):
        own = ", ".join(map(str, pods))
        text = f"gives pods no addresses: they have those of the Cluster's podCIDR, {own}; say this one there"
        yield Finding(o, ("spec", "cidr"), text)
        return
    all_pools = map(AddressPool.of, world.kind(IP_POOL))
    giving = [one.network for one in all_pools if one.gives and one.network.version == version]
    joined = [*collapse_addresses(giving)]  # type: ignore[type-var]  # of one version
    for network in pods:
        if network.overlaps(pool.network) and not any(network.subnet_of(one) for one in joined):  # type: ignore[arg-type]
            text = f"leaves some of the Cluster's podCIDR, {network}, to no pool, and pods have addresses there, too"
            yield Finding(o, ("spec", "cidr"), text)


def _cells(o: Raw, now: float) -> Cells:
    return [cells.name(o), cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(IP_POOL, dns_subdomain, _spec),
    stored=_stored,
    written=_written,
    merge=_merge,
    warnings=_warnings,
    fields=kind_table(
        table(
            "cidr blockSize ipipMode vxlanMode natOutgoing disabled allowedUses nodeSelector assignmentMode",
            ignored={
                "disableBGPExport": "its blocks are told all the same",
                "namespaceSelector": "pods get addresses of the podCIDR",
            },
        )
    ),
    columns=Columns(("NAME", "AGE"), (), _cells),
)
