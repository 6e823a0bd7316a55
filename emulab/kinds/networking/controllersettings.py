"""What an ingress controller's ConfigMaps say: the keys of `--configmap` that are followed, and ports. Pure.

A key is one line of the table: its name, how its text is read, and the field of the proxy's policies or options that it
sets. They are those of ingress-nginx' internal/ingress/controller/config; what can't be read is left, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from emulab.kinds.networking.accesssettings import ACCESS
from emulab.kinds.networking.accessvalues import patterns
from emulab.kinds.networking.controllerkeys import COMPOSED, DEFAULTED, UNSEEN, is_as_it_is
from emulab.kinds.networking.enginelacks import HAPROXY, NGINX, Lack, never, partly
from emulab.kinds.networking.keyvalues import age, bare, boolean, integer, seconds
from emulab.kinds.networking.logformat import log_format
from emulab.kinds.networking.nginxvalues import (
    EachWord,
    http_version,
    load_balance,
    next_upstream,
    size,
)
from emulab.kinds.networking.nginxvalues import integer as decimal


class Setting(NamedTuple):
    """One key. `read` raises ValueError for a text that says nothing; `field` is what it sets of the proxy."""

    read: Callable[[str], Any]
    field: str
    lacks: tuple[Lack, ...] = ()  # what engines can't do of it; of what has an annotation's name, that one's


def _escape(name: str) -> Callable[[str], str | None]:
    """One that is off says nothing of the other; where both are on, `none` outranks `json`, as its line is later."""
    return lambda text: name if boolean(text) else None


def _redirect_port(text: str) -> int:
    """The port that redirects to TLS say: that of the listener, or none."""
    return 443 if boolean(text) else 0


def _redirect_status(text: str) -> int:
    status = decimal(text)
    if status not in (301, 302, 307, 308):
        raise ValueError("is not one of 301, 302, 307, 308")
    return status


_PROXIED = (
    "with use-proxy-protocol and use-forwarded-headers it reads no list: the address is the PROXY header's"
)


def _leaves_somebody_out(networks: tuple[str, ...]) -> bool:
    return not any(network.endswith("/0") for network in networks)


_LACKS_OF_ACCESS: Mapping[str, tuple[Lack, ...]] = {
    "proxy-real-ip-cidr": (partly(NGINX, _PROXIED, _leaves_somebody_out),)
}

SETTINGS: Mapping[str, Setting] = {
    "allow-backend-server-header": Setting(boolean, "pass_server"),
    "client-body-timeout": Setting(seconds, "body_timeout"),
    "client-header-buffer-size": Setting(
        bare(size), "header_buffer", (never(HAPROXY, "a head may have 24 KB"),)
    ),
    "client-header-timeout": Setting(seconds, "header_timeout"),
    "http2-max-concurrent-streams": Setting(integer, "http2_streams"),
    "log-format-escape-json": Setting(_escape("json"), "log_escape"),
    "log-format-escape-none": Setting(_escape("none"), "log_escape"),
    "log-format-upstream": Setting(log_format, "log_format"),
    "enable-access-log-for-default-backend": Setting(boolean, "log_default"),
    "enable-underscores-in-headers": Setting(boolean, "underscores"),
    "force-ssl-redirect": Setting(boolean, "force_ssl_redirect"),
    "ignore-invalid-headers": Setting(lambda text: not boolean(text), "invalid_names"),
    "http-redirect-code": Setting(_redirect_status, "redirect_status"),
    "keep-alive": Setting(seconds, "keepalive_timeout"),
    "keep-alive-requests": Setting(integer, "keepalive_requests"),
    "preserve-trailing-slash": Setting(boolean, "keep_slash"),
    "proxy-body-size": Setting(bare(size), "body_max"),
    "proxy-buffer-size": Setting(bare(size), "response_head_max"),
    "proxy-connect-timeout": Setting(seconds, "connect_timeout"),
    "load-balance": Setting(load_balance, "load_balance"),
    "proxy-next-upstream": Setting(bare(next_upstream), "next_upstream"),
    "proxy-next-upstream-timeout": Setting(seconds, "next_upstream_timeout"),
    "proxy-http-version": Setting(bare(http_version), "http_version"),
    "proxy-next-upstream-tries": Setting(integer, "tries"),
    "proxy-read-timeout": Setting(seconds, "read_timeout"),
    "proxy-send-timeout": Setting(seconds, "send_timeout"),
    "retry-non-idempotent": Setting(boolean, "retry_non_idempotent"),
    "service-upstream": Setting(boolean, "service"),
    "skip-access-log-urls": Setting(patterns, "unlogged"),
    "ssl-redirect": Setting(boolean, "ssl_redirect"),
    "upstream-keepalive-connections": Setting(integer, "upstream_keepalive"),
    "upstream-keepalive-requests": Setting(integer, "upstream_keepalive_requests"),
    "upstream-keepalive-timeout": Setting(seconds, "upstream_keepalive_timeout"),
    "use-port-in-redirects": Setting(_redirect_port, "redirect_port"),
    "use-forwarded-headers": Setting(boolean, "trust_forwarded"),
    "use-http2": Setting(boolean, "http2"),
    **{key: Setting(*line, _LACKS_OF_ACCESS.get(key, ())) for key, line in ACCESS.items()},
}
HSTS_AGE = "hsts-max-age"
HSTS = {
    "hsts": "true",
    HSTS_AGE: "31536000",
    "hsts-include-subdomains": "true",
    "hsts-preload": "false",
}
"""What makes the header Strict-Transport-Security, with the defaults."""


STRICT_PATHS = "strict-validate-path-type"
"""Followed where Ingresses are admitted, not by the proxy."""


def validates_paths(data: Mapping[str, Any]) -> bool:
    """Whether Ingresses are refused whose paths have characters that only `ImplementationSpecific` may have."""
    try:
        return boolean(str(data.get(STRICT_PATHS, "true")))
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


_NO_TIME: Mapping[str, str] = {
    "client-body-timeout": "clients whose bodies aren't there at once get 408",
    "client-header-timeout": "clients whose requests aren't there at once are cut off",
    "proxy-connect-timeout": "clients get 504",
    "proxy-read-timeout": "clients get 504",
}
"""What becomes of a time of 0, which elsewhere often is for ever."""


def unreadable_keys(data: Mapping[str, Any]) -> dict[str, str]:
    """The keys whose texts say nothing, less than they have words, or hardly what is meant: each with why, and what
    becomes of it."""
    wrong = {}
    readers = {**{key: setting.read for key, setting in SETTINGS.items()}, **DEFAULTED}
    readers |= {key: one.read for key, one in COMPOSED.items()}
    readers |= {key: age if key == HSTS_AGE else boolean for key in (*HSTS, STRICT_PATHS)}
    for key, read in readers.items():
        if key not in data:
            continue
        text = str(data[key])
        try:
            if read(text) == 0 and key in _NO_TIME:
                wrong[key] = f"is no time at all, not for ever: {_NO_TIME[key]}"
        except ValueError as error:
            wrong[key] = f"{error}; the default holds"
        if isinstance(read, EachWord) and (left := read.left(text)):
            wrong[key] = f"{left[0]}; it is left"
    return wrong


def known_keys() -> Set[str]:
    """The keys that are followed, or without effect."""
    return SETTINGS.keys() | HSTS.keys() | DEFAULTED.keys() | COMPOSED.keys() | UNSEEN | {STRICT_PATHS}


def unknown_keys(data: Mapping[str, Any]) -> list[str]:
    """The keys that nothing follows, unless they say what is done anyway."""
    known = known_keys()
    return [key for key, text in data.items() if key not in known and not is_as_it_is(key, str(text))]
