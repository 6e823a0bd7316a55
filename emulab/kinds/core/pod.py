"""Pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds.cells import NONE, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.containers import container_fields, volume_fields
from emulab.kinds.core.podcells import pod_cells, pod_status
from emulab.kinds.core.podfields import POD_FIELDS
from emulab.kinds.core.pododdities import oddities
from emulab.kinds.core.podschema import pod_spec
from emulab.kinds.core.podspec import IMAGES, LIMITED, STAND_INS, PodImage
from emulab.kinds.core.qos import with_class
from emulab.kinds.core.updates import changed_images, update_problems
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices, conditions, pairs
from emulab.kinds.following import kind_table
from emulab.kinds.registry import POD
from emulab.kinds.selectable import field, fields
from emulab.model.checks import dns_subdomain
from emulab.model.findings import Finding, path_text

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object
    from emulab.model.quantity import Quantity


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> dict[str, Any]:
    if "nodeName" not in spec and "nodeName" in old.spec:
        spec["nodeName"] = old.spec["nodeName"]
    if LIMITED in old.annotations:
        spec = _with_resources_of(old, spec)
    for path, why in update_problems(old.spec, spec):
        raise UserError(
            f"{new.position}: {new.key} {path_text(('spec', *path))}: {why}; delete the pod first"
        )
    return spec


def _with_resources_of(old: Object, spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with the resources that LimitRanges gave to containers who say nothing else."""
    for part in ("containers", "initContainers"):
        there = {c["name"]: c.get("resources") or {} for c in old.spec.get(part) or ()}
        if spec.get(part):
            spec[part] = [_limited(c, there.get(c["name"], {})) for c in spec[part]]
    return spec


def _limited(container: dict[str, Any], resources: dict[str, Any]) -> dict[str, Any]:
    asked = container.get("resources") or {}
    same = all(
        (asked.get(word) or {}).items() <= (resources.get(word) or {}).items()
        for word in ("requests", "limits")
    )
    return {**container, "resources": {**asked, **resources}} if same else container


def _undone(old: Object, new: Object) -> tuple[str, ...]:
    """What has been found out of other images, in a Pod that has no place yet; in others its kubelet follows."""
    if old.status.get("podIPs") or not changed_images(old.spec, new.spec):
        return ()
    return (STAND_INS, IMAGES)


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    return oddities(o, (), o.raw, world)


def _describe(o: Raw, _: Slices) -> Fields:
    spec, status = o["spec"], o.get("status") or {}
    fields: Fields = [
        ("Node", f"{spec.get('nodeName') or NONE}/{status.get('hostIP') or NONE}"),
        ("Start Time", str(status.get("startTime") or NONE)),
        ("Status", pod_status(o)),
    ]
    fields += [(k.title(), str(status[k])) for k in ("reason", "message") if status.get(k)]
    fields.append(("IPs", [entry["ip"] for entry in status.get("podIPs") or ()]))
    images = PodImage.all_of(o["metadata"].get("annotations") or {})
    for label, containers, statuses in (
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
    ):
        stand_ins = ((o["metadata"].get("annotations") or {}).get(STAND_INS) or "").split(",")
        known = {s["name"]: s for s in status.get(statuses) or ()}
        found: Fields = [
            (name, container_fields(c, known.get(name) or {}, name in stand_ins, images.get(name), o))
            for c in spec.get(containers) or ()
            if (name := c["name"])
        ]
        if found:
            fields.append((label, found))
    fields += conditions(o)
    volumes: Fields = [(v["name"], volume_fields(v)) for v in spec.get("volumes") or ()]
    fields += [("Volumes", volumes)] if volumes else []
    fields.append(("Restart Policy", str(spec.get("restartPolicy") or "Always")))
    fields.append(("DNS Policy", str(spec.get("dnsPolicy") or "ClusterFirst")))
    if spec.get("hostNetwork"):
        fields.append(("Host Network", "true"))
    fields.append(("QoS Class", str(status.get("qosClass") or NONE)))
    fields.append(("Node-Selectors", pairs(spec.get("nodeSelector"))))
    return fields


def _created(o: Object) -> Object:
    return o.replace(status=with_class(o.raw))


def _uses(o: Object) -> Mapping[str, Quantity]:
    from emulab.kinds.core.resources import used_by_pod  # exact arithmetic, which few need

    return used_by_pod(o)


DEFINITION = Definition(
    annotations=(STAND_INS, IMAGES, LIMITED),
    undone=_undone,
    check=whole(POD, dns_subdomain, pod_spec),
    created=_created,
    merge=_merge,
    warnings=_warnings,
    fields=kind_table(spec=POD_FIELDS),
    uses=_uses,
    columns=Columns(
        ("NAME", "READY", "STATUS", "RESTARTS", "AGE"),
        ("IP", "NODE", "NOMINATED NODE", "READINESS GATES"),
        pod_cells,
    ),
    describe=_describe,
    selectable={
        **fields(
            *(
                "spec.nodeName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ),
        ),
        "spec.restartPolicy": field("spec.restartPolicy", "Always"),
        "spec.schedulerName": field("spec.schedulerName", "default-scheduler"),
        "spec.hostNetwork": field("spec.hostNetwork", "false"),
    },
)
