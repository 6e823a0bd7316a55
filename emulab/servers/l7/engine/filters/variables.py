"""What variables of texts are for one request. Pure; their names are in `config.variables`."""

from __future__ import annotations

from collections.abc import Callable

from emulab.errors import PeerError
from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config.variables import pieces, unknown_variables
from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.messages.targets import normalise_host, normalise_path

Evaluated = Callable[[Asked], bytes]


def _host(asked: Asked) -> bytes:
    try:
        return normalise_host(asked.host).encode("latin-1")
    except PeerError:
        return b""


def _query(asked: Asked) -> bytes:
    return asked.head.target.partition(b"?")[2]


_VALUES: dict[str, Evaluated] = {
    "args": _query,
    "best_http_host": lambda asked: asked.host,
    "host": _host,
    "http_host": lambda asked: asked.head.host or b"",
    "is_args": lambda asked: b"?" if _query(asked) else b"",
    "pass_access_scheme": lambda asked: asked.scheme.encode("latin-1"),
    "pass_port": lambda asked: asked.port.encode("latin-1"),
    "query_string": _query,
    "remote_addr": lambda asked: asked.address.encode("latin-1"),
    "req_id": lambda asked: asked.request_id,
    "request_method": lambda asked: asked.head.method,
    "request_uri": lambda asked: asked.head.target,
    "scheme": lambda asked: asked.scheme.encode("latin-1"),
    "server_port": lambda asked: asked.port.encode("latin-1"),
    "uri": lambda asked: normalise_path(asked.head.target),
}


def _value(name: str) -> Evaluated:
    if name in _VALUES:
        return _VALUES[name]
    if name.isdigit():
        index = int(name) - 1
        return lambda asked: asked.groups[index] if index < len(asked.groups) else b""
    family, _, member = name.partition("_")
    key = member.lower().encode()
    if family == "http":
        return lambda asked: asked.head.field(key.replace(b"_", b"-")).encode("latin-1")
    if family == "arg":
        return lambda asked: _pair(_query(asked).split(b"&"), key)
    return lambda asked: _pair(asked.head.field(b"cookie").encode("latin-1").split(b";"), member.encode())


def _pair(pairs: list[bytes], name: bytes) -> bytes:
    """The first value of a name among pairs that are written with `=`."""
    for pair in pairs:
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return b""


def compiled(text: str) -> Evaluated:
    """What a text is for a request. Raises `BadConfiguration` for a variable that means nothing."""
    if unknown := unknown_variables(text):
        raise BadConfiguration(f"{text!r}: there is no variable ${unknown[0]}")
    parts: list[bytes | Evaluated] = []
    for before, name in pieces(text):
        if before:
            parts.append(before.encode())
        if name:
            parts.append(_value(name))
    if all(isinstance(part, bytes) for part in parts):
        constant = text.encode()
        return lambda _asked: constant
    return lambda asked: b"".join(part if isinstance(part, bytes) else part(asked) for part in parts)
