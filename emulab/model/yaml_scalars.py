"""What a YAML scalar means to kubectl.

kubectl reads YAML 1.1 through sigs.k8s.io/yaml, whose resolver (go-yaml v2, `resolve.go`) this follows:
`yes`, `on`, `y` and their opposites are booleans, `0644` and `0o644` are octal, `1_000` is a number, `08` is
the float 8 and hence the integer 8 in JSON. A date stays a string, and so do base-60 numbers such as `1:30`.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LONGEST_INTEGER = 66  # characters: a sign, "0b" and 64 digits, less one; a longer one is a float in Go too
_JSON_INTEGERS = 1e21  # Go's JSON encoder writes floats below this without an exponent, that is as integers


def plain(text: str) -> Scalar:
    """The value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _NUMBER_STARTS else text


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit `!!tag`, whose short name is given.

    Raises ValueError when the text does not fit the tag, and KeyError for a tag that means nothing here.
    """
    if tag in ("str", "timestamp"):
        return text
    value = plain(text)
    wanted = _TYPES[tag]
    if tag == "float" and type(value) is int:
        return value
    if type(value) is not wanted:
        raise ValueError(text)
    return value


_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "null": type(None)}


def _number(text: str) -> str | int | float:
    digits = text.replace("_", "")
    match = _INTEGER.fullmatch(digits) if len(digits) <= _LONGEST_INTEGER else None
    if match:
        sign, *by_base = match.groups()
        for base, part in zip((16, 2, 8, 10), by_base, strict=True):
            if part is not None:
                value = int(part, base)
                if value < 1 << 64:
                    return -value if sign == "-" else value
    if not _FLOAT.fullmatch(digits):
        return text
    number = float(digits)
    if not math.isfinite(number):
        return text  # not in JSON, so nothing in Kubernetes can be it
    return int(number) if number.is_integer() and abs(number) < _JSON_INTEGERS else number
