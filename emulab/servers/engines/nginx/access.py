"""Who may in, as nginx.conf says it: directives of locations, of hosts, and what they need around them. Pure.

A question to another service is a location of its own, beside the one that asks.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TypeVar
from urllib.parse import urlsplit

from emulab.servers.engines.nginx.names import in_variable
from emulab.servers.engines.nginx.text import ConfLines, block, directive, pattern, quoted
from emulab.servers.engines.shared import bounded
from emulab.servers.l7.config import (
    AccessControl,
    ClientLimits,
    ClientVerification,
    ExternalAuthentication,
    L7Config,
    Match,
    Options,
    Refusal,
    RequestRoute,
)

USERS = "/etc/nginx/auth"
"""Where the files of passwords are, which workers read themselves."""
AUTHORITIES = "/etc/nginx/ssl"

TOLD = ("ssl-client-verify", "ssl-client-cert", "ssl-client-subject-dn", "ssl-client-issuer-dn")
"""Fields that tell upstreams of a client's certificate, each with a variable that is empty where nobody looks."""
_VALUES = ("$ssl_client_verify", "$ssl_client_escaped_cert", "$ssl_client_s_dn", "$ssl_client_i_dn")


def told_variable(field: str) -> str:
    """The variable of such a field."""
    return "$told_" + field.replace("-", "_")


def _file(text: str, end: str) -> str:
    return sha256(text.encode()).hexdigest()[:16] + end


def refusal(one: Refusal, _match: Match) -> ConfLines:
    """Nobody may in."""
    return [directive("return", one.status)]


def access_control(one: AccessControl, match: Match) -> ConfLines:
    """Addresses, passwords, and another service."""
    lines = [directive("deny", cidr) for cidr in (one.deny.cidrs if one.deny is not None else ())]
    if one.allow is not None:
        lines += [*(directive("allow", cidr) for cidr in one.allow.cidrs), directive("deny", "all")]
    if one.basic is not None:
        lines += [
            directive("auth_basic", quoted(one.basic.realm) if one.basic.realm else '""'),
            directive("auth_basic_user_file", f"{USERS}/{_file(one.basic.users, '.passwd')}"),
            directive("proxy_set_header", "Authorization", '""'),
        ]
    if one.external is not None:
        lines += _asks(one.external, match)
    return [*lines, directive("satisfy", "any" if one.any else "all")]


def _path(match: Match) -> str:
    """The path of the question, as ingress-nginx names it (`buildAuthLocation`)."""
    path = urlsafe_b64encode(match.path.encode()).decode().rstrip("=")
    return f"/_external-auth-{path}-{match.path_type}"


def _sign_in(one: ExternalAuthentication, match: Match) -> str:
    return "@" + sha256(f"{match.path}{match.path_type}{one.signin}".encode()).hexdigest()[:16]


def asks_to_sign_in(place: str) -> bool:
    """Whether the location of this place answers clients, by sending them to where they sign in."""
    return place.startswith("@")


def _asks(one: ExternalAuthentication, match: Match) -> ConfLines:
    always = ["always"] if one.always_set_cookie else []
    lines = [
        directive("auth_request", _path(match)),
        directive("auth_request_set", "$auth_cookie", "$upstream_http_set_cookie"),
        directive("add_header", "Set-Cookie", "$auth_cookie", *always),
    ]
    for number, name in enumerate(one.response_headers):
        variable = f"$auth_header_{number}"
        told = "$upstream_http_" + name.lower().replace("-", "_")
        lines += [
            directive("auth_request_set", variable, told),
            directive("proxy_set_header", quoted(name), variable),
        ]
    return [*lines, directive("error_page", 401, "=", _sign_in(one, match))] if one.signin else lines


