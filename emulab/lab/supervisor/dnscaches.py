"""The caches of a lab's resolvers and of its cluster DNS: shown, emptied and spoilt, as an operator asks."""

from __future__ import annotations

import asyncio
from typing import Any

from emulab.errors import EmulabError, UserError
from emulab.lab.supervisor.arguments import COUNT, NAME, Arguments, optional, takes
from emulab.lab.supervisor.reconciler import Progress
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.lab.supervisor.targets import find_place
from emulab.plan.state import PlannedServer
from emulab.servers.dns.config import DnsConfig

CLUSTER_DNS, NODE_CACHES = "coredns", "node-local-dns"
"""What stands for all pods of the cluster's DNS, and for all caches of nodes."""


class DnsCaches:
    """The caches of one lab."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    @takes(
        do=NAME,
        name=optional(NAME),
        address=optional(NAME),
        ttl=optional(COUNT),
        at=optional(NAME),
        namespace=optional(NAME),
    )
    async def carry_out(self, arguments: Arguments, _: Progress) -> Any:
        """`do`: dump, flush or poison; `name`, `address` and `ttl` as `servers.dns.orders` has them. `at`: a place, a
        pod, all of the cluster's DNS as "coredns", or nodes' caches as "node-local-dns"; every server with a cache by
        default.

        Result: by server what came of it, `{"refused": why}` of one that can't do it where others can.
        """
        at, namespace = arguments.pop("at", None) or "", arguments.pop("namespace", None) or "kube-system"
        order = {k: v for k, v in arguments.items() if k != "op" and v is not None}
        servers = self._caching()
        chosen = self._chosen(servers, at, namespace)
        asked = (self._around.servers.order(s.name, order) for s in chosen)
        done = await asyncio.gather(*asked, return_exceptions=True)
        failed = [one for one in done if isinstance(one, BaseException)]
        if failed and (at or len(failed) == len(done) or not all(isinstance(f, EmulabError) for f in failed)):
            raise failed[0]
        found = zip(chosen, done, strict=True)
        told = {s.name: {"refused": str(r)} if isinstance(r, EmulabError) else r for s, r in found}
        return {name: result for name, result in told.items() if result is not None}

    def _caching(self) -> list[PlannedServer]:
        """The servers that ask others, and keep what those say."""
        world = self._around.world
        if world is None:
            raise UserError("the lab is still being built")
        return [s for s in world.servers.values() if isinstance(s.config, DnsConfig) and s.config.caches]

    def _chosen(self, servers: list[PlannedServer], at: str, namespace: str) -> list[PlannedServer]:
        """Those at a place. Raises UserError that says what there is."""
        if not at:
            return servers
        in_pods = [s for s in servers if "/" in s.name]
        sharing = [s for s in in_pods if "~" not in s.namespace]  # their nodes' network
        pods = {CLUSTER_DNS: [s for s in in_pods if s not in sharing], NODE_CACHES: sharing}
        if at in pods:
            found = pods[at]
        else:
            found = [s for s in servers if s.name == at]
            if not found:
                place, _pod = find_place(self._around, at, namespace)
                found = [s for s in servers if s.name.startswith(f"{place.name}/")]
        if not found:
            known = [s.name for s in servers if s not in in_pods] + [name for name in pods if pods[name]]
            raise UserError(f"{at} has no DNS cache; those that have one are {', '.join(known)}")
        return found
