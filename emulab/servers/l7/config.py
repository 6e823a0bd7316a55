"""The configuration as values: checked whole before anything of it is used. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from emulab.dataclass import dataclass
from emulab.servers.base import Config
from emulab.servers.l7.engine.routes import RouteTable, Rule
from emulab.servers.stub import ResolverConfig


@dataclass(frozen=True, slots=True)
class Options:
    """Limits and times, in bytes and seconds; the defaults are ingress-nginx's."""

    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    send_timeout: float = 60.0
    keepalive_timeout: float = 75.0
    header_timeout: float = 60.0
    body_timeout: float = 60.0
    client_max_body: int = 1 << 20  # 0: unlimited
    upstream_keepalive: int = 320  # idle connections kept to one server
    upstream_keepalive_timeout: float = 60.0
    response_head_max: int = 4096  # proxy-buffer-size: a larger head is a 502
    trust_forwarded: bool = False
    hsts: str = "max-age=31536000; includeSubDomains"  # on every answer over TLS; empty: none


class Group:
    """The servers of one upstream, and whose turn it is."""

    __slots__ = ("_next", "name", "servers")

    def __init__(self, name: str, servers: tuple[str, ...]) -> None:
        self.name = name
        self.servers = servers
        self._next = 0

    def pick(self) -> str:
        """The next server, round robin. There must be one."""
        if len(self.servers) == 1:
            return self.servers[0]
        index = self._next
        if index >= len(self.servers):
            index = 0
        self._next = index + 1
        return self.servers[index]


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate chain with its key, both PEM, for the names in `hosts`."""

    hosts: tuple[str, ...]
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole configuration. Requests take the current one when their head is complete and keep it."""

    listen: frozenset[str]
    tls_listen: frozenset[str]
    options: Options
    routes: RouteTable
    groups: dict[str, Group]
    certificates: tuple[Certificate, ...]
    resolver: ResolverConfig  # of the servers that are names (ExternalName)

    @property
    def addresses(self) -> frozenset[str]:
        """Every server of every upstream."""
        return frozenset(server for group in self.groups.values() for server in group.servers)


def _options(given: Mapping[str, Any]) -> Options:
    known = {field.name for field in fields(Options)}
    if unknown := set(given) - known:
        raise ValueError(f"unknown ingress option: {', '.join(sorted(unknown))}")
    return Options(**given)


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `10.96.12.7:80` or `[fd00::7]:80`. Raises `ValueError`."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"not an address with a port: {address!r}")
    return host.strip("[]"), int(port)


def _groups(given: Mapping[str, Any], old: Mapping[str, Group]) -> dict[str, Group]:
    groups = {}
    for name, upstream in given.items():
        balance = upstream.get("balance", "roundrobin")
        if balance != "roundrobin":
            raise ValueError(f"unknown balance {balance!r} of upstream {name}")
        servers = tuple(upstream.get("servers", ()))
        for server in servers:
            parse_address(server)
        known = old.get(name)
        groups[name] = known if known is not None and known.servers == servers else Group(name, servers)
    return groups


def parse(config: Config, old: Mapping[str, Group]) -> Snapshot:
    """Checks a configuration. Raises `ValueError` for what can't be served.

    Upstreams that are as they were in `old` keep their turn.
    """
    listen = frozenset(config.get("listen", ()))
    tls_listen = frozenset(config.get("tls_listen", ()))
    if missing := tls_listen - listen:
        raise ValueError(f"tls_listen names what listen doesn't: {', '.join(sorted(missing))}")
    rules = [
        Rule(
            host=rule.get("host") or "",
            path=rule.get("path") or "/",
            path_type=rule.get("path_type", "ImplementationSpecific"),
            upstream=rule["upstream"],
            origin=rule.get("origin", ""),
            ssl_redirect=bool(rule.get("ssl_redirect", False)),
        )
        for rule in config.get("rules", ())
    ]
    return Snapshot(
        listen=listen,
        tls_listen=tls_listen,
        options=_options(config.get("options", {})),
        routes=RouteTable(rules, config.get("default_upstream")),
        groups=_groups(config.get("upstreams", {}), old),
        certificates=tuple(
            Certificate(tuple(item["hosts"]), item["certificate"], item["key"])
            for item in config.get("certificates", ())
        ),
        resolver=ResolverConfig.parse(config.get("resolv_conf", ""), config.get("hosts", "")),
    )
