"""Another service's word on who may in, in haproxy.cfg; the question itself is asked in Lua. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, urlsplit

from emulab.servers.engines.haproxy.filters.answers import ELSEWHERE, WITH_HOST, sent_to
from emulab.servers.engines.haproxy.pages import page_file, returned
from emulab.servers.engines.haproxy.text import CfgLines, quoted
from emulab.servers.engines.haproxy.variables import noted, spoken
from emulab.servers.l7.config import ExternalAuthentication, Match, pieces
from emulab.servers.l7.engine.filters.external import durations

_SET_COOKIE = "{ status 200 201 204 206 301 302 303 304 307 308 }"


def _place(match: Match) -> str:
    """The path of the question, as ingress-nginx names it (`buildAuthLocation`)."""
    path = urlsafe_b64encode(match.path.encode()).decode().rstrip("=")
    return f"/_external-auth-{path}-{match.path_type}"


def _inside(text: str, place: str) -> str:
    """A text as it is read in the subrequest, which has a path of its own and no query."""
    parts = []
    for before, name in pieces(text):
        parts.append(before)
        if name in ("uri", "document_uri"):
            parts.append(place)
        elif name and name not in ("args", "query_string", "is_args") and not name.startswith("arg_"):
            parts.append(f"${{{name}}}")
    return "".join(parts)


def asked(one: ExternalAuthentication, match: Match, condition: str = "") -> CfgLines:
    """Asks it. `condition` is what has to be so, with a space before it."""
    place = _place(match)
    texts = [("ask_url", one.url), ("ask_redirect", one.request_redirect or "$request_uri")]
    texts += [(f"ask_field_{number}", field.value) for number, field in enumerate(one.set_headers)]
    if one.cache_key:
        texts.append(("ask_key", one.cache_key))
    lines: CfgLines = []
    for variable, text in texts:
        lines += noted(variable, _inside(text, place))
    keeps = {
        ("any" if code == 0 else str(code)): time for code, time in durations(one.cache_durations).items()
    }
    words = [
        one.method or "-",
        f"{match.host} {place}",
        " ".join(f"{code}={time:g}" for code, time in keeps.items()) or "-",
        ",".join(field.name for field in one.set_headers) or "-",
        ",".join(one.response_headers) or "-",
    ]
    when = f" if{condition}" if condition else ""
    return [
        *lines,
        *noted("ask_from", "$scheme://$http_host$request_uri"),
        "http-request set-var(txn.ask_method) method",
        f"http-request lua.ask {' '.join(map(quoted, words))}{when}",
    ]


def _status(*numbers: int) -> str:
    return f"{{ var(txn.ask_status) -m int {' '.join(map(str, numbers))} }}"


LET_IN = "{ var(txn.ask_status) -m int 200:299 }"


def refused(one: ExternalAuthentication, condition: str = "") -> CfgLines:
    """Who isn't let in; what has no answer, or another one, is a 500."""
    challenge = "hdr WWW-Authenticate %[var(txn.ask_challenge)]"
    page = f"http-request return status 401 content-type text/html file {page_file(401)}"
    lines = [f"{returned(500)} if !{LET_IN} !{_status(401, 403)}{condition}"]
    if one.signin:
        lines += _sign_in(one, f" if {_status(401)}{condition}")
    else:
        told = "{ var(txn.ask_challenge) -m found }"
        lines += [
            f"{page} {challenge} if {_status(401)} {told}{condition}",
            f"{returned(401)} if {_status(401)}{condition}",
        ]
    return [*lines, f"{returned(403)} if {_status(403)}{condition}"]


def _sign_in(one: ExternalAuthentication, condition: str) -> CfgLines:
    known = parse_qs(urlsplit(one.signin).query, keep_blank_values=True)
    way_back = f"{one.signin_param}=$pass_access_scheme://$http_host$escaped_request_uri"
    said = any(known.get(one.signin_param, ()))
    lines, place = spoken(one.signin if said else f"{one.signin}{'&' if known else '?'}{way_back}")
    if one.signin.startswith("/") and not one.signin_relative:
        place = f'"{WITH_HOST}{place.strip(chr(34))}"'
    challenge = " hdr WWW-Authenticate %[var(txn.ask_challenge)]"
    told = f"{condition} {{ var(txn.ask_challenge) -m found }}"
    return [
        *lines,
        ELSEWHERE + condition,
        sent_to(302, place, challenge + told),
        sent_to(302, place, condition),
    ]


def granted(one: ExternalAuthentication) -> CfgLines:
    """What the server and the client get of the service's answer."""
    lines: CfgLines = []
    for number, name in enumerate(one.response_headers):
        told = f"txn.ask_told_{number}"
        lines += [
            f"http-request del-header {quoted(name)} if {LET_IN}",
            f"http-request set-header {quoted(name)} %[var({told})] if {{ var({told}) -m found }} {LET_IN}",
        ]
    return lines


def cookies(one: ExternalAuthentication) -> CfgLines:
    """Its cookies go to the client in one field, with most statuses."""
    status = "" if one.always_set_cookie else f" {_SET_COOKIE}"
    there = "{ var(txn.ask_cookies) -m found }"
    return [f"http-after-response add-header Set-Cookie %[var(txn.ask_cookies)] if {there}{status}"]
