"""What of a Pod's resources is counted by the scheduler alone, and bounds nothing here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.model.objects import Object

_WHY = "is counted by the scheduler alone: {}"
_UNBOUNDED = {
    "ephemeral-storage": "nobody is evicted who writes more",
    "hugepages-": "no such pages are set aside",
}
"""By the beginning of a resource's name."""


def of_resources(o: Object, base: FieldPath, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Of the Pod's spec, or the template's, that stands at `base` of an object."""
    asked = [((), spec)]
    for field in ("initContainers", "containers"):
        asked += [((field, index), c) for index, c in enumerate(spec.get(field) or ())]  # type: ignore[misc]
    for where, given in asked:
        for name in ((given.get("resources") or {}).get("limits")) or ():
            why = next((why for begin, why in _UNBOUNDED.items() if name.startswith(begin)), "")
            if why:
                yield Finding(o, (*base, *where, "resources", "limits", name), _WHY.format(why))
