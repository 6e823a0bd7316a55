"""JSONPath templates as kubectl has them (k8s.io/client-go/util/jsonpath): what a template finds in an object. Pure.

A template is text with expressions in braces; `{range …}` repeats what follows up to `{end}` for each value that it
finds. `jsonpathtext` reads templates. Two things differ from most other implementations: an expression finds any number
of values, and one that finds nothing is no error unless the caller says so (`missing_allowed`).
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import UserError

_MISMATCH = "incompatible types for comparison"


class JSONPathError(UserError):
    """A template that can't be read, or that doesn't go with the object."""


@dataclass(frozen=True, slots=True)
class LiteralStep:
    """A text, number or boolean of the template itself."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class FieldStep:
    name: str


@dataclass(frozen=True, slots=True)
class SliceStep:
    """`[start:end:step]`. `[n]` is the slice from n to the next one, `single`."""

    start: int | None
    end: int | None
    step: int | None = None
    single: bool = False


@dataclass(frozen=True, slots=True)
class WildcardStep:
    pass


@dataclass(frozen=True, slots=True)
class DescentStep:
    """`..`: the value and all that is in it, however deep."""


@dataclass(frozen=True, slots=True)
class UnionStep:
    """`[a,b]`: what each of these finds."""

    members: tuple[PathSteps, ...]


@dataclass(frozen=True, slots=True)
class FilterStep:
    """`[?(left comparison right)]`; without a comparison: elements that have `left`."""

    left: PathSteps
    comparison: str = ""
    right: PathSteps = ()


@dataclass(frozen=True, slots=True)
class UnknownWord:
    """A word that means nothing, which is only wrong once it is come to."""

    word: str


PathStep = (
    LiteralStep | FieldStep | SliceStep | WildcardStep | DescentStep | UnionStep | FilterStep | UnknownWord
)
PathSteps = tuple[PathStep, ...]


@dataclass(frozen=True, slots=True)
class ExpressionPart:
    """One pair of braces, or the text between two."""

    steps: PathSteps


@dataclass(frozen=True, slots=True)
class RangePart:
    """`{range …}` and what is repeated."""

    over: PathSteps
    body: tuple[TemplatePart, ...]


TemplatePart = ExpressionPart | RangePart


@dataclass(frozen=True, slots=True)
class Template:
    text: str
    parts: tuple[TemplatePart, ...]

    def find(self, value: Any, missing_allowed: bool = True) -> list[list[Any]]:
        """What each expression finds, in the order in which they come to be. Raises JSONPathError."""
        return list(_found(self.parts, value, missing_allowed))

    def values(self, value: Any, missing_allowed: bool = True) -> list[Any]:
        """What all expressions find. Raises JSONPathError."""
        return [v for found in self.find(value, missing_allowed) for v in found]


def _found(parts: Sequence[TemplatePart], value: Any, missing_allowed: bool) -> Iterator[list[Any]]:
    for part in parts:
        if isinstance(part, ExpressionPart):
            yield _walk(part.steps, [value], missing_allowed)
            continue
        for each in _walk(part.over, [value], missing_allowed):
            yield from _found(part.body, each, missing_allowed)


def _walk(steps: PathSteps, values: list[Any], missing_allowed: bool) -> list[Any]:
    for step in steps:
        values = _take(step, values, missing_allowed)
    return values


def _take(step: PathStep, values: list[Any], missing_allowed: bool) -> list[Any]:
    match step:
        case LiteralStep(value):
            return [value]
        case FieldStep(name):
            found = [v[name] for v in values if isinstance(v, Mapping) and name in v]
            if not found and not missing_allowed:
                raise JSONPathError(f"{name} is not found")
            return found
        case SliceStep():
            return [e for v in values if v is not None for e in _sliced(step, v)]
        case WildcardStep():
            return [e for v in values for e in _members(v)]
        case DescentStep():
            return list(_descended(values))
        case UnionStep(members):
            return [e for steps in members for e in _walk(steps, values, missing_allowed)]
        case FilterStep():
            return [e for v in values for e in _filtered(step, v, missing_allowed)]
        case UnknownWord(word):
            raise JSONPathError(f"unrecognized identifier {word}")


def _members(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


def _descended(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if value is not None:
            yield value
            yield from _descended(_members(value))


def _sliced(step: SliceStep, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise JSONPathError(f"{_type(value)} is not array or slice")
    length = len(value)
    start = step.start or 0
    start += length if start < 0 else 0
    end = length if step.end is None else step.end
    if end < 0 or (step.single and end == 0):
        end += length
    if start == end:
        return []
    if not 0 <= start < length:
        raise JSONPathError(f"array index out of bounds: index {start}, length {length}")
    if not 0 <= end <= length:
        raise JSONPathError(f"array index out of bounds: index {end - 1}, length {length}")
    if start > end:
        raise JSONPathError(f"starting index {start} is greater than ending index {end}")
    if step.step is not None and step.step <= 0:
        raise JSONPathError("step must be > 0")
    return value[start : end : step.step or 1]


def _filtered(step: FilterStep, value: Any, missing_allowed: bool) -> Iterator[Any]:
    if not isinstance(value, list | tuple):
        raise JSONPathError(f"{text_of(value)} is not array or slice and cannot be filtered")
    for element in value:
        lefts = _walk(step.left, [element], missing_allowed or not step.comparison)
        if not step.comparison:
            if lefts:
                yield element
            continue
        rights = _walk(step.right, [element], missing_allowed)
        if not lefts or not rights:
            continue
        if len(lefts) > 1 or len(rights) > 1:
            raise JSONPathError("can only compare one element at a time")
        if _compare(step.comparison, lefts[0], rights[0]):
            yield element


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _compare(comparison: str, left: Any, right: Any) -> bool:
    compare = _COMPARISONS.get(comparison)
    if compare is None:
        raise JSONPathError(f"unrecognized filter operator {comparison}")
    if _basic(left) != _basic(right):
        raise JSONPathError(_MISMATCH)
    return compare(left, right)


def _basic(value: Any) -> str:
    """What a value can be compared with. Raises JSONPathError where that is nothing."""
    if not isinstance(value, str | int | float):
        raise JSONPathError("invalid type for comparison")
    return _type(value)


def _type(value: Any) -> str:
    """What Go calls a value of JSON."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "map[string]interface {}" if isinstance(value, Mapping) else "[]interface {}"


def text_of(value: Any) -> str:
    """A value as `-o jsonpath` prints it: lists and mappings as JSON with sorted keys, all else plain."""
    if isinstance(value, Mapping | list | tuple):
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return _html_safe(text)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _html_safe(text: str) -> str:
    """As encoding/json writes text, which might come to stand in HTML."""
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
