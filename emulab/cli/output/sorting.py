"""`--sort-by`: objects in the order of a field, as kubectl sorts them. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from emulab.cli.usage import UsageError
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.model.jsonpath import JSONPathError
from emulab.model.jsonpathtext import relaxed

_ORDERED = (int, float, str)


def sort_by(objects: Sequence[Raw], path: str) -> list[Raw]:
    """Objects by the first value at a path; those without one come first. Raises UserError where none has it."""
    try:
        template = relaxed(path)
        found = [template.values(o) for o in objects]
    except JSONPathError as error:
        raise UsageError(str(error)) from None
    if objects and not any(found):
        raise UserError(f'couldn\'t find any field with path "{template.text}" in the list of objects')
    firsts = [values[0] if values else None for values in found]
    if not all(value is None or isinstance(value, _ORDERED) for value in firsts):
        raise UserError(f"field {template.text} has values that can't be sorted")

    def compare(a: int, b: int) -> int:
        return _compare(firsts[a], firsts[b])

    return [objects[at] for at in sorted(range(len(objects)), key=functools.cmp_to_key(compare))]


def _compare(left: Any, right: Any) -> int:
    if left is None or right is None:
        return (left is not None) - (right is not None)
    a, b = _key(left), _key(right)
    return (a > b) - (a < b)


def _key(value: Any) -> tuple[Any, ...]:
    """Numbers by their size, texts in the natural order: `web-2` comes before `web-10`."""
    if not isinstance(value, str):
        return (0, value)
    return (1, *((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _parts(value)))


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", text) if part]
