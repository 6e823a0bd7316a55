"""Namespaces: pkg/registry/core/namespace/strategy.go.

A Namespace is held by a finalizer of its spec, not of its metadata. The namespace controller alone takes it away, once
nothing is left in it; users neither set nor remove it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core import podnetworkoddities
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices, conditions
from emulab.kinds.following import kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import NAMESPACE
from emulab.kinds.selectable import field
from emulab.model.checks import dns_label, label_key, sequence
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_POD_SECURITY, _PRIVILEGED = "pod-security.kubernetes.io/enforce", "privileged"
FINALIZER = "kubernetes"


def is_ending(namespace: Object) -> bool:
    return bool(namespace.metadata.get("deletionTimestamp"))


def _created(o: Object) -> Object:
    finalizers = list(o.spec.get("finalizers") or ())
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    return o.replace(spec={**o.spec, "finalizers": finalizers}, status={"phase": "Active"})


def _merge(old: Object, _: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    spec.pop("finalizers", None)
    return {**spec, "finalizers": old.spec["finalizers"]} if "finalizers" in old.spec else spec


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    yield from podnetworkoddities.oddities(o, ("metadata", "annotations"), o.annotations, world)
    if (level := o.labels.get(_POD_SECURITY, _PRIVILEGED)) != _PRIVILEGED:
        what = f"isn't followed: Pods come up that {level} forbids"
        yield Finding(o, ("metadata", "labels", _POD_SECURITY), what)


def _state(o: Raw) -> str:
    ending = o["metadata"].get("deletionTimestamp")
    return "Terminating" if ending else str(cells.status(o).get("phase") or "Active")


def _cells(o: Raw, now: float) -> Cells:
    return [cells.name(o), _state(o), cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    return [("Status", _state(o)), *conditions(o)]


_spec = typed("core.v1.NamespaceSpec", {"finalizers": sequence(label_key)})
DEFINITION = Definition(
    check=whole(NAMESPACE, dns_label, _spec, optional_spec=True),
    created=_created,
    merge=_merge,
    warnings=_warnings,
    fields=kind_table(spec=table("finalizers")),
    columns=Columns(("NAME", "STATUS", "AGE"), (), _cells),
    describe=_describe,
    selectable={"status.phase": field("status.phase", "Active"), "name": field("metadata.name")},
)
