"""The lines of the access log, by a format as nginx's `log_format` has it. Pure.

A variable is a line of `VARIABLES`: its name, and what it is of an entry; None where it has no value, which is shown as
nginx shows it. Those with a family of names (`$http_user_agent`, `$arg_page`, `$cookie_id`) are in `_FAMILIES`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from http.cookies import CookieError, SimpleCookie

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.engine.entry import UNKNOWN, RequestEntry, Try
from emulab.servers.l7.engine.routes import NO_ROUTE, ReadyRoute
from emulab.servers.l7.messages.targets import query, without_port

DEFAULT = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "$request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr "
    "$upstream_response_length $upstream_response_time $upstream_status $req_id"
)
"""ingress-nginx's `log-format-upstream`."""

ESCAPES = ("default", "json", "none")

Variable = Callable[[RequestEntry, float], str | None]
"""Of an entry and the Unix time."""


def log_format(text: str, escape: str = "default") -> Callable[[RequestEntry, float], str]:
    """What writes lines. Raises `BadConfiguration` for a variable that there isn't."""
    if escape not in ESCAPES:
        raise BadConfiguration(f"config.options.log_escape: {escape!r} is not one of {', '.join(ESCAPES)}")
    written = _ESCAPED[escape]
    pieces: list[str | Variable] = []
    for literal, braced, bare in re.findall(r"([^$]+|\$(?![{\w]))|\$\{(\w+)\}|\$(\w+)", text or DEFAULT):
        if literal:
            pieces.append(literal)
        else:
            pieces.append(_variable(braced or bare))

    def line(entry: RequestEntry, now: float) -> str:
        return "".join(one if isinstance(one, str) else written(one(entry, now)) for one in pieces)

    return line


def _variable(name: str) -> Variable:
    if (variable := VARIABLES.get(name)) is not None:
        return variable
    for prefix, family in _FAMILIES.items():
        if name.startswith(prefix):
            return partial(family, name.removeprefix(prefix))
    raise BadConfiguration(f"config.options.log_format: there is no variable ${name}")


def _plain(text: str | None) -> str:
    """nginx's own escape: quotation marks, backslashes and what can't be printed as `\\xXX`."""
    if text is None:
        return "-"
    return _UNSAFE.sub(_code, text) if _UNSAFE.search(text) else text


def _code(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02X}"


_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f-\xff]')


def _unescaped(text: str | None) -> str:
    """As it came: a variable has a character for each byte, and the log is of bytes."""
    try:
        return (text or "").encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # of no request
        return text or ""


def _json(text: str | None) -> str:
    """nginx's `escape=json` (`ngx_escape_json`), which leaves all bytes beyond ASCII as they are."""
    return _SPECIAL.sub(lambda m: _SHORT.get(m[0]) or f"\\u{ord(m[0]):04X}", _unescaped(text))


