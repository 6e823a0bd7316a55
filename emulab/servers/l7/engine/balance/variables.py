"""A text with nginx' variables in it, as a key of a hash is one. Pure.

`$request_uri`, `${request_uri}-text`: what isn't known, or isn't there, is empty, as with nginx.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.messages.targets import normalise_path, without_port

_PARTS = re.compile(r"\$\{(\w+)\}|\$(\w+)|(\$|[^$]+)", re.ASCII)

HashKey = Callable[[Asked], str]


def complex_value(text: str) -> HashKey:
    """The text of a request."""
    parts: list[str | HashKey] = [
        literal or _variable(braced or bare) for braced, bare, literal in _PARTS.findall(text)
    ]
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]

    def value(asked: Asked) -> str:
        return "".join(part if isinstance(part, str) else part(asked) for part in parts)

    return value


def cookie(asked: Asked, name: str) -> str | None:
    """The value of the first cookie of this name."""
    for pair in asked.head.field(b"cookie").split(";"):
        key, equals, value = pair.strip().partition("=")
        if equals and key == name:
            return value
    return None


def field(asked: Asked, name: str) -> str:
    """The value of a header field, "" where there is none."""
    return asked.head.field(name.encode("latin-1"))


def _query(asked: Asked) -> str:
    return asked.target.partition(b"?")[2].decode("latin-1")


def _argument(asked: Asked, name: str) -> str:
    for pair in _query(asked).split("&"):
        key, equals, value = pair.partition("=")
        if equals and key.lower() == name:
            return value
    return ""


def _host(asked: Asked) -> str:
    return without_port(asked.host).decode("latin-1").lower()


def _uri(asked: Asked) -> str:
    return normalise_path(asked.target).decode("latin-1")


def _version(asked: Asked) -> str:
    return "HTTP/1.0" if asked.head.old else "HTTP/1.1"


def _method(asked: Asked) -> str:
    return asked.head.method.decode("latin-1")


def _address(asked: Asked) -> str:
    return asked.address


def _target(asked: Asked) -> str:
    return asked.target.decode("latin-1")


_VARIABLES: Mapping[str, HashKey] = {
    "args": _query,
    "binary_remote_addr": _address,  # of which the four or sixteen bytes hash as well as the text
    "content_length": lambda asked: str(asked.head.framing) if asked.head.framing > 0 else "",
    "content_type": lambda asked: field(asked, "content-type"),
    "document_uri": _uri,
    "host": _host,
    "http_host": lambda asked: asked.host.decode("latin-1"),
    "is_args": lambda asked: "?" if _query(asked) else "",
    "query_string": _query,
    "remote_addr": _address,
    "request": lambda asked: f"{_method(asked)} {_target(asked)} {_version(asked)}",
    "request_method": _method,
    "request_uri": _target,
    "scheme": lambda asked: asked.scheme,
    "server_protocol": _version,
    "the_real_ip": _address,
    "uri": _uri,
}


def _variable(name: str) -> HashKey:
    if known := _VARIABLES.get(name):
        return known
    kind, _, rest = name.partition("_")
    if kind == "http" and rest:
        wanted = rest.replace("_", "-").lower()
        return lambda asked: field(asked, wanted)
    if kind == "cookie" and rest:
        return lambda asked: cookie(asked, rest) or ""
    if kind == "arg" and rest:
        return lambda asked: _argument(asked, rest.lower())
    return lambda asked: ""
