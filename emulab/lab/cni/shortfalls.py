"""What a network of pods lacks here, and what a Pod asks for that a chain doesn't give: warnings of every verb."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from emulab.kernel import machine, plugins
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.emulab.podnetworks import NETWORKS
from emulab.kinds.registry import CLUSTER, POD
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.paths import FieldPath
from emulab.plan.cni import plugin_of

_NETWORK = ("spec", "network")
_UNFILTERED = (
    "neither Services nor NetworkPolicies are between a pod and another one of its node, as the kernel's br_netfilter "
    "isn't loaded; modprobe br_netfilter"
)


def shortfalls(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """Of `given`, which are among `objects`."""
    cluster = cluster_of(objects)
    for o in given:
        if o.type == CLUSTER:
            yield from _of_machine(o, cluster)
    if not cluster.chain:
        if plugin_of(cluster).bridged and not plugins.filters_bridges():
            yield from (Finding(o, _NETWORK, _UNFILTERED) for o in given if o.type == CLUSTER)
        return
    chain = json.loads(cluster.chain)["plugins"]
    maps_ports = any((plugin.get("capabilities") or {}).get("portMappings") for plugin in chain)
    for o in given:
        if o.type == CLUSTER:
            yield from _of_chain(o, cluster)
        elif not maps_ports:
            yield from _of_ports(o)


def _of_machine(o: Object, cluster: Cluster) -> Iterator[Finding]:
    nodes, limits = len(cluster.nodes), machine.neighbour_limits()
    wanted = machine.neighbours_wanted(nodes)
    for family in cluster.families:
        limit = limits.get(family.version)
        if limit is not None and limit.most < wanted:
            few = f"{nodes} nodes are some {wanted} neighbours, of which the machine knows {limit.most} at a time"
            why = f"{few}, so packets will be lost while nodes look for each other; {limit.remedy.format(2 * wanted)}"
            yield Finding(o, ("spec", "nodes"), why)


def _of_chain(o: Object, cluster: Cluster) -> Iterator[Finding]:
    named = "cni" not in o.spec.get("network", {})
    path = (*_NETWORK, "plugin" if named else "cni")
    chain = json.loads(cluster.chain)["plugins"]
    names = [name for p in chain for name in (p["type"], (p.get("ipam") or {}).get("type")) if name]
    missing = [name for name in dict.fromkeys(names) if not plugins.file_of(name)]
    if missing:
        where = ", ".join(plugins.folders())
        what = f"there is no plug-in {', '.join(missing)} in {where}; Debian has the usual ones in {plugins.PACKAGE}"
        if named:
            what += f"; the lab's own are {', '.join(NETWORKS)}"
        yield Finding(o, path, what)
    if "bridge" in names and not plugins.filters_bridges():
        yield Finding(o, path, _UNFILTERED)


def _of_ports(o: Object) -> Iterator[Finding]:
    base: FieldPath = ("spec",) if o.type == POD else ("spec", "template", "spec")
    spec = o.spec if o.type == POD else (o.spec.get("template") or {}).get("spec") or {}
    if not isinstance(spec, dict) or spec.get("hostNetwork"):
        return
    for index, container in enumerate(spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                path = (*base, "containers", index, "ports", number, "hostPort")
                yield Finding(o, path, "leads nowhere: no plug-in of the Cluster's chain has portMappings")
