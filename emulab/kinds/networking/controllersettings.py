"""What an ingress controller's ConfigMaps say: the keys of `--configmap` that are followed, and ports. Pure.

A key is one line of the table: its name, how its text is read, and the field of the proxy's policies or options that it
sets. They are those of ingress-nginx' internal/ingress/controller/config; what can't be read is left, as there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One key. `read` raises ValueError for a text that says nothing; `field` is what it sets of the proxy."""

    read: Callable[[str], Any]
    field: str


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _size(text: str) -> int:
    """A size as nginx has it: `8m`, `16k`, `0`."""
    match = re.fullmatch(r"(\d+)([kKmMgG]?)", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def _seconds(text: str) -> float:
    """Seconds, or a time of nginx in one unit: `75`, `75s`, `2m`."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h)?", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}[match[2]]


SETTINGS: Mapping[str, Setting] = {
    "client-body-timeout": Setting(_seconds, "body_timeout"),
    "client-header-timeout": Setting(_seconds, "header_timeout"),
    "keep-alive": Setting(_seconds, "keepalive_timeout"),
    "proxy-body-size": Setting(_size, "body_max"),
    "proxy-buffer-size": Setting(_size, "response_head_max"),
    "proxy-connect-timeout": Setting(_seconds, "connect_timeout"),
    "proxy-next-upstream-tries": Setting(int, "tries"),
    "proxy-read-timeout": Setting(_seconds, "read_timeout"),
    "proxy-send-timeout": Setting(_seconds, "send_timeout"),
    "ssl-redirect": Setting(_boolean, "ssl_redirect"),
    "upstream-keepalive-connections": Setting(int, "upstream_keepalive"),
    "upstream-keepalive-timeout": Setting(_seconds, "upstream_keepalive_timeout"),
    "use-forwarded-headers": Setting(_boolean, "trust_forwarded"),
}
HSTS = {
    "hsts": "true",
    "hsts-max-age": "31536000",
    "hsts-include-subdomains": "true",
    "hsts-preload": "false",
}
"""What makes the header Strict-Transport-Security, with the defaults."""


STRICT_PATHS = "strict-validate-path-type"
"""Followed where Ingresses are admitted, not by the proxy."""


def validates_paths(data: Mapping[str, Any]) -> bool:
    """Whether Ingresses are refused whose paths have characters that only `ImplementationSpecific` may have."""
    try:
        return _boolean(str(data.get(STRICT_PATHS, "true")).strip())
    except ValueError:
        return True


class StreamedPort(NamedTuple):
    """A port of the controller that leads to a port of a Service, given by its number or name."""

    number: int
    namespace: str
    service: str
    port: str
    options: tuple[str, ...] = ()  # whether the PROXY protocol is spoken: with clients, with the Service


def streams(data: Mapping[str, Any]) -> Iterator[StreamedPort]:
    """What a ConfigMap of TCP or UDP Services says; what can't be read is left."""
    for key, value in data.items():
        name, *more = str(value).split(":")
        namespace, slash, service = name.partition("/")
        if key.isdecimal() and 0 < int(key) < 65536 and slash and more:
            yield StreamedPort(int(key), namespace, service, more[0], tuple(filter(None, more[1:])))


def unknown_keys(data: Mapping[str, Any]) -> list[str]:
    """The keys that nothing follows."""
    return [key for key in data if key not in SETTINGS and key not in HSTS and key != STRICT_PATHS]
