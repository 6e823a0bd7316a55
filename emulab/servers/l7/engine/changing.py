"""A configuration of which only some routes change. Pure.

Ten thousand routes are no reason to look at all of them for one that changes: what is known of the others stays as it
is. What comes out is what `snapshot.take` makes of the whole configuration, but that times which nobody watches any
more may still be looked at.
"""

from __future__ import annotations

from dataclasses import replace

from emulab.servers.l7.config import L7Config
from emulab.servers.l7.engine.snapshot import Snapshot, ready_route, take, times_of, zones_of


def with_routes(before: Snapshot, config: L7Config, begin: int, end: int) -> Snapshot:
    """`config` has other routes than what there was before, in the place of those from `begin` to before `end`.

    Raises `ValueError` for a configuration that can't be followed.
    """
    kept = len(before.ready) - (end - begin)
    routes = config.routes[begin : begin + len(config.routes) - kept]
    gone = before.ready[begin:end]
    fresh = [ready_route(begin + index, route, before.groups) for index, route in enumerate(routes)]
    touched = {rule.host for rule in (*gone, *fresh)}
    if before.host_rules is not None or any(host.startswith("~") for host in touched):
        return take(
            config, before.groups, before=before
        )  # whose order, or whose hosts, are all routes' matter
    ready = (*before.ready[:begin], *fresh, *before.ready[end:])
    table = before.routes.changed(ready, gone, fresh)
    # Sets are left alone as far as they can be: to make one of ten thousand is most of what a change costs.
    other = {host for host in touched if table.names(host) != (host in before.hosts)}
    origins = before.origins
    was, came = ({rule.route.origin for rule in rules} for rules in (gone, fresh))
    if was - came:
        origins = frozenset(rule.route.origin for rule in ready)
    elif came - origins:
        origins = origins | came
    zones = before.zones | zones_of(routes)
    if zones_of(rule.route for rule in gone):
        zones = zones_of(config.routes)
    return replace(
        before,
        hosts=before.hosts ^ other if other else before.hosts,
        origins=origins,
        ready=ready,
        routes=table,
        shortest=min(before.shortest, *times_of(replace(config, routes=routes))),
        zones=zones,
    )
