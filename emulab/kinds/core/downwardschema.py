"""What may be said of a Pod's own fields and resources, in variables and in files: the downward API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulab.kinds.openapi.typed import typed
from emulab.model.checks import Check, Problems, maybe_empty, one_of, pattern, wrong

_KEYS = r"metadata\.(labels|annotations)\['[^']+'\]"

_RESOURCES = r"(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-[0-9][A-Za-z0-9]*)"
_DIVISORS = {
    "cpu": ("1m", "1"),
    "other": ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}
"""`validContainerResourceDivisorForCPU` and its like."""


def field_path(in_volume: bool = False) -> Check:
    """A field of the Pod: those of a volume are all labels and annotations too, and none that a node decides."""
    if in_volume:
        return pattern(
            rf"metadata\.(name|namespace|uid|labels|annotations)|{_KEYS}",
            "a field of the downward API for files, such as metadata.name, metadata.labels or "
            "metadata.annotations['a']",
        )
    return pattern(
        rf"metadata\.(name|namespace|uid)|{_KEYS}"
        r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)",
        "a field of the downward API, such as metadata.name, metadata.labels['app'] or status.podIP",
    )


def field_of_pod(in_volume: bool = False) -> Check:
    """A `fieldRef`."""
    return typed(
        "core.v1.ObjectFieldSelector",
        {"apiVersion": maybe_empty(one_of("v1")), "fieldPath": field_path(in_volume)},
    )


def _divides(selector: dict[str, Any]) -> Problems:
    given = str(selector.get("divisor") or "1")
    allowed = _DIVISORS["cpu" if selector["resource"].endswith(".cpu") else "other"]
    if given in ("0", *allowed):
        return ()
    return wrong(f"only divisor's values {', '.join(allowed)} are supported with it", "divisor")


def resource_field(required: Sequence[str] = ()) -> Check:
    return typed(
        "core.v1.ResourceFieldSelector",
        {"resource": pattern(_RESOURCES, "a resource of a container, such as limits.cpu or requests.memory")},
        required=required,
        rules=(_divides,),
    )
