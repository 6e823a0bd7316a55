"""The locations of a host: how its paths are looked at, and what becomes of a request. Pure.

The order is what `personalities.ingress_nginx.paths` describes, which is nginx's own: an exact path, then expressions,
the longest first, then the longest prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emulab.servers.engines.nginx.access import TOLD, asked_beside, asks_to_sign_in, told_variable
from emulab.servers.engines.nginx.annotated import EARLY, beside
from emulab.servers.engines.nginx.choosing import set_cookie, target
from emulab.servers.engines.nginx.crossorigin import cross_origin
from emulab.servers.engines.nginx.filters import DIRECTIVES
from emulab.servers.engines.nginx.names import upstream_name
from emulab.servers.engines.nginx.reaching import group, in_words_of, passed_on, reaching
from emulab.servers.engines.nginx.text import ConfLines, block, directive, on, pattern, quoted, seconds
from emulab.servers.engines.shared import answers_for_host, bounded, is_named
from emulab.servers.l7.config import (
    REGULAR_EXPRESSION,
    AccessControl,
    ClientLimits,
    DirectResponse,
    Filter,
    L7Config,
    LocationChange,
    Options,
    Policy,
    Refusal,
    RegexRewrite,
    RequestRoute,
    Upstream,
)

CERTIFICATES = "/etc/nginx/ssl"
HSTS = (
    directive("proxy_hide_header", "Strict-Transport-Security"),
    directive("add_header", "Strict-Transport-Security", "$strict_transport", "always"),
)
"""Of routes alone, as ingress-nginx' code says it in their locations: not where `return` answers for a whole host, nor
where another server answers in the place of an error."""
UPSTREAM_FIELDS: Mapping[str, str] = {
    "Host": "$best_http_host",
    "Upgrade": "$http_upgrade",
    "Connection": "$connection_upgrade",
    "X-Request-ID": "$req_id",
    "X-Real-IP": "$remote_addr",
    "X-Forwarded-For": "$told_forwarded_for",
    "X-Forwarded-Host": "$best_http_host",
    "X-Forwarded-Port": "$pass_port",
    "X-Forwarded-Proto": "$pass_access_scheme",
    "X-Forwarded-Scheme": "$pass_access_scheme",
    "X-Scheme": "$pass_access_scheme",
    "X-Original-Forwarded-For": "$original_forwarded_for",
    "X-Original-Forwarded-Host": "$http_x_forwarded_host",
    "Proxy": '""',
    **{field: told_variable(field) for field in TOLD},
}
"""What upstreams are told. nginx takes over such directives from outside only where a place has none of its own, so
each location has all of them; so it is with `add_header`."""


def said_by_routes(config: L7Config) -> ConfLines:
    """What each route says of its answers, beside its filters. A place that says anything of fields is told nothing
    from outside, so those of every answer are among them."""
    return [*HSTS, *answer_fields(config.options)] if config.options.hsts else []


def answer_fields(options: Options) -> ConfLines:
    """The fields of every answer, but for the name that nginx says by itself."""
    return [
        directive("add_header", quoted(one.name), quoted(one.value), "always")
        for one in options.fields
        if one.name.lower() != "server"
    ]


def unsaid(every: ConfLines, own: ConfLines) -> ConfLines:
    """What of that a route's own directives don't say."""
    said = {line.split()[1].lower() for line in own if line.startswith("add_header ")}
    return [
        line for line in every if not (line.startswith("add_header ") and line.split()[1].lower() in said)
    ]


def locations(
    routes: Sequence[tuple[int, RequestRoute]], config: L7Config, names: Mapping[str, str]
) -> ConfLines:
    """The locations of one host's routes, each with its number; `names`: what names of servers are in full."""
    upstreams, every = config.upstreams, said_by_routes(config)
    lines: ConfLines = []
    taken: set[str] = set()
    for number, route in sorted(routes, key=_order):
        for place in _places(route):
            if place not in taken:
                taken.add(place)
                lines += ["", *block(f"location {place}", _served(number, route, upstreams, names, every))]
        for place, asked in asked_beside(route, cross_origin):
            if place not in taken:
                taken.add(place)
                if asks_to_sign_in(place):
                    asked = [*asked, *answer_fields(config.options)]
                else:
                    asked = [*_identity(number, route), *asked]
                lines += ["", *block(f"location {place}", asked)]
        lines += beside(number, route, upstreams, _identity(number, route))[1]
    return lines