def questions(one: ExternalAuthentication, match: Match) -> Mapping[str, ConfLines]:
    """The locations that a question needs beside the route's own, by their places."""
    fields = {
        "Content-Length": '""',
        "X-Forwarded-Proto": '""',
        "X-Request-ID": "$req_id",
        "Host": pattern(urlsplit(one.url).hostname or ""),
        "X-Original-URL": "$scheme://$http_host$request_uri",
        "X-Original-Method": "$request_method",
        "X-Sent-From": "nginx-ingress-controller",
        "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$told_forwarded_for",
        **{field: told_variable(field) for field in TOLD},
        "X-Auth-Request-Redirect": pattern(one.request_redirect or "$request_uri"),
        **({"X-Original-URI": "$request_uri", "X-Scheme": "$pass_access_scheme"} if one.method else {}),
        **{quoted(field.name): pattern(field.value) for field in one.set_headers},
    }
    asked = [
        directive("internal"),
        directive("proxy_pass_request_body", "off"),
        directive("proxy_ssl_server_name", "on"),
        *(directive("proxy_set_header", *field) for field in fields.items()),
        *([directive("proxy_method", one.method)] if one.method else []),
        # Not `$target`, which may be the route's own: a question has the variables of the request that it is about.
        directive("set", "$question", pattern(one.url)),
        directive("proxy_pass", "$question"),
    ]
    found = {f"= {_path(match)}": asked}
    if one.signin:
        query = urlsplit(one.signin).query
        way_back = f"{one.signin_param}=$pass_access_scheme://$http_host$escaped_request_uri"
        said = f"{one.signin_param}=" in query
        where = one.signin if said else f"{one.signin}{'&' if query else '?'}{way_back}"
        found[_sign_in(one, match)] = [
            directive("internal"),
            directive("add_header", "Set-Cookie", "$auth_cookie"),
            *([directive("absolute_redirect", "off")] if one.signin_relative else []),
            directive("return", 302, pattern(where)),
        ]
    return found


def asked_beside(
    route: RequestRoute, beside: Callable[[RequestRoute], ConfLines]
) -> Iterator[tuple[str, ConfLines]]:
    """The locations that a route needs beside its own; `beside`: what where clients sign in says of other origins."""
    for one in route.filters:
        if isinstance(one, AccessControl) and one.external is not None:
            for place, lines in questions(one.external, route.match).items():
                allowed = beside(route) if asks_to_sign_in(place) else []
                yield place, [*allowed, *lines]


_zone = in_variable


_CONNECTIONS, _RATE = 65535, 1 << 31
"""The most connections that nginx counts, and so many requests as it reckons with in thousandths."""


def _burst(most: int) -> list[str]:
    """How many may come at once; nginx takes no 0."""
    return [f"burst={bounded(most, _RATE)}", "nodelay"] if most > 0 else []


def client_limits(one: ClientLimits, _match: Match) -> ConfLines:
    """How often clients may come."""
    lines = [
        directive("limit_req_status", one.request_status),
        directive("limit_conn_status", one.connection_status),
    ]
    if one.connections is not None:
        lines.append(
            directive("limit_conn", _zone(one.connections.zone), bounded(one.connections.most, _CONNECTIONS))
        )
    return lines + [
        directive("limit_req", f"zone={_zone(limit.zone)}", *_burst(limit.burst)) for limit in one.requests
    ]


def zones(config: L7Config) -> ConfLines:
    """In which clients are counted: by their addresses, or not at all."""
    found: dict[str, ConfLines] = {}
    for one in _of(config, ClientLimits):
        names = [limit.zone for limit in one.requests]
        names += [one.connections.zone] if one.connections is not None else []
        if not names:
            continue
        key = _zone(names[0])
        lines = [
            *block(f"geo $exempt_{key}", ["default 0;", *(f"{cidr} 1;" for cidr in one.exempt)]),
            *block(f"map $exempt_{key} $counted_{key}", ["0 $binary_remote_addr;", "1 '';"]),
        ]
        for limit in one.requests:
            per_second = bounded(limit.rate, _RATE * 1000)
            whole = per_second % 1000 == 0
            rate = f"{per_second // 1000}r/s" if whole else f"{round(per_second * 60 / 1000)}r/m"
            zone = f"zone={_zone(limit.zone)}:5m"
            lines.append(directive("limit_req_zone", f"$counted_{key}", zone, f"rate={rate}"))
        if one.connections is not None:
            zone = f"zone={_zone(one.connections.zone)}:5m"
            lines.append(directive("limit_conn_zone", f"$counted_{key}", zone))
        found.setdefault(key, lines)
    return [line for lines in found.values() for line in lines]


Kind = TypeVar("Kind")


