"""External authentication, as ingress-nginx has it of `ngx_http_auth_request_module`. Pure: the request is a question.

* The service is asked with the client's header fields, without a body. A 2xx lets in; 401 and 403 are passed on, a 401
  with its challenge; anything else, and no answer, is a 500.
* The question is a subrequest with a path of its own and without a query: `$uri`, `$args` and their like are its.
* Names are looked up by nginx itself, which completes them by no search list: they have to be whole.
* Its cookies reach the client in one field, joined as `$upstream_http_set_cookie` joins them: who sets several by one
  answer has the first of them spoilt.
* Answers may be kept (`proxy_cache_valid`), unless they set a cookie or say that nobody may keep them.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import ExternalAuthentication, Match
from emulab.servers.l7.engine.filters.effect import Asked, GateQuestion, Page
from emulab.servers.l7.engine.filters.places import with_host
from emulab.servers.l7.engine.kept import EngineMemory
from emulab.servers.l7.engine.questions import RequestQuestion, ServiceAnswer
from emulab.servers.l7.engine.variables import EvaluatedText, text
from emulab.servers.l7.messages.headers import replaced_lines

CONNECT, READ = 5.0, 60.0
"""Seconds for a connection, and between two pieces of the answer (ingress-nginx' defaults)."""

_UNITS = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "M": 2592000.0,
    "y": 31536000.0,
}
_AGE = re.compile(r"(?:^|[, ])(?:s-maxage|max-age)=(\d+)")

_PORTS = {"http": 80, "https": 443}


def durations(said: tuple[str, ...]) -> dict[int, float]:
    """How long an answer of each status is kept; 0 stands for all others. Raises `BadConfiguration`."""
    found: dict[int, float] = {}
    for one in said:
        words = one.split()
        codes = [word for word in words if re.fullmatch(r"\d{3}|any", word)]
        times = [re.fullmatch(r"(\d+)(ms|[smhdwMy])", word) for word in words if word not in codes]
        if not times or None in times:
            raise BadConfiguration(f"cache_durations: {one!r} is none, such as `200 202 401 5m`")
        seconds = sum(int(time[1]) * _UNITS[time[2]] for time in times if time is not None)
        for code in codes or ("200", "301", "302"):
            found.setdefault(0 if code == "any" else int(code), seconds)
    return found


def external(
    one: ExternalAuthentication, match: Match
) -> Callable[[Asked, EngineMemory], Generator[GateQuestion, Any, Page | bool]]:
    """Asks the service. Raises `BadConfiguration`."""
    ask = _question(one, match)
    key = text(one.cache_key, _location(match)) if one.cache_key else None
    keeps = durations(one.cache_durations)
    location = f"{match.host} {_location(match)} "

    def check(asked: Asked, kept: EngineMemory) -> Generator[GateQuestion, Any, Page | bool]:
        name = location + key(asked) if key is not None else ""
        told = kept.told(name, asked.now) if name else None
        if told is None:
            question = ask(asked)
            told = (
                (yield question) if isinstance(question, RequestQuestion) else ServiceAnswer(0, why=question)
            )
            assert isinstance(told, ServiceAnswer)
            if name and (seconds := _keeps(told, keeps)) > 0:
                kept.keep_told(name, told, asked.now + seconds)
        return _verdict(one, told, asked)

    return check


def _verdict(one: ExternalAuthentication, told: ServiceAnswer, asked: Asked) -> Page | bool:
    if cookies := ", ".join(told.every("set-cookie")):
        line = f"Set-Cookie: {cookies}\r\n".encode("latin-1", "replace")
        asked.cookies.append((line, one.always_set_cookie))
    if 200 <= told.status < 300:
        asked.granted += [
            (name.encode(), ", ".join(told.every(name.lower())).encode("latin-1", "replace"))
            for name in one.response_headers
        ]
        return True
    shown = f"auth request to {one.url}"
    if told.status == 401:
        challenges = tuple(
            f"WWW-Authenticate: {value}\r\n".encode("latin-1", "replace")
            for value in told.every("www-authenticate")
        )
        return Page(401, f"{shown} was answered 401 ({one.source})", lines=challenges, source=one.source)
    if told.status == 403:
        return Page(403, f"{shown} was answered 403 ({one.source})", source=one.source)
    how = f"had the unexpected status {told.status}" if told.status else f"failed: {told.why}"
    return Page(500, f"{shown} {how} ({one.source})", source=one.source)


