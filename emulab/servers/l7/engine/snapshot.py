"""A configuration, checked whole and ready to be followed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.dataclass import dataclass
from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import (
    Certificate,
    L7Config,
    MeasuredAs,
    Options,
    Policy,
    RequestRoute,
    Upstream,
)
from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.entry import RequestEntry
from emulab.servers.l7.engine.routes import ReadyRoute, RouteTable, default_route
from emulab.servers.l7.personalities import Personality, personality_of


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole configuration. Requests take the current one when their head is complete and keep it."""

    listen: frozenset[str]
    tls_listen: frozenset[str]
    pages: Mapping[str, Mapping[str, str]]
    metrics_at: frozenset[str]
    measured: MeasuredAs | None
    hosts: frozenset[str]  # that routes name
    origins: frozenset[str]  # of routes
    personality: Personality
    options: Options
    policy: Policy
    ready: tuple[ReadyRoute, ...]  # in the configuration's order
    routes: RouteTable
    groups: dict[str, Group]
    certificates: tuple[Certificate, ...]
    log_line: Callable[[RequestEntry, float], str]
    shortest: float  # of all times that are watched

    @property
    def addresses(self) -> frozenset[str]:
        """Every server of every upstream."""
        return frozenset(server for group in self.groups.values() for server in group.servers)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `10.96.12.7:80` or `[fd00::7]:80`. Raises `ValueError`."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"not an address with a port: {address!r}")
    return host.strip("[]"), int(port)


def take(config: L7Config, old: Mapping[str, Group], *, before: Snapshot | None = None) -> Snapshot:
    """Raises `ValueError` for a configuration that can't be followed.

    Upstreams that are as they were in `old` keep their turn. The very routes that were in `before` needn't be made
    ready anew: one changes, and there may be ten thousand.
    """
    listen, tls_listen = frozenset(config.listen), frozenset(config.tls_listen)
    if missing := tls_listen - listen:
        raise ValueError(f"tls_listen names what listen doesn't: {', '.join(sorted(missing))}")
    groups = _groups(config.upstreams, old)
    if before is not None and before.groups != groups:
        before = None  # routes know the upstreams themselves
    known = {id(rule.route): rule for rule in before.ready} if before is not None else {}
    rules = [known.get(id(route)) or _rule(index, route, groups) for index, route in enumerate(config.routes)]
    upstream = config.default_upstream
    default = default_route(upstream, groups, config.policy) if upstream is not None else None
    personality = personality_of(config.personality)
    return Snapshot(
        listen=listen,
        tls_listen=tls_listen,
        pages=config.pages,
        metrics_at=frozenset(config.metrics_at),
        measured=config.measured,
        hosts=frozenset(route.match.host.lower() for route in config.routes),
        origins=frozenset(route.origin for route in config.routes),
        personality=personality,
        options=config.options,
        policy=config.policy,
        ready=tuple(rules),
        routes=RouteTable(rules, default, personality.locations, before.routes if before else None),
        groups=groups,
        certificates=config.certificates,
        log_line=personality.log_format(config.options.log_format, config.options.log_escape),
        shortest=min(_times(config)),
    )


def _rule(index: int, route: RequestRoute, groups: Mapping[str, Group]) -> ReadyRoute:
    try:
        return ReadyRoute(route, groups)
    except BadConfiguration as wrong:
        raise BadConfiguration(f"config.routes[{index}].{wrong}") from None


def _groups(given: Mapping[str, Upstream], old: Mapping[str, Group]) -> dict[str, Group]:
    groups = {}
    for name, upstream in given.items():
        if upstream.balance != "roundrobin":
            raise ValueError(f"unknown balance {upstream.balance!r} of upstream {name}")
        for server in upstream.servers:
            split_address(server)
        known = old.get(name)
        unchanged = known is not None and known.servers == upstream.servers
        groups[name] = known if known is not None and unchanged else Group(name, upstream.servers)
    return groups


def _times(config: L7Config) -> list[float]:
    options = config.options
    times = [options.keepalive_timeout or 60.0, options.header_timeout, options.upstream_keepalive_timeout]
    policies = {id(route.policy): route.policy for route in config.routes}
    for policy in (config.policy, *policies.values()):
        times += [policy.read_timeout, policy.send_timeout, policy.body_timeout]
    return times
