"""Which of several upstreams gets a request, in nginx' maps: shares, canaries, and cookies of affinity. Pure.

A map is looked at when its variable is asked for. Each of a route's is a step: what it doesn't decide, the next one
does. A server that cookies name has a group of its own, beside that of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from emulab.servers.engines.nginx.names import share_name, upstream_name
from emulab.servers.engines.nginx.text import ConfLines, block, directive, pattern
from emulab.servers.engines.shared import OLD_BROWSERS, is_named, server_mark
from emulab.servers.l7.config import Canary, CookieAffinity, RequestRoute, Upstream
from emulab.servers.l7.engine.balance.canaries import LEAST_TOTAL

KnownUpstreams = Mapping[str, Upstream]


def choices(routes: Sequence[RequestRoute], upstreams: KnownUpstreams) -> ConfLines:
    """The maps of all routes."""
    lines = _shares(routes)
    for number, route in enumerate(routes):
        for one in (_canary_lines(number, route, upstreams), _sticky_lines(number, route, upstreams)):
            lines += one
    return lines


def target(number: int, route: RequestRoute, upstreams: KnownUpstreams) -> str:
    """The upstream of a route, or the variable that names it."""
    if _affinities(route, upstreams):
        return f"${{stuck_{number}}}"
    return _chosen(number, route, upstreams)


def _chosen(number: int, route: RequestRoute, upstreams: KnownUpstreams) -> str:
    if canary_of(route, upstreams) is not None:
        return f"${{canary_{number}}}"
    return _primary(route)


def _primary(route: RequestRoute) -> str:
    backends = [one for one in route.backends if one.weight > 0]
    if len(route.backends) > 1:
        return f"${{{share_name(route)}}}"
    return upstream_name(backends[0].upstream) if backends else ""


def _shares(routes: Sequence[RequestRoute]) -> ConfLines:
    """Who draws among the backends of a route."""
    lines: dict[str, ConfLines] = {}
    for route in routes:
        used = [one for one in route.backends if one.weight > 0]
        if len(route.backends) > 1 and used:
            total = sum(one.weight for one in used)
            drawn = [f"{100 * one.weight / total:.2f}% {upstream_name(one.upstream)};" for one in used[:-1]]
            name = share_name(route)
            lines[name] = block(
                f'split_clients "$request_id" ${name}', [*drawn, f"* {upstream_name(used[-1].upstream)};"]
            )
    return [line for lines_ in lines.values() for line in lines_]


# --- canaries --------------------------------------------------------------------------------------------------------


def canary_of(route: RequestRoute, upstreams: KnownUpstreams) -> Canary | None:
    """The canary, if it has a server that is an address: without one it takes nobody."""
    there = route.canary is not None and _addresses(upstreams.get(route.canary.upstream, Upstream()))
    return route.canary if there else None


def _addresses(upstream: Upstream) -> tuple[str, ...]:
    return tuple(one for one in upstream.servers if not is_named(one))


def _canary_lines(number: int, route: RequestRoute, upstreams: KnownUpstreams) -> ConfLines:
    """Who was sent to either of the two before stays there; then the header, the cookie, the weight."""
    canary = canary_of(route, upstreams)
    if canary is None:
        return []
    to, stay = upstream_name(canary.upstream), _primary(route)
    first = upstreams.get(route.backends[0].upstream, Upstream()) if route.backends else Upstream()
    said = {"always": to, "never": stay}
    steps: list[tuple[str, Mapping[str, str]]] = []
    for there, upstream in ((stay, first), (to, upstreams[canary.upstream])):
        if isinstance(upstream.balance, CookieAffinity) and (
            marks := list(map(server_mark, _addresses(upstream)))
        ):
            steps.append((f"$asked_{number}_{len(steps)}", {"|".join(marks): there}))
    if canary.header:
        field = "$http_" + re.sub(r"\W", "_", canary.header.lower())
        if canary.header_value:
            steps.append((field, {re.escape(canary.header_value): to}))
        elif canary.header_pattern:
            steps.append((field, {f".*?(?:{canary.header_pattern}).*": to}))
        else:
            steps.append((field, said))
    lines: ConfLines = []
    if canary.cookie:
        lines += _cookie(f"try_{number}", canary.cookie, as_variable=True)
        steps.append((f"$try_{number}", said))
    weight = f"$canary_{number}_weight"
    for step, (value, known) in enumerate(steps):
        name = f"$canary_{number}_{step}" if step else f"$canary_{number}"
        later = f"$canary_{number}_{step + 1}" if step + 1 < len(steps) else weight
        if value.startswith("$asked_"):
            one = first if next(iter(known.values())) == stay else upstreams[canary.upstream]
            assert isinstance(one.balance, CookieAffinity)
            lines += _cookie(value[1:], one.balance.cookie)
        entries = [f"{pattern(f'~^(?:{text})$')} {there};" for text, there in known.items()]
        lines += block(f"map {value} {name}", [*entries, f"default {later};"])
    percent = 100 * canary.weight / max(canary.weight_total, LEAST_TOTAL)
    drawn = f"$canary_{number}" if not steps else weight
    share = [f"{min(100.0, percent):.2f}% {to};"] if canary.weight > 0 else []
    rest = [] if percent >= 100 else [f"* {stay};"]
    return lines + block(f'split_clients "$request_id" {drawn}', [*share, *rest])


def _cookie(name: str, cookie: str, as_variable: bool = False) -> ConfLines:
    """A variable with the value of a cookie, whatever characters its name has: of several the last, as ingress-nginx'
    Lua has it, or the first, of whatever case, as nginx' own variables have it."""
    begin, equals = (r"~*(?:^|[;,] *)", " *= *") if as_variable else (r"~^(?:.*;\s*)?", "=")
    found = pattern(rf"{begin}{re.escape(cookie)}{equals}(?<{name}_found>[^;]*)")
    return block(f"map $http_cookie ${name}", [f"{found} ${name}_found;", "default '';"])


