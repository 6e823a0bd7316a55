"""Cross-origin requests in nginx.conf: whose are allowed is known by maps. Pure.

An `if` in a location that holds takes the location's place, and has no `try_files` (`locations`): the one that is here
answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

from emulab.servers.engines.nginx.text import ConfLines, block, directive, pattern, quoted
from emulab.servers.l7.config import CORS, Match, RequestRoute

_EVERYBODY = ("*",)


def _variable(one: CORS) -> str:
    """Whether a request's origin is allowed; variables of what it is told have names that begin so."""
    return "$cors_" + sha256(repr(one).encode()).hexdigest()[:12]


def _told(one: CORS) -> dict[str, str]:
    """The fields, each as one parameter; one whose value is empty isn't added."""
    told = {
        "Access-Control-Allow-Origin": '"*"' if one.origins == _EVERYBODY else "$http_origin",
        "Access-Control-Allow-Credentials": "true" if one.credentials else "",
        "Access-Control-Allow-Methods": one.methods and quoted(one.methods),
        "Access-Control-Allow-Headers": one.headers and quoted(one.headers),
        "Access-Control-Expose-Headers": one.expose and quoted(one.expose),
        "Access-Control-Max-Age": str(one.max_age),
    }
    return {field: value for field, value in told.items() if value}


def origins(routes: Iterable[RequestRoute]) -> ConfLines:
    """The maps of all routes."""
    lines: ConfLines = []
    for one in dict.fromkeys(one for route in routes for one in route.filters if isinstance(one, CORS)):
        name = _variable(one)
        known = "|".join(re.escape(origin).replace(r"\*", r"[A-Za-z0-9\-]+", 1) for origin in one.origins)
        allowed = [f"{pattern(f'~*({known})$')} true;"] if one.origins else []
        # A map asks no expression about a text that is empty.
        said = ["default true;"] if {*_EVERYBODY, ""}.intersection(one.origins) else [*allowed, "default '';"]
        lines += block(f"map $http_origin {name}", said)
        lines += block(f"map $request_method{name} {name}_asked", ["OPTIONStrue 1;", "default '';"])
        for number, (field, value) in enumerate(_told(one).items()):
            # Of who isn't allowed ingress-nginx says nothing, and what the upstream says stays.
            theirs = "$upstream_http_" + field.lower().replace("-", "_")
            lines += block(f"map {name} {name}_{number}", [f"true {value};", f"default {theirs};"])
    return lines


def cors(one: CORS, _match: Match) -> ConfLines:
    """What a location says: who is allowed is told, and a preflight answered."""
    name, fields = _variable(one), list(_told(one))
    return [
        *block(f"if ({name}_asked)", [directive("return", 204)]),
        *(directive("proxy_hide_header", field) for field in fields),
        *(directive("add_header", field, f"{name}_{n}", "always") for n, field in enumerate(fields)),
    ]


def cross_origin(route: RequestRoute) -> ConfLines:
    """What answers of a route's say of other origins."""
    return [line for one in route.filters if isinstance(one, CORS) for line in cors(one, route.match)]
