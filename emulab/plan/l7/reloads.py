"""Whether ingress-nginx would have nginx read its configuration anew for a change. Pure.

It hands servers of upstreams and how they are chosen, canaries among that, and the certificates of hosts to its Lua;
all else is in nginx.conf, the default certificate included (`IsDynamicConfigurationEnough`).
"""

from __future__ import annotations

from dataclasses import replace

from emulab.servers.l7.config import ANY_HOST, L7Config, RequestRoute


def is_reloaded(old: L7Config | None, new: L7Config) -> bool:
    """Whether what is in nginx.conf differs; `old` is None at first."""
    if old is None:
        return True
    if old is new:
        return False
    return _in_conf(old) != _in_conf(new) or _other_routes(old.routes, new.routes)


def _in_conf(config: L7Config) -> object:
    default = next((one for one in config.certificates if ANY_HOST in one.hosts), None)
    pair = (default.certificate, default.key) if default is not None else ()
    return (
        config.default_upstream,
        config.default_filters,
        config.verifications,
        config.options,
        config.policy,
        pair,
    )


def _other_routes(old: tuple[RequestRoute, ...], new: tuple[RequestRoute, ...]) -> bool:
    if old is new:
        return False
    if len(old) != len(new):
        return True
    return any(
        before is not after and before != after and _static(before) != _static(after)
        for before, after in zip(old, new, strict=True)
    )


def _static(route: RequestRoute) -> RequestRoute:
    return replace(route, canary=None, policy=replace(route.policy, affinity_cookie=False))
