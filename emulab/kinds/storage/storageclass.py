"""StorageClasses: whether and when a claim gets a volume of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.following import kind_table, table
from emulab.kinds.registry import STORAGE_CLASS
from emulab.model.checks import dns_subdomain, one_of
from emulab.model.objects import NOWHERE

if TYPE_CHECKING:
    from emulab.model.objects import Object

IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_WAS_DEFAULT = "storageclass.beta.kubernetes.io/is-default-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
IMMEDIATE, WAITS = "Immediate", "WaitForFirstConsumer"


def is_default(annotations: Raw) -> bool:
    return "true" in (annotations.get(IS_DEFAULT), annotations.get(_WAS_DEFAULT))


def default_of(classes: Iterable[Object]) -> Object | None:
    """The default one: of several the newest, and a user's before that which every lab has."""
    defaults = [o for o in classes if is_default(o.annotations)]

    def rank(o: Object) -> tuple[bool, str, str]:
        return o.position != NOWHERE, str(o.metadata.get("creationTimestamp") or ""), o.name

    return max(defaults, key=rank, default=None)


def _cells(o: Raw, now: float) -> Cells:
    default = " (default)" if is_default(o["metadata"].get("annotations") or {}) else ""
    return [
        f"{cells.name(o)}{default}",
        str(o.get("provisioner") or ""),
        str(o.get("reclaimPolicy") or "Delete"),
        str(o.get("volumeBindingMode") or IMMEDIATE),
        str(bool(o.get("allowVolumeExpansion"))).lower(),
        cells.age(o, now),
    ], []


DEFINITION = Definition(
    check=whole(
        STORAGE_CLASS,
        dns_subdomain,
        fields={
            "reclaimPolicy": one_of("Delete", "Retain"),
            "volumeBindingMode": one_of(IMMEDIATE, WAITS),
        },
        required=("provisioner",),
    ),
    fields=kind_table()
    | table(
        "allowVolumeExpansion provisioner reclaimPolicy volumeBindingMode",
        kept="mountOptions parameters",
        ignored={"allowedTopologies": "its volumes may be on any node"},
    ),
    columns=Columns(
        ("NAME", "PROVISIONER", "RECLAIMPOLICY", "VOLUMEBINDINGMODE", "ALLOWVOLUMEEXPANSION", "AGE"),
        (),
        _cells,
    ),
)
