"""Names in nginx.conf of what a configuration names. Pure."""

from __future__ import annotations

from emulab.servers.l7.config import RequestRoute


def upstream_name(name: str) -> str:
    """The name of an upstream as ingress-nginx has it: `default-web-80`."""
    return name.replace("/", "-")


def share_name(route: RequestRoute) -> str:
    """The variable that draws one of a route's backends."""
    names = "_".join(f"{one.upstream}_{one.weight}" for one in route.backends)
    return "share_" + "".join(c if c.isalnum() else "_" for c in names)
