"""What several processes say of themselves, as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def together(said: Iterable[Any]) -> Any:
    """Numbers are added, lists joined without doubles, mappings put together; of other things the first counts."""
    values = list(said)
    first = values[0] if values else None
    if isinstance(first, bool):
        return any(values)
    if isinstance(first, int | float):
        return sum(values)
    if isinstance(first, list):
        return sorted({one for value in values for one in value})
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: together(value[key] for value in values if key in value) for key in keys}
    return first
