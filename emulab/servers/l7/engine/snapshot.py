"""A configuration, checked whole and ready to be followed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from emulab.dataclass import dataclass
from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import (
    Certificate,
    ClientLimits,
    L7Config,
    MeasuredAs,
    Options,
    Policy,
    RequestRoute,
    Upstream,
)
from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.entry import RequestEntry
from emulab.servers.l7.engine.filters.fields import check_fields
from emulab.servers.l7.engine.filters.limits import zones
from emulab.servers.l7.engine.mapped import MappedValues
from emulab.servers.l7.engine.routes import ReadyRoute, RouteTable, default_route
from emulab.servers.l7.engine.servers import HostRules, servers_of
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.personalities import Personality, personality_of
from emulab.servers.l7.personalities.personality import FrontReader
from emulab.servers.wire.http1.reader import Dialect


@dataclass(frozen=True, slots=True)
class KeptServer:
    """What a pool of connections has to know of a server."""

    endpoints: int = 0  # behind its address
    requests: int = 0  # of one connection; 0: what holds for all
    connections: int | None = None  # to all servers of `beside`, at most
    beside: tuple[str, ...] = ()


_SERVER = KeptServer()


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
    over_tls: Personality  # of connections over TLS
    dialect: Dialect[RequestHead]
    unlogged: MappedValues | None  # targets whose requests have no line in the access log
    answer_lines: bytes  # of every answer, besides those of the personality
    options: Options
    policy: Policy
    ready: tuple[ReadyRoute, ...]  # in the configuration's order
    routes: RouteTable
    groups: dict[str, Group]
    certificates: tuple[Certificate, ...]
    log_line: Callable[[RequestEntry, float], str]
    shortest: float  # of all times that are watched
    front: FrontReader | None  # what reads of a request who asks; None: the peer
    host_rules: HostRules | None  # what is decided of a host before a route is looked for, where anything is
    zones: frozenset[str]  # in which clients are counted

    def hushes(self, rule: ReadyRoute | None, host: bytes, status: int) -> bool:
        """Whether there is no line in the access log, as nobody's host was asked for: what came to no location has one,
        which is answered with another status than 404 without a route."""
        if self.options.log_default or (rule is not None and rule is not self.routes.default):
            return False
        return (rule is not None or status == 404) and not self.routes.claims(host)

    @property
    def servers(self) -> dict[str, KeptServer]:
        """Every server of every upstream, with what is to be known of connections to it."""
        found: dict[str, KeptServer] = {}
        for group in self.groups.values():
            limits = group.limits
            for server in group.servers:
                kept = found.get(server, _SERVER)
                if group.upstream.endpoints:
                    kept = replace(kept, endpoints=max(kept.endpoints, group.upstream.endpoints))
                if limits.connections is not None:
                    kept = replace(kept, connections=limits.connections, beside=group.servers)
                if limits.requests_per_connection:
                    kept = replace(kept, requests=limits.requests_per_connection)
                found[server] = kept
        return found


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `10.96.12.7:80` or `[fd00::7]:80`. Raises `ValueError`."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"not an address with a port: {address!r}")
    return host.strip("[]"), int(port)


def take(
    config: L7Config, old: Mapping[str, Group], now: float = 0.0, *, before: Snapshot | None = None
) -> Snapshot:
    """Raises `ValueError` for a configuration that can't be followed.

    What the upstreams in `old` know of their servers those of their names go on from, where the servers stay. The very
    routes that were in `before` needn't be made ready anew: one changes, and there may be ten thousand.
    """
    listen, tls_listen = frozenset(config.listen), frozenset(config.tls_listen)
    if missing := tls_listen - listen:
        raise ValueError(f"tls_listen names what listen doesn't: {', '.join(sorted(missing))}")
    groups = _groups(config.upstreams, old, now)
    if before is not None and before.groups != groups:
        before = None  # routes know the upstreams themselves
    known = {id(rule.route): rule for rule in before.ready} if before is not None else {}
    rules = [
        known.get(id(route)) or ready_route(index, route, groups) for index, route in enumerate(config.routes)
    ]
    upstream = config.default_upstream
    default = (
        default_route(upstream, groups, config.policy, config.default_filters)
        if upstream is not None
        else None
    )
    personality, options = personality_of(config.personality), config.options
    fields = personality.other_fields
    personality = replace(personality, response_fields=fields[options.pass_server, False])
    over_tls = replace(personality, response_fields=fields[options.pass_server, bool(options.hsts)])
    return Snapshot(
        listen=listen,
        tls_listen=tls_listen,
        pages=config.pages,
        metrics_at=frozenset(config.metrics_at),
        measured=config.measured,
        hosts=frozenset(route.match.host.lower() for route in config.routes),
        origins=frozenset(route.origin for route in config.routes),
        personality=personality,
        over_tls=over_tls,
        dialect=personality.dialect(options),
        unlogged=MappedValues(options.unlogged) if options.unlogged else None,
        answer_lines=_answer_lines(options),
        options=options,
        policy=config.policy,
        ready=tuple(rules),
        routes=RouteTable(rules, default, personality.locations, before.routes if before else None),
        groups=groups,
        certificates=config.certificates,
        log_line=personality.log_format(config.options.log_format, config.options.log_escape),
        shortest=min(times_of(config)),
        front=personality.front(config.options),
        host_rules=servers_of(config),
        zones=zones_of(config.routes),
    )


def zones_of(routes: Iterable[RequestRoute]) -> frozenset[str]:
    """The zones in which clients are counted."""
    limits = (one for route in routes for one in route.filters if isinstance(one, ClientLimits))
    return frozenset(zone for one in limits for zone in zones(one))


def _answer_lines(options: Options) -> bytes:
    check_fields(options.fields, "config.options.fields")
    return b"".join(f"{field.name}: {field.value}\r\n".encode() for field in options.fields if field.value)


def ready_route(index: int, route: RequestRoute, groups: Mapping[str, Group]) -> ReadyRoute:
    """A route of a configuration. Raises `BadConfiguration`, which names its field."""
    try:
        return ReadyRoute(route, groups)
    except BadConfiguration as wrong:
        raise BadConfiguration(f"config.routes[{index}].{wrong}") from None


def _groups(given: Mapping[str, Upstream], old: Mapping[str, Group], now: float) -> dict[str, Group]:
    groups = {}
    for name, upstream in given.items():
        known = old.get(name)
        if known is not None and known.upstream == upstream:
            groups[name] = known
            continue
        for server in upstream.servers:
            split_address(server)
        group = groups[name] = Group(name, upstream)
        if known is not None:
            group.inherit(known, now)
    return groups


def times_of(config: L7Config) -> list[float]:
    """All times that are watched."""
    options = config.options
    times = [options.keepalive_timeout or 60.0, options.header_timeout, options.upstream_keepalive_timeout]
    policies = {id(route.policy): route.policy for route in config.routes}
    for policy in (config.policy, *policies.values()):
        times += [policy.read_timeout, policy.send_timeout, policy.body_timeout]
    return times
