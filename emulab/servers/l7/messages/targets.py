"""Hosts and targets of requests, as nginx compares them. Pure."""

from __future__ import annotations

import re

from emulab.errors import PeerError

_ESCAPE = re.compile(rb"%(.{0,2})", re.DOTALL)
_HEX = re.compile(rb"[0-9A-Fa-f]{2}")
# As `ngx_http_validate_host` reads it: what follows the name or the brackets is no matter.
_HOST = re.compile(rb"(\[[^\x00-\x20/\x7f\]]*\]?|[^\x00-\x20/:\x7f\[][^\x00-\x20/:\x7f]*)[^\x00-\x20/\x7f]*")

_ESCAPED = re.compile(rb"[^!$&'()*+,\-./0-9:;=@A-Z\[\]_a-z~]")


def normalise_host(raw: bytes) -> str:
    """The name in a Host header: lower case, without port and trailing dot.

    Raises `PeerError` for what nginx answers with 400: empty, with spaces, slashes or two dots in a row.
    """
    match = _HOST.fullmatch(raw)
    if match is None or b".." in raw:
        raise PeerError("invalid host")
    name = match[1].decode("latin-1").lower().removesuffix(".")
    if not name:
        raise PeerError("invalid host")
    return name


def without_port(raw: bytes) -> bytes:
    """A Host header without its port, otherwise as it came."""
    match = _HOST.fullmatch(raw)
    return match[1] if match is not None else raw


def _unescape(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if _HEX.fullmatch(digits) is None or digits == b"00":
        raise PeerError("invalid percent-encoding in the path")
    return bytes.fromhex(digits.decode())


def normalise_path(target: bytes) -> bytes:
    """A request target as nginx compares it with locations (`$uri`).

    Query and fragment cut, percent-encoding decoded once, `//` merged, `.` and `..` resolved; `%2F`
    counts as a slash. Raises `PeerError` for what nginx answers with 400: a broken or zero escape and
    a `..` above the root.
    """
    path = target.partition(b"?")[0].partition(b"#")[0]
    if b"%" in path:
        path = _ESCAPE.sub(_unescape, path)
    if b"//" not in path and b"/." not in path:
        return path
    elements: list[bytes] = []
    parts = path.split(b"/")[1:]
    for part in parts:
        if part == b"..":
            if not elements:
                raise PeerError("the path leaves the root")
            elements.pop()
        elif part not in (b"", b"."):
            elements.append(part)
    if elements and parts[-1] in (b"", b".", b".."):
        elements.append(b"")
    return b"/" + b"/".join(elements)


def query(target: bytes) -> bytes:
    """The query of a target without its fragment, as nginx's `$args` has it."""
    return target.partition(b"#")[0].partition(b"?")[2]


def with_query(path: bytes, target: bytes) -> bytes:
    """Another path with the query of a target, if it has one."""
    asked = query(target)
    return path + b"?" + asked if asked else path


def escaped(path: bytes) -> bytes:
    """A path that is decoded, as a target can have it: percent-encoded as nginx does it (`ngx_escape_uri`)."""
    return _ESCAPED.sub(lambda match: b"%%%02X" % match[0][0], path)


_IN_ARGUMENTS = re.compile(rb'[\x00-\x20"#%&+;<>?\\^`{|}\x7f-\xff]')


def in_location(part: bytes) -> bytes:
    """A part of a path that is decoded, as nginx writes it into a place to which a client is sent, which becomes of
    all of the place by `located` (`NGX_ESCAPE_ARGS`)."""
    return _IN_ARGUMENTS.sub(lambda match: b"%%%02X" % match[0][0], part)


_BEGUN_OR_QUOTED = re.compile(rb"\?|%([0-9A-Fa-f]{2})")


def located(place: bytes) -> bytes:
    """A place to which a client is sent, where nothing is percent-encoded before the query but what has to be
    (`NGX_UNESCAPE_REDIRECT`)."""
    pieces, at = [], 0
    for found in _BEGUN_OR_QUOTED.finditer(place):
        char = bytes.fromhex((found[1] or b"3F").decode())
        if b"%" < char < b"\x7f":
            pieces += [place[at : found.start()], char]
            at = found.end()
        if char == b"?":
            break
    return b"".join(pieces) + place[at:]


_ARGUMENT = re.compile(rb"[^-.0-9A-Z_a-z~]")


def argument(text: bytes) -> bytes:
    """A text as a parameter of a query has it: all but what is never reserved is percent-encoded (`set_escape_uri`)."""
    return _ARGUMENT.sub(lambda match: b"%%%02X" % match[0][0], text)
