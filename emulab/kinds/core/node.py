"""Nodes, which the Cluster makes and no user."""

from __future__ import annotations

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.nodetext import node_resources
from emulab.kinds.definition import Definition, refused
from emulab.kinds.fields import Fields, Slices, conditions, pairs
from emulab.kinds.registry import NODE
from emulab.kinds.selectable import field
from emulab.model.checks import dns_label


def _cells(o: Raw, now: float) -> Cells:
    ready = {c["type"]: c["status"] for c in cells.status(o).get("conditions") or ()}.get("Ready")
    # printers.go: what isn't true is not, be it unknown.
    state = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    if cells.spec(o).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = [k.removeprefix(prefix) for k in o["metadata"].get("labels") or {} if k.startswith(prefix)]
    info = cells.status(o).get("nodeInfo") or {}
    there = cells.status(o).get("addresses") or ()
    addresses = {a["type"]: a["address"] for a in reversed(there)}  # the first of a type is shown
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


DEFINITION = Definition(
    check=whole(NODE, dns_label),
    standing=refused("spec.nodes of the Cluster says which nodes there are"),
    columns=Columns(("NAME", "STATUS", "ROLES", "AGE", "VERSION"), ("INTERNAL-IP", "EXTERNAL-IP"), _cells),
    describe=_describe,
    selectable={"spec.unschedulable": field("spec.unschedulable", "false")},
)
