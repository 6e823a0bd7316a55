"""PersistentVolumes: what claims are bound to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.claimschema import access_modes as modes
from emulab.kinds.core.claimschema import mode_alone, volume_mode
from emulab.kinds.core.persistentvolumeclaim import UNSET, access_modes
from emulab.kinds.core.schedulingschema import node_selector
from emulab.kinds.definition import Definition
from emulab.kinds.following import kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import PERSISTENT_VOLUME
from emulab.model.checks import Problems, dns_subdomain, maybe_empty, one_of, wrong

if TYPE_CHECKING:
    from emulab.model.objects import Object

PROTECTION = "kubernetes.io/pv-protection"
"""The finalizer that a volume has as long as a claim is bound to it (pkg/controller/volume/pvprotection)."""

_ELSEWHERE = (
    *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume"),
    *("flocker", "gcePersistentDisk", "glusterfs", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume"),
    *("quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume"),
)
SOURCES = ("hostPath", "local", *_ELSEWHERE)


def _one_source(spec: dict[str, Any]) -> Problems:
    given = [field for field in SOURCES if field in spec]
    if len(given) > 1:
        return wrong("may not specify more than 1 volume type", given[1])
    return () if given else wrong("must specify a volume type")


def _has_storage(spec: dict[str, Any]) -> Problems:
    return () if "storage" in spec["capacity"] else wrong("is required", "capacity", "storage")


def _local_has_a_node(spec: dict[str, Any]) -> Problems:
    required = "local" in spec and not (spec.get("nodeAffinity") or {}).get("required")
    return wrong("Local volume requires node affinity", "nodeAffinity") if required else ()


_spec = typed(
    "core.v1.PersistentVolumeSpec",
    {
        "accessModes": modes,
        "persistentVolumeReclaimPolicy": one_of("Retain", "Recycle", "Delete"),
        "storageClassName": maybe_empty(dns_subdomain),
        "volumeMode": volume_mode,
        "nodeAffinity": typed("core.v1.VolumeNodeAffinity", {"required": node_selector}),
    },
    required=("accessModes", "capacity"),
    rules=(_one_source, _has_storage, _local_has_a_node, mode_alone),
)


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    if any(old.spec.get(field) != spec.get(field) for field in SOURCES):
        what = "spec.persistentvolumesource is immutable after creation"
        raise UserError(f"{new.position}: {new.key} spec: {what}")
    if "claimRef" in old.spec and "claimRef" not in spec:
        spec["claimRef"] = old.spec["claimRef"]
    elif "claimRef" in old.spec and (uid := old.spec["claimRef"].get("uid")):
        spec["claimRef"] = {"uid": uid, **spec["claimRef"]}
    return spec


def _cells(o: Raw, now: float) -> Cells:
    spec, status = cells.spec(o), cells.status(o)
    claim = spec.get("claimRef") or {}
    phase = "Terminating" if o["metadata"].get("deletionTimestamp") else status.get("phase") or "Pending"
    narrow = [
        *(cells.name(o), str((spec.get("capacity") or {}).get("storage", ""))),
        access_modes(spec.get("accessModes")),
        *(str(spec.get("persistentVolumeReclaimPolicy") or "Retain"), str(phase)),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        *(str(spec.get("storageClassName") or ""), str(spec.get("volumeAttributesClassName") or UNSET)),
        *(str(status.get("reason") or ""), cells.age(o, now)),
    ]
    return narrow, [str(spec.get("volumeMode") or "Filesystem")]


DEFINITION = Definition(
    check=whole(PERSISTENT_VOLUME, dns_subdomain, _spec),
    merge=_merge,
    finalizers=(PROTECTION,),
    fields=kind_table(
        spec=table(
            "accessModes capacity claimRef hostPath local.path nodeAffinity persistentVolumeReclaimPolicy"
            " storageClassName",
            kept="local.fsType mountOptions volumeAttributesClassName",
            ignored={
                "volumeMode": "every volume is a folder",
                **dict.fromkeys(_ELSEWHERE, "a folder of the lab's takes its place"),
            },
        )
    ),
    columns=Columns(
        (
            *("NAME", "CAPACITY", "ACCESS MODES", "RECLAIM POLICY", "STATUS", "CLAIM", "STORAGECLASS"),
            *("VOLUMEATTRIBUTESCLASS", "REASON", "AGE"),
        ),
        ("VOLUMEMODE",),
        _cells,
    ),
)
