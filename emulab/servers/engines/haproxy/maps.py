"""Which route a request belongs to: files in which HAProxy looks up a host and a path. Pure.

A host has a number; what stands in a map is `NUMBER/PATH`, so one look-up finds the longest prefix of a host whatever
the number of routes is. The order is that of `personalities.ingress_nginx.paths`: an exact path, then expressions, the
longest first, then the longest prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emulab.servers.l7.config import REGULAR_EXPRESSION, Match, RequestRoute


class RouteMaps(NamedTuple):
    """The texts of the maps; `expressions` are asked one after the other: host's number, expression, route.

    So are `host_expressions`, for names that no map has: expression, host's number.
    """

    hosts: str
    exact: str
    prefixes: str
    expressions: tuple[tuple[int, str, int], ...]
    host_expressions: tuple[tuple[str, int], ...] = ()


def route_maps(routes: Sequence[RequestRoute]) -> RouteMaps:
    """The maps of routes, whose numbers are their places."""
    hosts: dict[str, int] = {"": 0}
    for route in routes:  # of expressions the first that is found counts
        hosts.setdefault(_host(route), len(hosts))
    exact: dict[str, int] = {}
    prefixes: dict[str, int] = {}
    expressions: list[tuple[int, str, int]] = []
    there = [(number, route) for number, route in enumerate(routes) if in_map(route.match)]
    for number, route in sorted(there, key=lambda one: one[1].match.path_type != "Exact"):
        match = route.match
        host = hosts[_host(route)]
        path, kind = match.path or "/", match.path_type
        if kind != REGULAR_EXPRESSION:
            path = path.replace(" ", "%20")
        if kind == REGULAR_EXPRESSION:
            expressions.append((host, path, number))
        elif kind == "Exact":
            exact.setdefault(f"{host}{path}", number)
        elif kind == "Prefix":
            base = path.rstrip("/")
            if base:
                exact.setdefault(f"{host}{base}", number)
            prefixes.setdefault(f"{host}{base}/", number)
        else:
            prefixes.setdefault(f"{host}{path}", number)
    expressions.sort(key=lambda one: (-len(one[1]), one[2]))
    return RouteMaps(
        _text({name: n for name, n in hosts.items() if name and not name.startswith("~")}),
        _text(exact),
        _text(prefixes),
        tuple(expressions),
        tuple((name.lstrip("~*"), n) for name, n in hosts.items() if name.startswith("~")),
    )


def in_map(match: Match) -> bool:
    """Whether a path can be a key: a line's end would begin another one, of whichever host, and a tab end it."""
    return match.path_type == REGULAR_EXPRESSION or not {"\t", "\n", "\r", "\0"}.intersection(match.path)


def _host(route: RequestRoute) -> str:
    host = route.match.host
    return host if host.startswith("~") else host.lower()


def _text(entries: dict[str, int]) -> str:
    """A map file. A key ends at its first space, which is written otherwise in paths and asked for so."""
    return "".join(f"{key} {value}\n" for key, value in entries.items())
