"""What becomes of header fields on their way through, both ways. Pure.

Rules:

* Hop-by-hop fields, and those that `Connection` names, end here (RFC 9110, section 7.6.1). But nobody may take
  away by `Connection` what frames or routes the message (that isn't among the lines at all, but written anew) or
  what is meant for the last recipient (`_END_TO_END`).
* Towards the upstream the `X-Forwarded-*` family is ours: what the client sent under these names is
  dropped unless `trust_forwarded` says otherwise (ingress-nginx: `use-forwarded-headers: false`). The
  X-Forwarded-For that came in is handed on as X-Original-Forwarded-For.
* nginx drops request fields with characters other than letters, digits and `-` in their names
  (`underscores_in_headers off`), and `Proxy` (httpoxy); nginx answers `Expect` itself.
* Towards the client `Date` is ours and `Server` is gone, as in ingress-nginx with its defaults.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from email.utils import formatdate

NAMES_MAX = 4096
"""Distinct spellings of field names that a table remembers."""

_PLAIN_NAME = re.compile(rb"[A-Za-z0-9-]+")


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
) = range(14)


class ActionTable(dict[bytes, int]):
    """Actions by field name in whatever case it came; unknown spellings are classified once."""

    def __init__(self, known: dict[bytes, int], plain_only: bool) -> None:
        super().__init__()
        self._known = known
        self._plain_only = plain_only

    def __missing__(self, name: bytes) -> int:
        if self._plain_only and _PLAIN_NAME.fullmatch(name) is None:
            action = DROP
        else:
            action = self._known.get(name.lower(), PASS)
        if len(self) < NAMES_MAX:  # names come from strangers
            self[name] = action
        return action


_HOP = dict.fromkeys((b"keep-alive", b"proxy-connection", b"te", b"trailer"), DROP)
_COMMON = {
    **_HOP,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
}

REQUEST_ACTIONS = ActionTable(
    {
        **_COMMON,
        # What nginx refuses to have twice (`ngx_http_process_unique_header_line`).
        b"host": HOST,
        b"expect": EXPECT,
        **dict.fromkeys(
            (b"authorization", b"content-range", b"if-match", b"if-none-match", b"if-range"), SINGLE
        ),
        **dict.fromkeys((b"if-modified-since", b"if-unmodified-since"), SINGLE),
        b"proxy": DROP,
        b"x-request-id": REQUEST_ID,
        b"x-real-ip": DROP,
        b"x-forwarded-for": FORWARDED_FOR,
        b"x-forwarded-host": FORWARDED_HOST,
        b"x-forwarded-port": FORWARDED_PORT,
        b"x-forwarded-proto": FORWARDED_PROTO,
        b"x-forwarded-scheme": DROP,
        b"x-original-forwarded-for": DROP,
        b"x-scheme": DROP,
    },
    plain_only=True,
)

RESPONSE_ACTIONS = ActionTable(
    {
        **_COMMON,
        b"date": DROP,
        b"server": DROP,
        b"x-pad": DROP,
        b"x-accel-expires": DROP,
        b"x-accel-redirect": DROP,
        b"x-accel-limit-rate": DROP,
        b"x-accel-buffering": DROP,
        b"x-accel-charset": DROP,
    },
    plain_only=False,
)

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


def changed(lines: list[bytes], gone: Collection[bytes], new: list[bytes]) -> list[bytes]:
    """Field lines without those of some names, which are given in lower case, and with new ones. A new list."""
    return [line for line in lines if line.partition(b":")[0].lower() not in gone] + new


class DateLine:
    """The Date field, made anew at most once a second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def at(self, now: float) -> bytes:
        """The line for `now`, in seconds since the epoch."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._line = f"Date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line
