"""How ingress-nginx reads the texts of its settings: of annotations, and of the keys of its ConfigMap. Pure.

Each raises `ValueError`, which says what is wrong, for a text that says nothing.
"""

from __future__ import annotations

import re

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_SIZES = {"": 0, "k": 10, "m": 20, "g": 30}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def boolean(text: str) -> bool:
    """As Go's `strconv.ParseBool` reads it."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def integer(text: str) -> int:
    """A number that isn't negative."""
    if not re.fullmatch(r"\+?\d+", text):
        raise ValueError("is no number")
    return int(text)


def size(text: str) -> int:
    """A size in bytes as nginx has it: `8m`, `16k`, `0`."""
    match = re.fullmatch(r"(\d+)([kKmMgG]?)", text)
    if match is None:
        raise ValueError("is no size, such as 8m")
    return int(match[1]) << _SIZES[match[2].lower()]


def seconds(text: str) -> float:
    """Seconds, or a time of nginx in one unit: `75`, `75s`, `2m`."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h)?", text)
    if match is None:
        raise ValueError("is no time, such as 75 or 2m")
    return int(match[1]) * _UNITS[match[2]]


def http_version(text: str) -> str:
    """A version of HTTP that backends are asked in."""
    if text not in ("1.0", "1.1"):
        raise ValueError("is neither 1.0 nor 1.1")
    return text


def words(text: str) -> tuple[str, ...]:
    """What stands between commas, without the spaces around it."""
    return tuple(word for one in text.split(",") if (word := one.strip()))
