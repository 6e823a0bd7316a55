"""Filters that answer without a server, in haproxy.cfg. Pure."""

from __future__ import annotations

import re

from emulab.servers.engines.haproxy.pages import page_file, returned
from emulab.servers.engines.haproxy.text import CfgLines, in_format, quoted
from emulab.servers.engines.haproxy.variables import spoken
from emulab.servers.l7.config import CORS, DirectResponse, HostRedirect, Match, RegexRewrite, RootRedirect

_REDIRECTS = (301, 302, 303, 307, 308)
WITH_HOST = "%[ssl_fc,iif(https,http)]://%[var(txn.name)]"
"""What comes before a place without a host, in a format."""
UNREPLACED = "!{ var(txn.failed) -m found }"
"""Whether nobody else answers in the place of an error (`erring`), who has none of the route's own fields."""

LOCATED = "http-request set-var(txn.located) bool(true)"
"""What is answered from here on is so in the name of a route, not of its host (`frontend`)."""
ELSEWHERE = "http-request unset-var(txn.located)"


def sent_to(status: int, place: str, condition: str = "") -> str:
    """The action that sends a client to a place, which is a format, with nginx's page."""
    return (
        f"http-request return status {status} content-type text/html file {page_file(status)} hdr Location {place}"
        f"{condition}"
    )


def direct(one: DirectResponse, _match: Match) -> CfgLines:
    if one.location and one.status in _REDIRECTS:
        place = in_format(one.location)
        if one.location.startswith("/") and not one.relative:
            place = f'"{WITH_HOST}{_inner(one.location)}"'
        return [sent_to(one.status, place)]
    text = one.body or one.location
    if not text:
        return [returned(one.status) if one.status >= 300 else f"http-request return status {one.status}"]
    return [f"http-request return status {one.status} content-type text/html string {quoted(text)}"]


def root(one: RootRedirect, _match: Match) -> CfgLines:
    place = f'"%[var(txn.spoken)]://%[var(txn.asked)]{_inner(one.path)}"'
    return [
        "http-request set-var(txn.spoken) ssl_fc,iif(https,http)",
        sent_to(302, place, " if { var(txn.path) -m str / }"),
    ]


def _inner(text: str) -> str:
    """A text between quotes that are there already, in a format."""
    return text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")


def other_host(one: HostRedirect, _match: Match) -> CfgLines:
    place = f'"%[var(txn.scheme)]://{_inner(one.host)}:%[var(txn.port)]%[var(txn.bare)]"'
    return ["http-request set-var(txn.bare) var(txn.target),regsub(/$,)", sent_to(one.status, place)]


def cors(one: CORS, _match: Match) -> CfgLines:
    """Answers have the fields where the request's origin is allowed, whoever gives them."""
    if not one.origins:
        return []
    whom, condition = "req.fhdr(origin)", ""
    if one.origins == ("*",):
        whom = "str(*)"
    elif "" not in one.origins:
        origins = "|".join(re.escape(origin).replace(r"\*", r"[A-Za-z0-9\-]+", 1) for origin in one.origins)
        condition = f" if {{ req.fhdr(origin) -m reg -i {quoted(f'({origins})$')} }}"
    lines = [
        f"http-request set-var(txn.cors) {whom}{condition}",
        f"http-request set-var(txn.allowed) bool(1){condition}",
    ]
    told = {
        "Access-Control-Allow-Origin": "%[var(txn.cors)]",
        "Access-Control-Allow-Credentials": "true" if one.credentials else "",
        "Access-Control-Allow-Methods": in_format(one.methods) if one.methods else "",
        "Access-Control-Allow-Headers": in_format(one.headers) if one.headers else "",
        "Access-Control-Expose-Headers": in_format(one.expose) if one.expose else "",
        "Access-Control-Max-Age": str(one.max_age),
    }
    allowed = "{ var(txn.allowed) -m bool }"
    lines.append(f"http-request return status 204 if {{ method OPTIONS }} {allowed}")
    there = {"Access-Control-Allow-Origin": "{ var(txn.cors) -m found }"}
    return lines + [
        f"http-after-response set-header {name} {value} if {there.get(name, allowed)} {UNREPLACED}"
        for name, value in told.items()
        if value
    ]


def elsewhere(one: RegexRewrite) -> bool:
    """Whether a rewrite sends the client away."""
    return one.target.startswith(("http://", "https://", "$scheme"))


def rewritten_away(one: RegexRewrite, _match: Match) -> CfgLines:
    """The place is made in a field of the request, as expressions replace values of fields."""
    lines, target = spoken(one.target, groups=True)
    expression = quoted(f"(?i){one.expression}")
    return [
        *lines,
        "http-request set-header X-Emulab-Place %[var(txn.path)]",
        f"http-request replace-header X-Emulab-Place {expression} {target}",
        "http-request set-var(txn.place) req.fhdr(x-emulab-place)",
        "http-request del-header X-Emulab-Place",
        "http-request set-var(txn.asks) query,length,bool,iif(?,)",
        sent_to(
            302,
            '"%[var(txn.place)]%[var(txn.asks)]%[query]"',
            f" if {{ var(txn.path) -m reg {expression} }}",
        ),
    ]
