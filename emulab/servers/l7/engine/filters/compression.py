"""Compressing answers as nginx's gzip module does it. Pure."""

from __future__ import annotations

import re
import zlib

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import Gzip, Match, as_python
from emulab.servers.l7.engine.conditions import pattern
from emulab.servers.l7.engine.filters.effect import Asked, Incoming, ResponseChange
from emulab.servers.l7.messages.headers import replaced_lines

_STATUSES = frozenset({200, 403, 404})
_TAKEN = re.compile(rb"(?:^|[,\s])gzip(?:\s*;\s*q\s*=\s*([0-9.]+))?\s*(?:,|$)", re.IGNORECASE)


class Encoder:
    """One answer's body on its way through gzip. Each piece comes out whole, as it is asked to go on at once."""

    __slots__ = ("_stream",)

    def __init__(self, level: int) -> None:
        self._stream = zlib.compressobj(level, zlib.DEFLATED, 31)

    def pieces(self, given: list[bytes], last: bool) -> list[bytes]:
        """What becomes of pieces of a body."""
        out = [*map(self._stream.compress, given)]
        if last or given:
            out.append(self._stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH))
        data = b"".join(out)
        return [data] if data else []


def _takes_gzip(asked: Asked) -> bool:
    """Whether the client takes gzip; one of HTTP/1.0 isn't asked (`gzip_http_version 1.1`)."""
    if asked.head.old:
        return False
    found = _TAKEN.search(asked.head.field(b"accept-encoding").encode("latin-1"))
    return found is not None and (found[1] is None or bool(found[1].strip(b"0.")))


def gzip(one: Gzip, _match: Match) -> ResponseChange:
    """What it says of a body it says to who asks for the head alone, too."""
    if not 1 <= one.level <= 9:
        raise BadConfiguration(f"level: {one.level} is not from 1 to 9")
    types = frozenset({b"text/html", *(name.lower().encode() for name in one.types)})
    any_type = b"*" in types
    disabled = pattern(as_python(one.disable.encode()), re.IGNORECASE) if one.disable else None

    def response(incoming: Incoming) -> None:
        fields = {name.lower(): value for name, _, value in (line.partition(b":") for line in incoming.lines)}
        kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if (
            incoming.status not in _STATUSES
            or b"content-encoding" in fields
            or 0 <= incoming.length < one.min_length
            or not (kind in types or (any_type and kind))
        ):
            return
        lines = incoming.lines
        agent = incoming.asked.head.field(b"user-agent").encode("latin-1")
        if _takes_gzip(incoming.asked) and (disabled is None or disabled.search(agent) is None):
            incoming.encoder = Encoder(one.level)
            tag = fields.get(b"etag", b"").strip()
            weak = [b"ETag: W/%b\r\n" % tag] if tag.startswith(b'"') else []
            gone = (b"accept-ranges", b"etag") if weak else (b"accept-ranges",)
            lines = replaced_lines(lines, gone, [*weak, b"Content-Encoding: gzip\r\n"])
        incoming.lines = [*lines, b"Vary: Accept-Encoding\r\n"]

    return response
