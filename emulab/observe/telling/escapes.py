"""Texts without what a terminal would obey. Pure.

What is written instead is kubectl's: `^[` for ESC and `\\r` (k8s.io/cli-runtime's `EscapeTerminal`), and for what
kubectl lets pass, since it is no less obeyed: the other control characters, those of C1 (ECMA-48's CSI in one
character) and those that change the order of text (CVE-2021-42574).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

_CONTROL = r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
"""C0, DEL and C1; what changes the order or the lines of text; halves of a character, as in names that aren't UTF-8."""

_LAYOUT = "\n\t"
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str) -> str:
    """A text without control characters other than those that lay it out: new lines and tabs."""
    return re.sub(_CONTROL, lambda m: m[0] if m[0] in _LAYOUT else _written(m[0]), text)


def printable(text: str) -> str:
    """A text without control characters, on one line: names and paths come from the wire."""
    return re.sub(_CONTROL, lambda m: _written(m[0]), text)


def _written(character: str) -> str:
    """A control character as kubectl and terminals write it: `^[` for ESC, `\\r`; others by their number."""
    number = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if number < 0x20 or number == 0x7F:
        return f"^{chr(number ^ 0x40)}"
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def as_json(value: Any, indent: int | None = None, ascii_only: bool = True) -> str:
    """A value as one JSON document. Control characters that JSON lets stand raw are escaped: the value is the same."""
    import json  # here, not above: whoever prints no JSON needn't load it

    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    return re.sub(_CONTROL, lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def cleaned(value: T) -> T:
    """A record, with all it is made of, whose texts have no control characters other than those of their layout."""
    return _cleaned(value, {})  # type: ignore[no-any-return]


def _cleaned(value: Any, known: dict[int, Any]) -> Any:
    from dataclasses import fields, is_dataclass, replace

    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {_cleaned(k, known): _cleaned(v, known) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cleaned(v, known) for v in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    if id(value) not in known:  # what is one record stays one
        parts = {f.name: _cleaned(getattr(value, f.name), known) for f in fields(value) if f.init}
        known[id(value)] = replace(value, **parts)
    return known[id(value)]