def _keeps(told: ServiceAnswer, keeps: dict[int, float]) -> float:
    """For how many seconds an answer may be kept."""
    said = ",".join(told.every("cache-control")).lower()
    if told.every("set-cookie") or re.search(r"no-cache|no-store|private", said):
        return 0.0
    age = _AGE.search(said)
    return float(age[1]) if age else keeps.get(told.status, keeps.get(0, 0.0))


def _location(match: Match) -> str:
    """The internal path that ingress-nginx has for the question, which a URL without a path leads to."""
    path = urlsafe_b64encode(match.path.encode()).decode().rstrip("=")
    return f"/_external-auth-{path}-{match.path_type}"


def _question(one: ExternalAuthentication, match: Match) -> Callable[[Asked], RequestQuestion | str]:
    """What makes the question for a request, or says why there can't be one."""
    inside = _location(match)
    url, redirect = text(one.url, inside), text(one.request_redirect or "$request_uri", inside)
    more = [(field.name.encode(), text(field.value, inside)) for field in one.set_headers]
    method = one.method.encode() or b"GET"

    def ask(asked: Asked) -> RequestQuestion | str:
        where = url(asked)
        try:
            parts = urlsplit(where)
            host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            return f"{where!r} is no URL"
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        target = path if path.startswith("/") else f"/{path}" if path else _location(match)
        if not host or re.search(r"[\x00-\x20\x7f]", host + target):
            return f"{where!r} is no URL"
        lines = _fields(one, asked, host, redirect(asked), more)
        written = b"".join(
            [method, b" ", target.encode("latin-1", "replace"), b" HTTP/1.1\r\n", *lines, b"\r\n"]
        )
        return RequestQuestion(host, port, host if parts.scheme == "https" else "", written, CONNECT, READ)

    return ask


def _fields(
    one: ExternalAuthentication,
    asked: Asked,
    host: str,
    redirect: str,
    more: list[tuple[bytes, EvaluatedText]],
) -> list[bytes]:
    """The client's fields, and those that say what it asked for. An empty value takes a field away."""
    head, uri = asked.head, asked.target
    address = asked.address.encode()
    shown = f"[{host}]" if ":" in host else host
    new: dict[bytes, bytes] = {
        b"Host": shown.encode(),
        b"Connection": b"close",
        b"X-Forwarded-Proto": b"",
        b"X-Forwarded-Host": head.forwarded_host,
        b"X-Forwarded-Port": head.forwarded_port,
        b"X-Request-ID": head.request_id or asked.request_id,
        b"X-Original-URL": b"%b://%b%b" % (asked.listener[0].encode(), head.host or b"", uri),
        b"X-Original-Method": head.method,
        b"X-Sent-From": b"nginx-ingress-controller",
        b"X-Real-IP": address,
        b"X-Forwarded-For": asked.forwarded_for or address,
        b"X-Auth-Request-Redirect": redirect.encode("latin-1", "replace"),
    }
    if one.method:
        new |= {b"X-Original-URI": uri, b"X-Scheme": asked.scheme.encode()}
    new |= {name: re.sub(r"[\r\n]", "", value(asked)).encode("latin-1", "replace") for name, value in more}
    gone = {name.lower() for name in new}
    return replaced_lines(
        head.lines, gone, [b"%b: %b\r\n" % (name, value) for name, value in new.items() if value]
    )


def sign_in(one: ExternalAuthentication) -> Callable[[Asked, Page], Page]:
    """Sends a client that isn't let in to where it can sign in, with the way back, and with the challenge that it had.
    Raises `BadConfiguration`."""
    known = parse_qs(urlsplit(one.signin).query, keep_blank_values=True)
    way_back = f"{one.signin_param}=$pass_access_scheme://$http_host$escaped_request_uri"
    said = any(known.get(one.signin_param, ()))
    where = text(one.signin if said else f"{one.signin}{'&' if known else '?'}{way_back}")

    def page(asked: Asked, refused: Page) -> Page:
        location = re.sub(r"[\r\n]", "", where(asked)).encode("latin-1", "replace")
        place = location if one.signin_relative else with_host(asked, location)
        why = f"{refused.why}; it is sent to sign in"
        return Page(302, why, place, refused.lines, source=one.source, plain=True)

    return page
