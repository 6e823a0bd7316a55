"""What nginx's variables stand for in a request (`config.variables` has their names). Pure.

A text with variables becomes a function once, when the configuration is taken. What a request doesn't have is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.errors import PeerError
from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config.variables import pieces, unknown_variables
from emulab.servers.l7.engine import cookies
from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.messages.targets import argument, normalise_host, normalise_path, query

Evaluated = Callable[[Asked], bytes]
EvaluatedText = Callable[[Asked], str]


def _query(asked: Asked) -> bytes:
    return query(asked.target)


def _uri(asked: Asked) -> bytes:
    try:
        return normalise_path(asked.target)
    except PeerError:
        return asked.target.partition(b"?")[0]


def _asked_host(asked: Asked) -> bytes:
    return asked.head.host or b""


def _host(asked: Asked) -> bytes:
    try:
        return normalise_host(_asked_host(asked) or asked.host or b"_").encode("latin-1")
    except PeerError:
        return b""


def _address(asked: Asked) -> bytes:
    return asked.address.encode("latin-1")


def _version(asked: Asked) -> bytes:
    return b"HTTP/1.0" if asked.head.old else b"HTTP/1.1"


def _request(asked: Asked) -> bytes:
    return b"%b %b %b" % (asked.head.method, asked.target, _version(asked))


_VALUES: Mapping[str, Evaluated] = {
    "args": _query,
    "best_http_host": lambda asked: asked.host,
    "binary_remote_addr": _address,  # of which the four or sixteen bytes tell no more than the text
    "content_length": lambda asked: b"%d" % asked.head.framing if asked.head.framing >= 0 else b"",
    "content_type": lambda asked: asked.head.field(b"content-type").encode("latin-1"),
    "document_uri": _uri,
    "escaped_request_uri": lambda asked: argument(asked.target),
    "host": _host,
    "hostname": _host,
    "http_host": _asked_host,
    "https": lambda asked: b"on" if asked.listener[0] == "https" else b"",
    "is_args": lambda asked: b"?" if _query(asked) else b"",
    "literal_dollar": lambda _: b"$",
    "pass_access_scheme": lambda asked: asked.scheme.encode("latin-1"),
    "pass_port": lambda asked: asked.port.encode("latin-1"),
    "query_string": _query,
    "realip_remote_addr": _address,
    "remote_addr": _address,
    "req_id": lambda asked: asked.head.request_id or asked.request_id,
    "request": _request,
    "request_id": lambda asked: asked.request_id,
    "request_method": lambda asked: asked.head.method,
    "request_uri": lambda asked: asked.target,
    "scheme": lambda asked: asked.listener[0].encode("latin-1"),
    "server_name": _host,
    "server_port": lambda asked: asked.listener[1].encode("latin-1"),
    "server_protocol": _version,
    "the_real_ip": _address,
    "uri": _uri,
}

_KEPT = {"x_forwarded_for": "forwarded_for", "x_forwarded_host": "forwarded_host",
         "x_forwarded_proto": "forwarded_proto", "x_forwarded_port": "forwarded_port",
         "x_request_id": "request_id", "host": "host"}  # fmt: skip
"""Fields that aren't among the lines of a head, by the attributes that have them."""


def _field(name: str) -> Evaluated:
    if attribute := _KEPT.get(name):
        kept: str = attribute
        return lambda asked: bytes(getattr(asked.head, kept) or b"")
    key = name.replace("_", "-").encode()
    return lambda asked: asked.head.field(key).encode("latin-1")


def _pair(pairs: list[bytes], name: bytes) -> bytes:
    """The first value of a name, whatever its case, among pairs that are written with `=`."""
    for pair in pairs:
        key, equals, value = pair.strip().partition(b"=")
        if equals and key.lower() == name:
            return value
    return b""


def _variable(name: str) -> Evaluated:
    if name in _VALUES:
        return _VALUES[name]
    if name.isdigit():
        index = int(name) - 1
        return lambda asked: asked.groups[index] if index < len(asked.groups) else b""
    family, _, member = name.lower().partition("_")
    if family == "http":
        return _field(member)
    key = member.encode()
    if family == "arg":
        return lambda asked: _pair(_query(asked).split(b"&"), key)
    return lambda asked: (cookies.variable(field(asked, "cookie"), member) or "").encode("latin-1")


def _inside(name: str, path: str) -> bytes | Evaluated:
    if name in ("uri", "document_uri"):
        return path.encode()
    return b"" if name in ("args", "query_string", "is_args") or name.startswith("arg_") else _variable(name)


def compiled(template: str, inside: str = "") -> Evaluated:
    """What a text is for a request. Raises `BadConfiguration`, without the place, for a variable that means nothing.

    `inside` is the path of the subrequest that it is read in, which has no query: it is no matter there what the client
    asked for, but in `$request_uri`.
    """
    if unknown := unknown_variables(template):
        raise BadConfiguration(f"{template!r}: nginx has no variable ${unknown[0]}")
    parts: list[bytes | Evaluated] = []
    for before, name in pieces(template):
        if before:
            parts.append(before.encode())
        if name:
            parts.append(_inside(name, inside) if inside else _variable(name))
    if all(isinstance(part, bytes) for part in parts):
        constant = b"".join(part for part in parts if isinstance(part, bytes))
        return lambda _asked: constant
    if len(parts) == 1 and not isinstance(parts[0], bytes):
        return parts[0]
    return lambda asked: b"".join(part if isinstance(part, bytes) else part(asked) for part in parts)


def text(template: str, inside: str = "") -> EvaluatedText:
    """`compiled`, whose values are texts."""
    value = compiled(template, inside)
    return lambda asked: value(asked).decode("latin-1")


def field(asked: Asked, name: str) -> str:
    """The value of a header field, "" where there is none."""
    return asked.head.field(name.encode("latin-1"))