def _order(numbered: tuple[int, RequestRoute]) -> tuple[int, int, int]:
    """Expressions the longest first; of two that say the same the first one, and Exact before Prefix."""
    number, route = numbered
    match = route.match
    if match.path_type == REGULAR_EXPRESSION:
        return 1, -len(match.path), number
    return (0 if match.path_type == "Exact" else 2), 0, number


def _places(route: RequestRoute) -> Iterator[str]:
    path, kind = route.match.path or "/", route.match.path_type
    if kind == "Exact":
        yield f"= {_raw(path)}"
    elif kind == REGULAR_EXPRESSION:
        yield f"~* {pattern('^' + path)}"
    elif kind == "Prefix":
        base = path.rstrip("/")
        if base:
            yield f"= {_raw(base)}"
        yield _raw(base + "/")
    else:
        yield _raw(path)


def _raw(path: str) -> str:
    """A path as a location has it, which knows no variables: a dollar sign stands for itself as it is."""
    return pattern(path) if "$" in path else quoted(path)


def _identity(number: int, route: RequestRoute) -> ConfLines:
    """What a location says of itself for the log. A question to a service, and a copy for a mirror, have the variables
    of the request that they are for, and begin where a host takes them back: their locations say it again."""
    kind, _, name = route.origin.partition(" ")
    namespace, _, ingress = name.partition("/") if kind == "Ingress" else ("", "", "")
    first = next((upstream_name(one.upstream) for one in route.backends if one.weight > 0), "")
    return [
        directive("set", "$namespace", quoted(namespace) if namespace else '""'),
        directive("set", "$ingress_name", quoted(ingress) if ingress else '""'),
        directive("set", "$location_path", quoted(route.match.path) if route.match.path else '""'),
        directive("set", "$route", number),
        directive("set", "$proxy_upstream_name", quoted(first) if first else '""'),
    ]


def _served(
    number: int,
    route: RequestRoute,
    upstreams: Mapping[str, Upstream],
    names: Mapping[str, str],
    every: ConfLines,
) -> ConfLines:
    backends = [one for one in route.backends if one.weight > 0]
    lines = _identity(number, route)
    done = [one for one in route.filters if type(one) in DIRECTIVES]
    early = [line for one in done if type(one) in EARLY for line in DIRECTIVES[type(one)](one, route.match)]
    own = [line for one in done if type(one) not in EARLY for line in DIRECTIVES[type(one)](one, route.match)]
    own += [*beside(number, route, upstreams)[0], *set_cookie(number, route, upstreams)]
    if any(isinstance(one, DirectResponse | LocationChange) and one.relative for one in route.filters):
        own.append(directive("absolute_redirect", "off"))
    if route.policy.ssl_redirect or route.policy.force_ssl_redirect:
        early += block("if ($pass_access_scheme = http)", [_to_https(route.policy)])
    own = early + own
    if not answers_for_host(route.filters):
        lines += unsaid(every, own)
    said = {line.split()[1].lower() for line in own if line.startswith("proxy_set_header ")}
    lines += [
        directive("proxy_set_header", *one) for one in UPSTREAM_FIELDS.items() if one[0].lower() not in said
    ]
    lines += own
    lines = in_words_of(route.policy, lines)
    lines += [*policy(route.policy), *reaching(route.policy, CERTIFICATES)]
    if any(map(_denies, route.filters)):
        return lines
    there = [one for one in backends if upstreams.get(one.upstream, Upstream()).servers]
    if not there:
        return [*lines, *_answered(503 if route.backends else 404, route)]
    if (named := _named(route, upstreams, names)) is not None:
        # A rewritten path ends what is set, so that this is the first.
        return [directive("set", "$target", quoted(named)), *lines, passed_on(route.policy, "$target")]
    return [*lines, passed_on(route.policy, group(route.policy, target(number, route, upstreams)))]


