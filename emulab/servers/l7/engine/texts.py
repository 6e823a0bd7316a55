"""What nginx's variables stand for in a request (`config.texts` has their names). Pure.

A text with variables becomes a function once, when the configuration is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from emulab.errors import PeerError
from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config.texts import REFERENCE, unknown
from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.messages.targets import argument, normalise_host, normalise_path

Text = Callable[[Asked], str]


def _split(asked: Asked) -> tuple[str, str]:
    path, _, query = asked.target.decode("latin-1").partition("?")
    return path, query


def _uri(asked: Asked) -> str:
    try:
        return normalise_path(asked.target).decode("latin-1")
    except PeerError:
        return _split(asked)[0]


def _host(asked: Asked) -> str:
    try:
        return normalise_host(asked.head.host or b"_")
    except PeerError:
        return ""


_SIMPLE: Mapping[str, Text] = {
    "args": lambda asked: _split(asked)[1],
    "best_http_host": lambda asked: asked.host.decode("latin-1"),
    "content_length": lambda asked: str(asked.head.framing) if asked.head.framing >= 0 else "",
    "content_type": lambda asked: asked.head.field(b"content-type"),
    "document_uri": _uri,
    "escaped_request_uri": lambda asked: argument(asked.target).decode("latin-1"),
    "host": _host,
    "hostname": _host,
    "http_host": lambda asked: (asked.head.host or b"").decode("latin-1"),
    "https": lambda asked: "on" if asked.listener[0] == "https" else "",
    "is_args": lambda asked: "?" if _split(asked)[1] else "",
    "literal_dollar": lambda _: "$",
    "pass_access_scheme": lambda asked: asked.scheme,
    "query_string": lambda asked: _split(asked)[1],
    "realip_remote_addr": lambda asked: asked.address,
    "remote_addr": lambda asked: asked.address,
    "req_id": lambda asked: (asked.head.request_id or asked.request_id).decode("latin-1"),
    "request_id": lambda asked: asked.request_id.decode("latin-1"),
    "request_method": lambda asked: asked.head.method.decode("latin-1"),
    "request_uri": lambda asked: asked.target.decode("latin-1"),
    "scheme": lambda asked: asked.listener[0],
    "server_name": _host,
    "server_port": lambda asked: asked.listener[1],
    "server_protocol": lambda asked: "HTTP/1.0" if asked.head.old else "HTTP/1.1",
    "uri": _uri,
}


def _parameter(name: str) -> Text:
    return lambda asked: next(
        (v for k, v in parse_qsl(_split(asked)[1], keep_blank_values=True) if k.lower() == name), ""
    )


def _cookie(name: str) -> Text:
    def value(asked: Asked) -> str:
        for one in asked.head.field(b"cookie").split(";"):
            key, _, found = one.strip().partition("=")
            if key == name:
                return found
        return ""

    return value


_KEPT = {"http_x_forwarded_for": "forwarded_for", "http_x_forwarded_host": "forwarded_host",
         "http_x_forwarded_proto": "forwarded_proto", "http_x_forwarded_port": "forwarded_port",
         "http_x_request_id": "request_id"}  # fmt: skip
"""Fields that aren't among the lines of a head, by the attributes that have them."""


def _field(variable: str) -> Text:
    name = variable.removeprefix("http_").replace("_", "-").encode()
    attribute = _KEPT.get(variable)
    if attribute is not None:
        kept: str = attribute
        return lambda asked: bytes(getattr(asked.head, kept)).decode("latin-1")
    return lambda asked: asked.head.field(name)


def _variable(name: str) -> Text:
    if name in _SIMPLE:
        return _SIMPLE[name]
    kind, _, rest = name.partition("_")
    return {"arg": _parameter, "cookie": _cookie}[kind](rest) if kind in ("arg", "cookie") else _field(name)


def _inside(name: str, path: str) -> str | Text:
    if name in ("uri", "document_uri"):
        return path
    return "" if name in ("args", "query_string", "is_args") or name.startswith("arg_") else _variable(name)


def text(template: str, inside: str = "") -> Text:
    """What a text is for a request. Raises `BadConfiguration`, without the place.

    `inside` is the path of the subrequest that it is read in, which has no query: it is no matter there what the client
    asked for, but in `$request_uri`.
    """
    if wrong := unknown(template):
        raise BadConfiguration(f"{template!r}: nginx has no variable ${wrong[0]}")
    parts: list[str | Text] = []
    end = 0
    for match in REFERENCE.finditer(template):
        name = match[1] or match[2]
        parts += [template[end : match.start()], _inside(name, inside) if inside else _variable(name)]
        end = match.end()
    parts.append(template[end:])
    if len(parts) == 1:
        return lambda _: template
    return lambda asked: "".join(part if isinstance(part, str) else part(asked) for part in parts)
