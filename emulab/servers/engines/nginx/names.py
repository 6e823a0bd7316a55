"""Names in nginx.conf of what a configuration names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from emulab.servers.engines.nginx.reaching import groups
from emulab.servers.l7.config import ErrorPages, Filter, L7Config, RequestRoute


def upstream_name(name: str) -> str:
    """The name of an upstream as ingress-nginx has it: `default-web-80`."""
    return name.replace("/", "-")


def in_variable(name: str) -> str:
    """A name as a part of a variable's. Two names are two: what no variable has is a number between underscores, which
    names of objects haven't."""
    return "".join(c if c == "_" or (c.isascii() and c.isalnum()) else f"_{ord(c):x}_" for c in name)


def share_name(route: RequestRoute) -> str:
    """The variable that draws one of a route's backends."""
    return "share_" + in_variable("_".join(f"{one.upstream}_{one.weight}" for one in route.backends))


def told_apart(config: L7Config) -> L7Config:
    """The configuration with upstreams of which no two have one name in nginx.conf, as `a-b/c/80` and `a/b-c/80`
    have: nginx refuses all of it then. The later one has a number."""
    taken: set[str] = set()
    renamed: dict[str, str] = {}
    ends: dict[str, list[str]] = {}
    for name, end in groups(config):
        ends.setdefault(name, []).append(end)
    for name, own in ends.items():
        new, number = name, 1
        while not taken.isdisjoint(_group_names(new, own)):
            number += 1
            new = f"{name}_{number}"
        taken.update(_group_names(new, own))
        if new != name:
            renamed[name] = new
    return _with_names(config, renamed) if renamed else config


def _group_names(name: str, ends: Collection[str]) -> list[str]:
    return [upstream_name(name) + end for end in ends]


def _with_names(config: L7Config, new: Mapping[str, str]) -> L7Config:
    default = config.default_upstream
    return replace(
        config,
        upstreams={new.get(name, name): upstream for name, upstream in config.upstreams.items()},
        routes=tuple(_renamed(route, new) for route in config.routes),
        default_upstream=new.get(default, default) if default is not None else None,
        default_filters=_filters(config.default_filters, new),
    )


def _renamed(route: RequestRoute, new: Mapping[str, str]) -> RequestRoute:
    canary = route.canary
    return replace(
        route,
        backends=tuple(replace(one, upstream=new.get(one.upstream, one.upstream)) for one in route.backends),
        canary=replace(canary, upstream=new.get(canary.upstream, canary.upstream)) if canary else None,
        filters=_filters(route.filters, new),
    )


def _filters(filters: tuple[Filter, ...], new: Mapping[str, str]) -> tuple[Filter, ...]:
    return tuple(
        replace(one, upstream=new.get(one.upstream, one.upstream)) if isinstance(one, ErrorPages) else one
        for one in filters
    )
