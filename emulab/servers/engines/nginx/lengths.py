"""What is too long for nginx.conf: nginx reads it by a buffer that one parameter has to fit in. Pure.

It would refuse all of its configuration for one, and the changes of all other Ingresses wouldn't be followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from emulab.servers.engines.nginx.text import pattern, quoted
from emulab.servers.l7.config import ErrorPages, L7Config, Match, Refusal, RequestRoute

_MOST = 4000
"""Octets of a parameter, of the 4,096 of nginx' NGX_CONF_BUFFER, with room for what is around it."""
_PARAMETER = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_WRITTEN = {"$": 17, "*": 16, ".": 5, "-": 3, "\\": 4, '"': 2}
"""How many octets come of a character at the most, where that is more than its own."""


def too_long(lines: Iterable[str]) -> bool:
    """Whether nginx couldn't read one of the lines."""
    return any(
        len(one.encode()) > _MOST
        for line in lines
        if len(line) > _MOST // 4
        for one in _PARAMETER.findall(line)
    )


def has_place(match: Match) -> bool:
    """Whether there can be a location for a path, and a server for a host."""
    host = pattern(match.host) if match.host.startswith("~") else quoted(match.host)
    return not too_long([pattern(match.path), host])


def shortened(config: L7Config, written: Callable[[L7Config], Iterable[str]]) -> L7Config:
    """The configuration with nobody served by routes of which something is too long; `written`: its lines.

    They stay, with nothing of theirs but where they are: another route would serve who isn't to be served by it.
    """
    long = {number for number, route in enumerate(config.routes) if is_long(route, config, written)}
    if not long:
        return config
    routes = tuple(
        RequestRoute(route.match, (), route.origin, (Refusal("something of it is too long for nginx.conf"),))
        if number in long
        else route
        for number, route in enumerate(config.routes)
    )
    used = {name for route in routes for name in _upstreams(route)} | {config.default_upstream}
    used |= {one.upstream for one in config.default_filters if isinstance(one, ErrorPages)}
    return replace(
        config,
        routes=routes,
        upstreams={name: one for name, one in config.upstreams.items() if name in used},
    )


def is_long(route: RequestRoute, config: L7Config, written: Callable[[L7Config], Iterable[str]]) -> bool:
    """Whether something of a route is too long. It is written by itself only where it might be."""
    upstreams = {name: config.upstreams[name] for name in _upstreams(route) if name in config.upstreams}
    texts = (repr(route), *(repr(one.balance) for one in upstreams.values()))
    if all(len(text.encode()) + _more(text) <= _MOST for text in texts):
        return False
    alone = L7Config((), routes=(route,), upstreams=upstreams, options=config.options, policy=config.policy)
    return not has_place(route.match) or too_long(written(alone))


def _more(text: str) -> int:
    return sum(text.count(character) * (octets - 1) for character, octets in _WRITTEN.items())


def _upstreams(route: RequestRoute) -> Iterator[str]:
    yield from (one.upstream for one in route.backends)
    yield from (one.upstream for one in route.filters if isinstance(one, ErrorPages))
    if route.canary is not None:
        yield route.canary.upstream
