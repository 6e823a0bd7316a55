"""What becomes of what a schema doesn't have: `kubectl --validate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulab.model.paths import FieldPath

STRICT, WARN, IGNORE = "strict", "warn", "ignore"
"""An unknown or repeated field is refused, or left out with a warning, or left out: metav1's `fieldValidation`."""


def without(data: Any, paths: Sequence[FieldPath]) -> Any:
    """`data` without what stands at `paths`. A copy where it differs: aliases may share the rest."""
    here = {path[0] for path in paths if len(path) == 1}
    deeper: dict[Any, list[FieldPath]] = {}
    for step, *rest in paths:
        if rest:
            deeper.setdefault(step, []).append(tuple(rest))
    if isinstance(data, list):
        return [without(item, deeper[i]) if i in deeper else item for i, item in enumerate(data)]
    return {
        key: without(value, deeper[key]) if key in deeper else value
        for key, value in data.items()
        if key not in here
    }
