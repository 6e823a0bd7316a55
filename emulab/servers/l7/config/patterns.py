"""Regular expressions as nginx' PCRE has them, as Python's. Pure."""

from __future__ import annotations

import re

_NAMED = re.compile(rb"\(\?<(?=[A-Za-z_])")
_IGNORES_CASE = re.compile(rb"\(\?i\)")
_CLASSES = {
    b"[:alnum:]": rb"A-Za-z0-9",
    b"[:alpha:]": rb"A-Za-z",
    b"[:digit:]": rb"0-9",
    b"[:lower:]": rb"a-z",
    b"[:upper:]": rb"A-Z",
    b"[:word:]": rb"A-Za-z0-9_",
    b"[:space:]": rb"\s",
    b"[:xdigit:]": rb"0-9A-Fa-f",
}


def as_python(text: bytes) -> bytes:
    """An expression of PCRE that ignores case anyway: names of groups, flags and classes as Python writes them."""
    text = (
        _IGNORES_CASE.sub(b"", _NAMED.sub(b"(?P<", text)).replace(rb"\z", rb"\Z").replace(rb"\h", rb"[ \t]")
    )
    for name, members in _CLASSES.items():
        text = text.replace(name, members)
    return text
