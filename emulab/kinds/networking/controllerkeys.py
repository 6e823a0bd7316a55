"""Keys of the controller's ConfigMap that are more than a field of the proxy's policy or options. Pure.

* `DEFAULTED`: what holds where an Ingress has no annotation of the name.
* `COMPOSED`: what the planner makes filters and options of, each with how its text is read.
* `is_as_it_is`: what nothing follows, and what it may say without a warning.
* `UNSEEN`: what nobody outside could tell: sizes of tables, workers, where nginx's files are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from emulab.kinds.networking.enginelacks import HAPROXY, Lack, never, partly
from emulab.kinds.networking.keyvalues import bare, boolean, buffers, integer, types
from emulab.kinds.networking.nginxvalues import (
    EachWord,
    expression,
    field_name,
    field_names,
    number_and_size,
    on_off,
    replacement,
    size,
    status_between,
    url_text,
    words,
)
from emulab.kinds.networking.nginxvalues import integer as decimal

_Read = Callable[[str], Any]

DEFAULTED: Mapping[str, _Read] = {
    "client-body-buffer-size": bare(size),
    "custom-http-errors": EachWord(status_between(300, 599)),
    "disable-proxy-intercept-errors": boolean,
    "proxy-buffering": bare(on_off),
    "proxy-buffers-number": buffers,
    "proxy-busy-buffers-size": lambda text: bare(size)(text) if text else None,
    "proxy-cookie-domain": bare(replacement),
    "proxy-cookie-path": bare(replacement),
    "proxy-max-temp-file-size": bare(size),
    "proxy-redirect-from": bare(url_text),
    "proxy-redirect-to": bare(url_text),
    "proxy-request-buffering": bare(on_off),
    "relative-redirects": boolean,
}


def _level(text: str) -> int:
    level = integer(text)
    if not 1 <= level <= 9:
        raise ValueError("is no level from 1 to 9")
    return level


def _workers(text: str) -> int | None:
    """`auto` is left to who has the machine in mind: `spec.ingress.workers` of the Cluster."""
    if text == "auto":
        return None
    if (number := decimal(text)) < 1:
        raise ValueError("is no number of processes")
    return number


class ComposedKey(NamedTuple):
    """How the text of a key is read, and what engines can't do of it."""

    read: _Read
    lacks: tuple[Lack, ...] = ()


COMPOSED: Mapping[str, ComposedKey] = {
    "add-headers": ComposedKey(str),
    "disable-access-log": ComposedKey(boolean),
    "disable-http-access-log": ComposedKey(boolean),
    "global-allowed-response-headers": ComposedKey(EachWord(field_name)),
    "gzip-disable": ComposedKey(expression),
    "gzip-level": ComposedKey(_level, (never(HAPROXY, "it has one level of its own"),)),
    "gzip-min-length": ComposedKey(integer, (partly(HAPROXY, "it compresses answers of any length"),)),
    "gzip-types": ComposedKey(types),
    "hide-headers": ComposedKey(field_names),
    "large-client-header-buffers": ComposedKey(
        bare(number_and_size), (never(HAPROXY, "a head may have 24 KB"),)
    ),
    "no-tls-redirect-locations": ComposedKey(words),
    "proxy-add-original-uri-header": ComposedKey(boolean),
    "proxy-set-headers": ComposedKey(str),
    "server-tokens": ComposedKey(boolean),
    "use-gzip": ComposedKey(boolean),
    "worker-processes": ComposedKey(bare(_workers)),
}

_UNSEEN = """
access-log-params access-log-path debug-connections default-type disable-ipv6-dns disable-stream-access-log
enable-aio-write enable-multi-accept
enable-serial-reloads error-log-level error-log-path grpc-buffer-size-kb http-access-log-path lua-shared-dicts
map-hash-bucket-size max-worker-connections max-worker-open-files nginx-status-ipv4-whitelist
nginx-status-ipv6-whitelist proxy-headers-hash-bucket-size proxy-headers-hash-max-size reuse-port
server-name-hash-bucket-size server-name-hash-max-size ssl-buffer-size stream-access-log-path
variables-hash-bucket-size variables-hash-max-size worker-cpu-affinity worker-shutdown-timeout
"""
UNSEEN = frozenset(_UNSEEN.split())

_AS_IT_IS: Mapping[str, bool | int | str] = {
    "allow-snippet-annotations": False,
    "annotation-value-word-blocklist": "",
    "annotations-risk-level": "High",
    "bind-address": "",
    "disable-ipv6": False,
    "enable-auth-access-log": False,
    "enable-brotli": False,
    "enable-modsecurity": False,
    "enable-ocsp": False,
    "enable-opentelemetry": False,
    "enable-owasp-modsecurity-crs": False,
    "enable-syslog": False,
    "forwarded-host-header": "X-Forwarded-Host",
    "generate-request-id": True,
    "geoip2-autoreload-in-minutes": 0,
    "global-auth-snippet": "",
    "http-snippet": "",
    "http2-max-field-size": "",
    "http2-max-header-size": "",
    "http2-max-requests": 0,
    "limit-conn-zone-variable": "$binary_remote_addr",
    "location-snippet": "",
    "main-snippet": "",
    "modsecurity-snippet": "",
    "proxy-protocol-header-timeout": "5s",
    "proxy-ssl-location-only": False,
    "proxy-stream-next-upstream": True,
    "proxy-stream-responses": "1",
    "proxy-stream-timeout": "600s",
    "server-snippet": "",
    "ssl-dh-param": "",
    "ssl-early-data": False,
    "ssl-ecdh-curve": "auto",
    "ssl-session-ticket-key": "",
    "stream-snippet": "",
    "upstream-keepalive-time": "1h",
    "use-geoip2": False,
}
"""Keys that nothing follows, with what is done anyway: ingress-nginx' default."""


def is_as_it_is(key: str, text: str) -> bool:
    """Whether a key that nothing follows says what is done anyway."""
    done = _AS_IT_IS.get(key)
    if done is None or isinstance(done, str):
        return done == text.strip()
    try:
        return done == (boolean(text) if isinstance(done, bool) else integer(text))
    except ValueError:
        return False


def composed(data: Mapping[str, str]) -> dict[str, Any]:
    """What the keys of `COMPOSED` say; those that are absent or wrong are not there."""
    said = {}
    for key, one in COMPOSED.items():
        try:
            said[key] = one.read(data[key]) if key in data else None
        except ValueError:
            continue
    return {key: value for key, value in said.items() if value is not None}