_SPECIAL = re.compile(r'["\\\x00-\x1f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


_ESCAPED: Mapping[str, Callable[[str | None], str]] = {
    "default": _plain,
    "json": _json,
    "none": _unescaped,
}


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _request(entry: RequestEntry, _now: float) -> str | None:
    """The request's first line, as it was understood, or as it came where it wasn't."""
    head = entry.head
    if head.line:
        return _text(head.line)
    return f"{_text(head.method)} {_text(head.target)} {entry.version}" if head.method else ""


def _host(entry: RequestEntry, _now: float) -> str | None:
    return _text(without_port(entry.head.host)).lower() if entry.head.host else "_"


def _query(entry: RequestEntry) -> str:
    return _text(query(entry.head.target))


@lru_cache(maxsize=2)
def _date(form: str, second: int) -> str:
    return time.strftime(form, time.gmtime(second))


def _seconds(value: float) -> str:
    return "-" if value == UNKNOWN else f"{value:.3f}"


def _of_tries(read: Callable[[Try], str]) -> Variable:
    """A variable that says something of each try, as nginx's `$upstream_…`."""
    return lambda entry, _now: ", ".join(map(read, entry.tries)) or None


def _service(entry: RequestEntry) -> tuple[str, str, str]:
    """Namespace, name and port of the Service that the request went to, or would have gone to."""
    namespace, _, rest = served_as(entry.rule, entry.upstream_name)[0].partition("/")
    name, _, port = rest.partition("/")
    return namespace, name, port


def served_as(rule: ReadyRoute, upstream: str) -> tuple[str, str]:
    """The upstream by which a request is known that went to `upstream`, and the alternative one: a canary's requests
    are those of the Service that it is an alternative of, as ingress-nginx counts and logs them."""
    canary = rule.route.canary
    is_canary = canary is not None and upstream == canary.upstream != rule.upstream
    return (rule.upstream, upstream) if is_canary else (upstream or rule.upstream, "")


def _upstream_name(entry: RequestEntry, _now: float) -> str | None:
    """What was no request, and came to no location, has none."""
    name = served_as(entry.rule, entry.upstream_name)[0]
    if not name:
        return "upstream-default-backend" if entry.rule is not NO_ROUTE or entry.status == 404 else ""
    return name.replace("/", "-")


def _alternative_name(entry: RequestEntry, _now: float) -> str | None:
    return served_as(entry.rule, entry.upstream_name)[1].replace("/", "-")


def ingress_of(origin: str) -> tuple[str, str]:
    """Namespace and name of the Ingress that a route of this origin was made from; empty for the default backend."""
    kind, _, name = origin.partition(" ")
    namespace, _, name = name.partition("/") if kind == "Ingress" else ("", "", "")
    return namespace, name


VARIABLES: Mapping[str, Variable] = {
    "args": lambda entry, _: _query(entry),
    "best_http_host": lambda entry, _: _text(entry.head.host or b"_"),
    "body_bytes_sent": lambda entry, _: str(entry.body_sent),
    "bytes_sent": lambda entry, _: str(entry.sent),
    "content_length": lambda entry, _: entry.head.field(b"content-length") or None,
    "content_type": lambda entry, _: entry.head.field(b"content-type") or None,
    "host": _host,
    "ingress_name": lambda entry, _: ingress_of(entry.rule.route.origin)[1],
    "is_args": lambda entry, _: "?" if _query(entry) else "",
    "location_path": lambda entry, _: entry.rule.route.match.path,
    "msec": lambda _, now: f"{now:.3f}",
    "namespace": lambda entry, _: ingress_of(entry.rule.route.origin)[0],
    "pass_server_port": lambda entry, _: entry.local.rpartition(":")[2],
    "proxy_alternative_upstream_name": _alternative_name,
    "proxy_upstream_name": _upstream_name,
    "query_string": lambda entry, _: _query(entry),
    "remote_addr": lambda entry, _: entry.client[0],
    "remote_port": lambda entry, _: entry.client[1].rpartition(":")[2],
    "remote_user": lambda entry, _: entry.user or None,
    "req_id": lambda entry, _: entry.request_id or None,
    "request": _request,
    "request_id": lambda entry, _: entry.request_id or None,
    "request_length": lambda entry, _: str(entry.request_size),
    "request_method": lambda entry, _: _text(entry.head.method),
    "request_time": lambda entry, _: f"{entry.seconds:.3f}",
    "request_uri": lambda entry, _: _text(entry.head.target),
    "scheme": lambda entry, _: entry.scheme,
    "server_name": lambda entry, _: entry.rule.route.match.host or "_",
    "server_port": lambda entry, _: entry.local.rpartition(":")[2],
    "server_protocol": lambda entry, _: entry.version,
    "service_name": lambda entry, _: _service(entry)[1],
    "service_port": lambda entry, _: _service(entry)[2],
    "status": lambda entry, _: str(entry.status),
    "the_real_ip": lambda entry, _: entry.client[0],
    "time_iso8601": lambda _, now: _date("%Y-%m-%dT%H:%M:%S+00:00", int(now)),
    "time_local": lambda _, now: _date("%d/%b/%Y:%H:%M:%S +0000", int(now)),
    "upstream_addr": _of_tries(lambda one: one.server),
    "upstream_connect_time": _of_tries(lambda one: _seconds(one.connect)),
    "upstream_header_time": _of_tries(lambda one: _seconds(one.header)),
    "upstream_response_length": _of_tries(lambda one: str(one.size)),
    "upstream_response_time": _of_tries(lambda one: _seconds(one.seconds)),
    "upstream_status": _of_tries(lambda one: str(one.status)),
    "uri": lambda entry, _: _text(entry.head.target.partition(b"?")[0]),
}


def _field(name: str, entry: RequestEntry, _now: float) -> str | None:
    key = name.lower().replace("_", "-").encode()
    head = entry.head
    known = {
        b"host": head.host or b"",
        b"x-request-id": head.request_id,
        b"x-forwarded-for": head.forwarded_for,
    }
    return (_text(known[key]) if key in known else head.field(key)) or None


def _argument(name: str, entry: RequestEntry, _now: float) -> str | None:
    for one in _query(entry).split("&"):
        key, equals, value = one.partition("=")
        if equals and key.lower() == name.lower():
            return value
    return None


def _cookie(name: str, entry: RequestEntry, _now: float) -> str | None:
    try:
        morsel = SimpleCookie(entry.head.field(b"cookie")).get(name)
    except CookieError:
        return None
    return morsel.value if morsel is not None else None


_FAMILIES: Mapping[str, Callable[[str, RequestEntry, float], str | None]] = {
    "http_": _field,
    "arg_": _argument,
    "cookie_": _cookie,
}
