"""The files that the kubelet writes into a volume. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

DEFAULT_MODE = 0o644


class WrittenFile(NamedTuple):
    content: bytes
    mode: int


WrittenFiles = Mapping[str, WrittenFile]
"""By their paths below the volume."""


def mode_of(*given: object) -> int:
    """The first mode that is given."""
    return next((mode for mode in given if isinstance(mode, int)), DEFAULT_MODE)


def of_keys(
    contents: Mapping[str, bytes], items: Iterable[Mapping[str, Any]], mode: int, optional: bool
) -> dict[str, WrittenFile]:
    """All keys, or those that `items` name, at their paths. Raises KeyError, with the key, for one that is missing."""
    chosen = list(items)
    if not chosen:
        return {key: WrittenFile(content, mode) for key, content in contents.items()}
    found: dict[str, WrittenFile] = {}
    for item in chosen:
        content = contents.get(item["key"])
        if content is not None:
            found[item["path"]] = WrittenFile(content, mode_of(item.get("mode"), mode))
        elif not optional:
            raise KeyError(item["key"])
    return found
