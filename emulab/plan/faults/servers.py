"""Servers that are told wrong: resolvers that keep records for too long, certificates of other times, connections that
are given up too early, speakers of BGP that talk to nobody. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emulab.kinds.faults.effects import Harm, Redated, ShortKeepAlive, Silenced, StaleNames
from emulab.plan.cni.speakers import BGP
from emulab.plan.standins import STANDINS
from emulab.plan.state import Place, PlannedServer
from emulab.servers.bgp.config import BgpConfig
from emulab.servers.dns.config import DnsConfig
from emulab.servers.echo.config import EchoConfig
from emulab.servers.l7.config import Certificate, L7Config


def misled(
    servers: Mapping[str, PlannedServer], places: Mapping[str, Place], effects: Sequence[Harm]
) -> Mapping[str, PlannedServer]:
    """The servers, with what they are told by these effects."""
    stale = {e.resolver: e.seconds for e in effects if isinstance(e, StaleNames)}
    redated = {e.host: (e.begins, e.ends) for e in effects if isinstance(e, Redated)}
    idle = {e.pod: e.seconds for e in effects if isinstance(e, ShortKeepAlive)}
    silent = frozenset(f"{e.node}{BGP}" for e in effects if isinstance(e, Silenced))
    if not (stale or redated or idle or silent):
        return servers
    sockets = {str(a): idle[name] for name in idle if name in places for a in places[name].addresses}
    found = dict(servers)
    for name, server in servers.items():
        config = _told(server, stale, redated, sockets, silent)
        if config is not server.config:
            found[name] = replace(server, config=config)
    return found


def _told(
    server: PlannedServer,
    stale: Mapping[str, int],
    redated: Mapping[str, tuple[int, int]],
    idle: Mapping[str, float],
    silent: Collection[str],
) -> Any:
    config = server.config
    if isinstance(config, DnsConfig) and server.name in stale:
        seconds = stale[server.name]
        limits = replace(config.cache, min_ttl=seconds, max_ttl=max(seconds, config.cache.max_ttl))
        return replace(config, cache=limits)
    if isinstance(config, L7Config) and redated:
        return replace(config, certificates=tuple(_certificates(config.certificates, redated)))
    if isinstance(config, EchoConfig) and server.name == STANDINS and idle:
        return replace(config, idle=dict(idle))
    if isinstance(config, BgpConfig) and server.name in silent:
        return replace(config, silent=True)
    return config


def _certificates(
    shown: Iterable[Certificate], redated: Mapping[str, tuple[int, int]]
) -> Iterator[Certificate]:
    """Each certificate for the hosts of which it stays, and for each of the others as one of other dates."""
    for one in shown:
        others = [host for host in one.hosts if host in redated]
        stay = tuple(host for host in one.hosts if host not in redated)
        if stay or not others:
            yield replace(one, hosts=stay) if others else one
        for host in others:
            begins, ends = redated[host]
            yield replace(one, hosts=(host,), secret="", begins=begins, ends=ends)
