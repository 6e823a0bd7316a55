"""What of a Pod's spec may be changed while it is there (`ValidatePodUpdate` of pkg/apis/core/validation). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.model.checks import Problems, show, wrong

CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_CONTAINERS = ("containers", "initContainers")
_DEADLINE = "activeDeadlineSeconds"


def update_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> Problems:
    """What is wrong with a change of a Pod's spec, in the API server's words; paths begin at the spec."""
    for field in _CONTAINERS:
        if len(old.get(field) or ()) != len(new.get(field) or ()):
            return wrong("Forbidden: pod updates may not add or remove containers", field)
    if found := _deadline(old.get(_DEADLINE), new.get(_DEADLINE)):
        return found
    there, asked = old.get("tolerations") or [], new.get("tolerations") or []
    if any(toleration not in asked for toleration in there):
        return wrong(f"Forbidden: {CHANGEABLE}")
    return wrong(f"Forbidden: {CHANGEABLE}") if _fixed(old) != _fixed(new) else ()


def _deadline(old: Any, new: Any) -> Problems:
    """It may be set, and come nearer."""
    if new is None and old is not None:
        return wrong("Forbidden: must not update from a positive integer to nil value", _DEADLINE)
    if new is not None and old is not None and new > old:
        return wrong(f"{show(new)}: must be less than or equal to previous value", _DEADLINE)
    return ()


def _fixed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What stays as it is."""
    kept = {field: value for field, value in spec.items() if field not in (_DEADLINE, "tolerations")}
    for field in _CONTAINERS:
        if field in kept:
            kept[field] = [_without_image(container) for container in kept[field] or ()]
    if (kept.get("terminationGracePeriodSeconds") or 0) < 0:  # which the kubelet takes for 1
        kept["terminationGracePeriodSeconds"] = 1
    return {field: value for field, value in kept.items() if value not in (None, [], {})}


def _without_image(container: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in container.items() if field != "image"}


def changed_images(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Sequence[str | int]]:
    """The paths, from the spec on, of images that differ."""
    return [
        (field, index, "image")
        for field in _CONTAINERS
        for index, (before, after) in enumerate(zip(old.get(field) or (), new.get(field) or (), strict=False))
        if before.get("image") != after.get("image")
    ]
