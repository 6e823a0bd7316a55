"""What a patch makes of an object's conditions, one by one (apimachinery, pkg/util/strategicpatch). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from emulab.errors import UserError

_STATUSES = ("True", "False", "Unknown")
_FIELDS = ("type", "status", "reason", "message", "lastTransitionTime", "lastProbeTime")

StatusConditions = Sequence[Mapping[str, Any]]


def conditions_in(text: str) -> StatusConditions:
    """The conditions that a patch, JSON, sets. Raises UserError for what is none, and for all else of a status."""
    try:
        patch = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the patch is no JSON: {error}") from None
    status = patch.get("status") if isinstance(patch, dict) else None
    if not isinstance(status, dict) or [*patch, *status] != ["status", "conditions"]:
        raise UserError("a patch sets status.conditions, and nothing else")
    conditions = status["conditions"]
    if not isinstance(conditions, list) or not all(map(_is_condition, conditions)):
        raise UserError('status.conditions is a list of {"type": …, "status": "True" | "False" | "Unknown"}')
    return conditions


def _is_condition(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and bool(entry.get("type"))
        and entry.get("status") in _STATUSES
        and all(field in _FIELDS and isinstance(value, str) for field, value in entry.items())
    )


def patched(conditions: StatusConditions, patch: StatusConditions) -> list[Mapping[str, Any]]:
    """The conditions with those of a patch, each over the one of its type."""
    changes = {entry["type"]: entry for entry in patch}
    kept = [{**entry, **changes.pop(entry.get("type"), {})} for entry in conditions]
    return [*kept, *changes.values()]
