"""Nodes, which the Cluster makes and no user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.nodetext import node_resources
from emulab.kinds.definition import Definition, refused
from emulab.kinds.fields import Fields, Slices, conditions, pairs
from emulab.kinds.registry import NODE
from emulab.kinds.selectable import field
from emulab.model.checks import dns_label
from emulab.model.findings import Finding
from emulab.model.objects import Object

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup


def _cells(o: Raw, now: float) -> Cells:
    ready = {c["type"]: c["status"] for c in cells.status(o).get("conditions") or ()}.get("Ready")
    # printers.go: what isn't true is not, be it unknown.
    state = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    if cells.spec(o).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = [k.removeprefix(prefix) for k in o["metadata"].get("labels") or {} if k.startswith(prefix)]
    info = cells.status(o).get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in cells.status(o).get("addresses") or ()}
    narrow = [
        cells.name(o),
        state,
        ",".join(sorted(roles)) or NONE,
        cells.age(o, now),
        str(info.get("kubeletVersion") or NONE),
    ]
    return narrow, [addresses.get("InternalIP", NONE), addresses.get("ExternalIP", NONE)]


def _describe(o: Raw, pods: Slices) -> Fields:
    status = o.get("status") or {}
    taints = (o.get("spec") or {}).get("taints") or ()
    return [
        (
            "Taints",
            [f"{t['key']}{'=' + t['value'] if t.get('value') else ''}:{t['effect']}" for t in taints] or NONE,
        ),
        ("PodCIDRs", [str(c) for c in (o.get("spec") or {}).get("podCIDRs") or ()]),
        ("Addresses", [f"{a['type']}: {a['address']}" for a in status.get("addresses") or ()]),
        ("Capacity", pairs(status.get("capacity"), ": ")),
        ("Allocatable", pairs(status.get("allocatable"), ": ")),
        *conditions(o),
        *node_resources(o, pods),
    ]


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    from emulab.kinds.core.kuberouterservice import of_nodes  # here: who lists Nodes needs none of it

    return of_nodes(o, world)


DEFINITION = Definition(
    check=whole(NODE, dns_label),
    standing=refused("spec.nodes of the Cluster says which nodes there are"),
    columns=Columns(("NAME", "STATUS", "ROLES", "AGE", "VERSION"), ("INTERNAL-IP", "EXTERNAL-IP"), _cells),
    describe=_describe,
    warnings=_warnings,
    selectable={"spec.unschedulable": field("spec.unschedulable", "false")},
)