def _of(config: L7Config, kind: type[Kind]) -> Iterator[Kind]:
    return (one for route in config.routes for one in route.filters if isinstance(one, kind))


def files(config: L7Config) -> Mapping[str, str]:
    """What there has to be: passwords, and who signs certificates of clients."""
    found = {
        f"{USERS}/{_file(one.basic.users, '.passwd')}": one.basic.users
        for one in _of(config, AccessControl)
        if one.basic is not None
    }
    for wish in config.verifications:
        for text in (wish.authorities, wish.revoked):
            if text:
                found[f"{AUTHORITIES}/{_file(text, '.authorities.pem')}"] = text
    return found


def real_ip(options: Options) -> ConfLines:
    """Who is believed about who asks."""
    if not (options.trust_forwarded or options.real_ip or options.proxy_protocol):
        return []
    trusted = ("0.0.0.0/0",) if options.trusted is None else options.trusted
    # Of both, ingress-nginx looks at the field where the address of the PROXY header is one that is believed: without
    # its module nginx can't ask that, but where anybody is.
    believes = options.trust_forwarded and any(one.endswith("/0") for one in trusted)
    header = options.forwarded_for_header if believes or not options.proxy_protocol else "proxy_protocol"
    return [
        directive("real_ip_header", header),
        directive("real_ip_recursive", "on"),
        *(directive("set_real_ip_from", one) for one in trusted),
    ]


def blocked(options: Options) -> ConfLines:
    """The maps of who is blocked by what it says of itself."""
    return [
        line
        for name, variable, said in _blocked(options)
        for line in block(
            f"map $http_{variable} ${name}",
            ["default 0;", *(f"{pattern(one)} 1;" for one in _each_once(said))],
        )
    ]


def _each_once(said: tuple[str, ...]) -> list[str]:
    """What a map has: nginx refuses a text that is there twice, whatever its case, and takes two words for its own."""
    found: dict[str, str] = {}
    for one in said:
        found.setdefault(one if one.startswith("~") else one.removeprefix("\\").lower(), one)
    return [f"\\{one}" if one in ("default", "include") else one for one in found.values()]


def _blocked(options: Options) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for name, variable, said in (
        ("block_ua", "user_agent", options.block_agents),
        ("block_ref", "referer", options.block_referers),
    ):
        if said:
            yield name, variable, said


def of_server(host: str, config: L7Config) -> ConfLines:
    """What a host decides before its locations."""
    lines = [
        line
        for name, *_ in _blocked(config.options)
        for line in block(f"if (${name})", [directive("return", 403)])
    ]
    wish = next((one for one in config.verifications if host in one.hosts), None)
    lines += [
        directive("set", told_variable(field), _told(wish, field, value))
        for field, value in zip(TOLD, _VALUES, strict=True)
    ]
    return lines if wish is None else [*lines, *_verified(wish)]


def _told(wish: ClientVerification | None, field: str, value: str) -> str:
    """What upstreams are told: nothing but what we know, where clients' certificates are looked at, and else the
    client's own words."""
    if wish is None or not wish.authorities:
        return "$http_" + field.replace("-", "_")
    return value if _tells(wish, field) else '""'


def _tells(wish: ClientVerification, field: str) -> bool:
    return field != "ssl-client-cert" or wish.pass_certificate


def _verified(wish: ClientVerification) -> ConfLines:
    lines: ConfLines = []
    if wish.match:
        page = directive("return", 403, '"client certificate unauthorized"')
        lines += block(f"if ($ssl_client_s_dn !~ {pattern(wish.match)})", [page])
    if wish.error:
        return [*lines, directive("return", 403)]
    if wish.authorities:
        lines += [
            directive(
                "ssl_client_certificate", f"{AUTHORITIES}/{_file(wish.authorities, '.authorities.pem')}"
            ),
            directive("ssl_verify_client", wish.verify),
            directive("ssl_verify_depth", bounded(wish.depth)),
        ]
    if wish.revoked:
        lines.append(directive("ssl_crl", f"{AUTHORITIES}/{_file(wish.revoked, '.authorities.pem')}"))
    if wish.error_page:
        lines.append(directive("error_page", 495, 496, "=", quoted(wish.error_page)))
    return lines