# --- affinity --------------------------------------------------------------------------------------------------------


def _affinities(route: RequestRoute, upstreams: KnownUpstreams) -> list[tuple[str, Upstream, CookieAffinity]]:
    """The upstreams of a route that cookies lead to."""
    names = [one.upstream for one in route.backends if one.weight > 0]
    if (canary := canary_of(route, upstreams)) is not None:
        names.append(canary.upstream)
    found = []
    for name in dict.fromkeys(names):
        upstream = upstreams.get(name, Upstream())
        if isinstance(upstream.balance, CookieAffinity) and _addresses(upstream):
            found.append((name, upstream, upstream.balance))
    return found


def sticky_groups(name: str, upstream: Upstream) -> Iterator[tuple[str, Sequence[str]]]:
    """The groups of single servers: what is added to the name, and the lines."""
    one = upstream.balance
    if not isinstance(one, CookieAffinity):
        return
    for server in _addresses(upstream):
        others = [f"server {other} max_fails=0 backup;" for other in _addresses(upstream) if other != server]
        own = f"server {server} max_fails=0;"
        yield (
            f"{upstream_name(name)}-{server_mark(server)}",
            [own, *(others if one.change_on_failure else [])],
        )


def _sticky_lines(number: int, route: RequestRoute, upstreams: KnownUpstreams) -> ConfLines:
    found = _affinities(route, upstreams)
    if not found:
        return []
    _, _, first = found[0]
    lines = _cookie(f"mark_{number}", first.cookie)
    entries, marks = ConfLines(), ConfLines()
    for name, upstream, _ in found:
        for server in _addresses(upstream):
            mark, group = server_mark(server), upstream_name(name)
            entries.append(f'"{group}|{mark}" {group}-{mark};')
            marks.append(f"{pattern(f'~(?:^|[,:] ){re.escape(server)}$')} {mark};")
    chosen = _chosen(number, route, upstreams)
    lines += block(f'map "{chosen}|$mark_{number}" $stuck_{number}', [*entries, f"default {chosen};"])
    if not route.policy.affinity_cookie:
        return lines
    lines += block(f"map $upstream_addr $server_{number}", [*dict.fromkeys(marks), "default '';"])
    return lines + _new_cookie(number, first, route.match.path)


def _new_cookie(number: int, one: CookieAffinity, path: str) -> ConfLines:
    """The line that sets the cookie; empty where it says already what it is to say."""
    lines: ConfLines = []
    parts = [f"{one.cookie}=${{server_{number}}}"]
    if one.max_age is not None:
        parts.append(f"Max-Age={one.max_age}")
    if one.domain:
        parts.append(f"Domain={one.domain}")
    parts.append(
        f"Path={one.path_of(path)}".replace("\\", "\\\\")
        .replace("$", "${literal_dollar}")
        .replace('"', '\\"')
    )
    text = "; ".join(parts)
    if one.secure:
        text += "; Secure"
    else:
        lines += block(f"map $pass_access_scheme $secure_{number}", ["https '; Secure';", "default '';"])
        text += f"${{secure_{number}}}"
    text += "; HttpOnly"
    if one.same_site == "None" and one.unless_incompatible:
        old = pattern(f"~{OLD_BROWSERS}")
        lines += block(
            f"map $http_user_agent $samesite_{number}", [f"{old} '';", "default '; SameSite=None';"]
        )
        text += f"${{samesite_{number}}}"
    elif one.same_site:
        text += f"; SameSite={one.same_site}"
    entries = [r'"~^(?<same>.+)\|\k<same>$" ' + "'';", r'"~\|$" ' + "'';", f'default "{text}";']
    return lines + block(f'map "$mark_{number}|$server_{number}" $new_mark_{number}', entries)


def set_cookie(number: int, route: RequestRoute, upstreams: KnownUpstreams) -> ConfLines:
    """What a route's location says of the cookie."""
    if not route.policy.affinity_cookie or not _affinities(route, upstreams):
        return []
    return [directive("add_header", "Set-Cookie", f"$new_mark_{number}", "always")]
