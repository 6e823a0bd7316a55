"""What becomes of header fields on their way through, both ways. Pure.

Which field is passed on and which isn't says the personality, in an `ActionTable` for either way.

Rules:

* Hop-by-hop fields, and those that `Connection` names, end here (RFC 9110, section 7.6.1). But nobody may take
  away by `Connection` what frames or routes the message (that isn't among the lines at all, but written anew) or
  what is meant for the last recipient (`_END_TO_END`).
"""

from __future__ import annotations

import re
from collections.abc import Collection

NAMES_MAX = 4096
"""Distinct spellings of field names that a table remembers."""


# What to do with a field; everything but PASS and DROP is looked at by the reader. From HOST to SINGLE a request
# may have the field but once. Plain numbers, not an enumeration: looking up a member costs more than all else
# that is done for a field.
(
    PASS,
    HOST,
    LENGTH,
    CODING,
    EXPECT,
    SINGLE,
    DROP,
    CONNECTION,
    UPGRADE,
    REQUEST_ID,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PORT,
    FORWARDED_PROTO,
    REAL_IP,
) = range(15)
FIRST = 1 << 8
"""From here on: fields of a response of which the first counts, each with a bit of its own."""


def firsts(*names: bytes) -> dict[bytes, int]:
    """The actions of fields of which the first counts."""
    return {name: FIRST << index for index, name in enumerate(names)}


class ActionTable(dict[bytes, int]):
    """Actions by field name in whatever case it came; unknown spellings are classified once."""

    def __init__(self, known: dict[bytes, int], plain: bytes | None = None) -> None:
        """`known`: those of names in lower case, of which the others are passed on. `plain`: but only where their names
        are of letters, digits and these characters."""
        super().__init__()
        self._known = known
        self._plain = re.compile(rb"[A-Za-z0-9%b]+" % plain) if plain is not None else None

    def __missing__(self, name: bytes) -> int:
        if self._plain is not None and self._plain.fullmatch(name) is None:
            action = DROP
        else:
            action = self._known.get(name.lower(), PASS)
        if len(self) < NAMES_MAX:  # names come from strangers
            self[name] = action
        return action


HOP_BY_HOP = {
    **dict.fromkeys((b"keep-alive", b"proxy-connection", b"te", b"trailer"), DROP),
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
}
"""What every table has: none of these is passed on as it came."""

_PER_HOP_ALREADY = frozenset({b"close", b"keep-alive", b"upgrade", b""})

_END_TO_END = frozenset(
    b"accept accept-encoding accept-language accept-ranges age allow authorization cache-control cookie date etag "
    b"expires forwarded from host if-match if-modified-since if-none-match if-range if-unmodified-since "
    b"last-modified location max-forwards origin pragma range referer refresh retry-after server set-cookie "
    b"strict-transport-security user-agent vary via www-authenticate x-request-id".split()
)
_END_TO_END_PREFIXES = (b"access-control-", b"content-", b"x-forwarded-", b"x-original-")


def without_listed(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """Field lines without the hop-by-hop ones that the Connection field lists."""
    if _PER_HOP_ALREADY.issuperset(connection):
        return lines
    listed = {name for name in connection if not name.startswith(_END_TO_END_PREFIXES)} - _END_TO_END
    return [line for line in lines if line.partition(b":")[0].lower() not in listed]


def replaced_lines(lines: list[bytes], gone: Collection[bytes], new: list[bytes]) -> list[bytes]:
    """Field lines without those of some names, which are given in lower case, and with new ones. A new list."""
    return [line for line in lines if line.partition(b":")[0].lower() not in gone] + new
