"""Heads as bytes, where they aren't written so often that it has to be done by hand (`echo.answers`, the ingress)."""

from __future__ import annotations

from collections.abc import Iterable

FieldPair = tuple[str, str]
"""Name and value, neither of which has a line's end: who has them from strangers has looked."""


def head_bytes(start: str, fields: Iterable[FieldPair]) -> bytes:
    """A head: the request line or status line, the fields, the empty line."""
    return "\r\n".join([start, *(f"{name}: {value}" for name, value in fields), "", ""]).encode()
