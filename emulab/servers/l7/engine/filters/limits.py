"""Whether a client comes too often, or with too many requests at a time (nginx's phase before access). Pure."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import ClientLimits, Match
from emulab.servers.l7.engine.addresses import Networks
from emulab.servers.l7.engine.filters.effect import Asked, Gate, GateQuestion, Page
from emulab.servers.l7.engine.kept import EngineMemory
from emulab.servers.l7.engine.limits import refused_by


def zones(one: ClientLimits) -> list[str]:
    """The names of its zones."""
    own = [limit.zone for limit in one.requests]
    return [*own, one.connections.zone] if one.connections is not None else own


def client_limits(one: ClientLimits, _match: Match) -> Gate:
    """Counts requests by the client's address."""
    exempt = Networks(one.exempt)
    for index, limit in enumerate(one.requests):
        if limit.rate <= 0:
            raise BadConfiguration(f"requests[{index}].rate: {limit.rate} is no rate")
    for place, status in (
        ("request_status", one.request_status),
        ("connection_status", one.connection_status),
    ):
        if not 400 <= status < 600:
            raise BadConfiguration(f"{place}: {status} is no status of an error")

    def gate(asked: Asked, kept: EngineMemory) -> Generator[GateQuestion, object, Page | None]:
        yield from ()
        return None if asked.address in exempt else _counted(one, asked, kept)

    return gate


def _counted(one: ClientLimits, asked: Asked, kept: EngineMemory) -> Page | None:
    address = asked.address
    found = refused_by(
        [(kept.request_zone(limit.zone), limit.rate, limit.burst) for limit in one.requests],
        address,
        int(asked.now * 1000),
    )
    if found is not None:
        limit, excess = one.requests[found[0]], found[1]
        why = f"limiting requests of {address}, excess: {excess / 1000:.3f} by zone {limit.zone!r} ({limit.source})"
        return Page(one.request_status, why, source=limit.source)
    limit_of = one.connections
    if limit_of is None:
        return None
    zone = kept.connection_zone(limit_of.zone)
    if not zone.enter(address, limit_of.most):
        why = f"limiting connections of {address} by zone {limit_of.zone!r} ({limit_of.source})"
        return Page(one.connection_status, why, source=limit_of.source)
    asked.leave.append(partial(zone.leave, address))
    return None
