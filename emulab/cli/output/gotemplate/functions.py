"""What the actions of a Go template may call: text/template's own functions, and kubectl's two.

`and` and `or` aren't here: they don't ask for arguments that no longer matter (`execution`).
"""

from __future__ import annotations

import base64
import binascii
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from emulab.cli.output.gotemplate.formatting import MISSING, go_type, joined, plain, sprintf
from emulab.cli.output.gotemplate.tree import GoTemplateError

_BASIC = ("int", "float64", "string", "bool")
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def is_true(value: Any) -> bool:
    """Whether `if` takes a value for true: what is there, and neither 0 nor empty."""
    return bool(value)


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _length(item: Any) -> int:
    if item is MISSING:
        raise GoTemplateError("reflect: call of reflect.Value.Type on zero Value")
    if item is None:
        raise GoTemplateError("len of nil pointer")
    if isinstance(item, str):
        return len(item.encode())
    if is_list(item) or isinstance(item, Mapping):
        return len(item)
    raise GoTemplateError(f"len of type {go_type(item)}")


def _index(item: Any, *keys: Any) -> Any:
    if item is MISSING or item is None:
        raise GoTemplateError("index of untyped nil")
    for key in keys:
        if item is None:
            raise GoTemplateError("index of nil pointer")
        if isinstance(item, Mapping):
            if not isinstance(key, str):
                what = "value is nil" if key is None or key is MISSING else f"value has type {go_type(key)}"
                raise GoTemplateError(f"{what}; should be string")
            item = item.get(key)
        elif is_list(item) or isinstance(item, str):
            letters = item.encode() if isinstance(item, str) else item
            item = letters[_place(key, len(letters) - 1)]
        else:
            raise GoTemplateError(f"can't index item of type {go_type(item)}")
    return item


def _place(key: Any, last: int) -> int:
    """Where in a list a key points to. Raises GoTemplateError."""
    if key is None or key is MISSING:
        raise GoTemplateError("cannot index slice/array with nil")
    if isinstance(key, bool) or not isinstance(key, int):
        raise GoTemplateError(f"cannot index slice/array with type {go_type(key)}")
    if not 0 <= key <= last:
        raise GoTemplateError(f"index out of range: {key}")
    return key


def _slice(item: Any, *bounds: Any) -> Any:
    if item is MISSING or item is None:
        raise GoTemplateError("slice of untyped nil")
    if not is_list(item) and not isinstance(item, str):
        raise GoTemplateError(f"can't slice item of type {go_type(item)}")
    if len(bounds) > 2:
        raise GoTemplateError(f"too many slice indexes: {len(bounds)}")
    letters = item.encode() if isinstance(item, str) else item
    places = [_place(bound, len(letters)) for bound in bounds]
    start, end = [*places, *(0, len(letters))[len(places) :]]
    if start > end:
        raise GoTemplateError(f"invalid slice index: {start} > {end}")
    found = letters[start:end]
    return found.decode(errors="replace") if isinstance(found, bytes) else found


def _basic(value: Any) -> str:
    """What a value can be compared with: integers of all sizes with each other."""
    return go_type(value).removesuffix("64") if isinstance(value, int) else go_type(value)


def _comparable(value: Any) -> str:
    """The kind of a value that can be told to be less than another. Raises GoTemplateError."""
    kind = _basic(value)
    if kind not in _BASIC:
        raise GoTemplateError("invalid type for comparison")
    return kind


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise GoTemplateError("missing argument for comparison")
    return any(_is_equal(first, other) for other in others)


def _is_equal(first: Any, other: Any) -> bool:
    kinds = _basic(first), _basic(other)
    nothing = "<nil>" in kinds
    if kinds[0] != kinds[1]:
        if nothing and (first is MISSING or other is MISSING or not set(kinds) <= {"<nil>", *_BASIC}):
            return False
        raise GoTemplateError("incompatible types for comparison")
    if kinds[0] not in (*_BASIC, "<nil>"):
        raise GoTemplateError(f"non-comparable type {plain(first)}: {kinds[0]}")
    return nothing or bool(first == other)


def _less(first: Any, other: Any) -> bool:
    kinds = _comparable(first), _comparable(other)
    if kinds[0] != kinds[1]:
        raise GoTemplateError("incompatible types for comparison")
    if kinds[0] == "bool":
        raise GoTemplateError("invalid type for comparison")
    return bool(first < other)


def _less_or_equal(first: Any, other: Any) -> bool:
    return _less(first, other) or _is_equal(first, other)


def _not_equal(first: Any, other: Any) -> bool:
    return not _is_equal(first, other)


def _text(value: Any) -> str:
    """An argument that has to be a string. Raises GoTemplateError."""
    if isinstance(value, str):
        return value
    if value is MISSING or value is None:
        raise GoTemplateError("invalid value; expected string")
    raise GoTemplateError(f"wrong type for value; expected string; got {go_type(value)}")


def _printf(form: Any, *values: Any) -> str:
    return sprintf(_text(form), values)


def _println(*values: Any) -> str:
    return " ".join(map(plain, values)) + "\n"


def _html(*values: Any) -> str:
    return html.escape(joined(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def _js(*values: Any) -> str:
    def safe(letter: str) -> str:
        return _JS.get(letter) or (letter if letter >= " " else f"\\u{ord(letter):04X}")

    return "".join(map(safe, joined(values)))


def _decoded(text: Any) -> str:
    try:
        return base64.b64decode(_text(text), validate=True).decode(errors="replace")
    except binascii.Error:
        raise GoTemplateError("base64 decode failed: illegal base64 data") from None


def _exists(item: Any, *keys: Any) -> bool:
    """kubectl's: whether there is something below these keys."""
    for key in keys:
        try:
            item = _index(item, key)
        except GoTemplateError:
            return False
        if item is None:
            return False
    return True


FUNCTIONS: dict[str, tuple[int, int | None, Callable[..., Any]]] = {
    "and": (1, None, is_true),
    "or": (1, None, is_true),
    "not": (1, 1, lambda value: not is_true(value)),
    "len": (1, 1, _length),
    "index": (1, None, _index),
    "slice": (1, None, _slice),
    "eq": (1, None, _equal),
    "ne": (2, 2, _not_equal),
    "lt": (2, 2, _less),
    "le": (2, 2, _less_or_equal),
    "gt": (2, 2, lambda first, other: not _less_or_equal(first, other)),
    "ge": (2, 2, lambda first, other: not _less(first, other)),
    "print": (0, None, lambda *values: joined(values)),
    "printf": (1, None, _printf),
    "println": (0, None, _println),
    "html": (0, None, _html),
    "js": (0, None, _js),
    "urlquery": (0, None, lambda *values: quote_plus(joined(values), safe="")),
    "exists": (1, None, _exists),
    "base64decode": (1, 1, _decoded),
}
"""Name → how many arguments it takes at least and at most, and what it makes of them."""


def call(name: str, values: Sequence[Any]) -> Any:
    """Raises GoTemplateError, with text/template's words for a wrong number of arguments."""
    least, most, function = FUNCTIONS[name]
    if len(values) < least or (most is not None and len(values) > most):
        many = "at least " if most is None else ""
        raise GoTemplateError(f"wrong number of args for {name}: want {many}{least} got {len(values)}")
    return function(*values)
