"""PersistentVolumeClaims: a volume of a lab's life, asked for by its size and its class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.claimschema import claim_spec
from emulab.kinds.definition import Definition
from emulab.kinds.following import kind_table, table
from emulab.kinds.registry import PERSISTENT_VOLUME_CLAIM
from emulab.model.checks import dns_subdomain

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.findings import Finding
    from emulab.model.objects import Object
    from emulab.model.quantity import Quantity

PROTECTION = "kubernetes.io/pvc-protection"
"""The finalizer that a claim has as long as a Pod uses it (pkg/controller/volume/pvcprotection)."""

_GIVEN = ("storageClassName", "volumeName", "volumeMode")
"""What the lab adds to a spec that doesn't say it."""
_SHORT = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
UNSET = "<unset>"


def access_modes(modes: object) -> str:
    """As kubectl shortens them, in its order."""
    given = modes if isinstance(modes, list | tuple) else ()
    return ",".join(short for mode, short in _SHORT.items() if mode in given)


def _cells(o: Raw, now: float) -> Cells:
    spec, status = cells.spec(o), cells.status(o)
    bound = bool(spec.get("volumeName"))
    phase = "Terminating" if o["metadata"].get("deletionTimestamp") else str(status.get("phase") or "Pending")
    capacity = (status.get("capacity") or {}).get("storage", "") if bound else ""
    narrow = [
        *(cells.name(o), phase, str(spec.get("volumeName") or ""), str(capacity)),
        access_modes(status.get("accessModes")) if bound else "",
        str(spec.get("storageClassName") or ""),
        *(str(spec.get("volumeAttributesClassName") or UNSET), cells.age(o, now)),
    ]
    return narrow, [str(spec.get("volumeMode") or "Filesystem")]


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    spec = {**{field: old.spec[field] for field in _GIVEN if field in old.spec}, **spec}
    if {**spec, "resources": None} != {**old.spec, "resources": None}:
        what = "spec is immutable after creation except resources.requests and volumeAttributesClassName"
        raise UserError(f"{new.position}: {new.key} spec: {what} for bound claims")
    return spec


def _uses(o: Object) -> Mapping[str, Quantity]:
    from emulab.kinds.core.resources import used_by_claim  # exact arithmetic, which few need

    return used_by_claim(o)


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    from emulab.kinds.storage import vendorclasses  # of who has claims alone

    return vendorclasses.oddities(o, [(("spec",), o.spec)], world)


DEFINITION = Definition(
    check=whole(PERSISTENT_VOLUME_CLAIM, dns_subdomain, claim_spec),
    merge=_merge,
    warnings=_warnings,
    finalizers=(PROTECTION,),
    uses=_uses,
    fields=kind_table(
        spec=table(
            "accessModes resources selector storageClassName volumeName",
            kept="volumeAttributesClassName",
            ignored={
                "dataSource": "the volume is empty",
                "dataSourceRef": "the volume is empty",
                "volumeMode": "every volume is a folder",
            },
        )
    ),
    columns=Columns(
        (
            *("NAME", "STATUS", "VOLUME", "CAPACITY", "ACCESS MODES", "STORAGECLASS"),
            *("VOLUMEATTRIBUTESCLASS", "AGE"),
        ),
        ("VOLUMEMODE",),
        _cells,
    ),
)