def _denies(one: Filter) -> bool:
    """Whether nobody gets any further: nginx sends to a location with a slash at its end who lacks that slash, if the
    location passes requests on."""
    return isinstance(one, Refusal) or (isinstance(one, DirectResponse) and not one.location)


def _answered(status: int, route: RequestRoute) -> ConfLines:
    """An answer where there is nobody to ask, after who may in has been looked at: `return` comes before that, and not
    at all after a path has been rewritten."""
    if not any(isinstance(one, AccessControl | ClientLimits | RegexRewrite) for one in route.filters):
        return [directive("return", status)]
    return [directive("root", "/nowhere"), directive("try_files", "/nobody", f"={status}")]


def _to_https(how: Policy) -> str:
    port = f":{how.redirect_port}" if how.redirect_port else ""
    target = "$request_uri" if how.keep_slash else "$bare_uri"
    return directive("return", how.redirect_status, f"https://$redirect_host{port}{target}")


def _named(route: RequestRoute, upstreams: Mapping[str, Upstream], names: Mapping[str, str]) -> str | None:
    """The only server, where it has a name: that is resolved whenever it is asked for, which nginx does for variables
    alone."""
    servers = upstreams[route.backends[0].upstream].servers
    if len(route.backends) > 1 or not is_named(servers[0]):
        return None
    host, _, port = servers[0].rpartition(":")
    return f"{names.get(host, host)}:{port}"


def _next_upstream(one: Policy) -> tuple[str, ...]:
    """As ingress-nginx writes it (`buildNextUpstream`)."""
    more = one.retry_non_idempotent and "non_idempotent" not in one.next_upstream
    return (*one.next_upstream, *(["non_idempotent"] if more else []))


_HEAD_MAX = 1 << 26
"""The largest buffer for an answer's head, which nginx has for each request: no server sends so long a one."""


def policy(one: Policy) -> ConfLines:
    """What a policy is in directives."""
    head = bounded(one.response_head_max, _HEAD_MAX, 1)
    return [
        directive("client_max_body_size", bounded(one.body_max)),
        directive("client_body_timeout", seconds(one.body_timeout)),
        directive("proxy_connect_timeout", seconds(one.connect_timeout)),
        directive("proxy_read_timeout", seconds(one.read_timeout)),
        directive("proxy_send_timeout", seconds(one.send_timeout)),
        directive("send_timeout", seconds(one.send_timeout)),
        directive("proxy_buffer_size", head),
        directive("proxy_buffers", 4, head),
        directive("proxy_busy_buffers_size", 2 * head),
        directive("proxy_request_buffering", on(bool(one.request_buffer))),
        directive("proxy_next_upstream", *_next_upstream(one)),
        directive("proxy_next_upstream_timeout", seconds(one.next_upstream_timeout)),
        directive("proxy_next_upstream_tries", bounded(one.tries)),
        *([directive("limit_rate", bounded(one.limit_rate))] if one.limit_rate else []),
        *([directive("limit_rate_after", bounded(one.limit_rate_after))] if one.limit_rate_after else []),
        *(_buffering(one) if one.response_buffer else []),
    ]


def _buffering(one: Policy) -> ConfLines:
    """What is held back of an answer: in buffers, of which nginx has at least two, and in a file."""
    head = bounded(one.response_head_max, _HEAD_MAX, 1)
    buffers = max(2, min(4, one.response_buffer // head))
    rest = one.response_buffer - buffers * head
    return [
        directive("proxy_buffering", "on"),
        directive("proxy_max_temp_file_size", bounded(max(rest, 2 * head)) if rest > 0 else 0),
    ]
