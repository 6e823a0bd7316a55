"""What the BPF programs of nodes know of Services, for who looks at it: the operation `translations`. And what they
know of connections is forgotten once these are over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from emulab.errors import KernelError, UserError
from emulab.kernel.ebpf.entries import ListedService
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.emulab.proxymodes import EBPF
from emulab.lab.supervisor.arguments import NAME, Arguments, optional, takes
from emulab.lab.supervisor.reconciler import Progress
from emulab.lab.supervisor.surroundings import Surroundings


class Translators:
    """Those of one lab."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    @takes(node=optional(NAME))
    async def listed(self, arguments: Arguments, _: Progress) -> Any:
        """`node`: one alone. Result: by node its frontends, read from the maps of its programs."""
        cluster = cluster_of(self._around.store.objects())
        if cluster.proxy_mode != EBPF:
            what = (
                f"nodes have BPF programs in proxy mode {EBPF} alone, and this lab's is {cluster.proxy_mode}"
            )
            raise UserError(what)
        nodes = (
            [p for p in self._around.world.places.values() if p.kind == "node"] if self._around.world else []
        )
        wanted = [n for n in nodes if arguments.get("node") in (None, n.name)]
        if not nodes:
            raise UserError("the lab has no nodes yet")
        if not wanted:
            raise UserError(
                f"there is no node {arguments['node']}; the nodes are {', '.join(n.name for n in nodes)}"
            )
        found = {}
        for node in wanted:
            handle = self._around.handles.get(node.namespace)
            translator = handle.translator if handle is not None else None
            known = await asyncio.to_thread(translator.services) if translator is not None else None
            if known is None:
                raise UserError(
                    f"{node.name} has no BPF programs yet, or no more: the lab is changing, so ask again"
                )
            found[node.name] = _rows(known)
        return found


def _rows(known: Sequence[ListedService]) -> list[dict[str, Any]]:
    return [
        {
            "protocol": one.protocol,
            "address": str(one.address),
            "port": one.port,
            "scope": "inside" if one.inside else "outside",
            "service": one.number,
            "name": one.name,
            "affinity": one.affinity,
            "masquerade": one.masquerade,
            "sourceRanges": one.guarded,
            "endpoints": [
                {"number": number, "address": str(address), "port": port}
                for number, (address, port) in one.endpoints.items()
            ],
        }
        for one in sorted(known, key=_order)
    ]


def _order(one: ListedService) -> tuple[object, ...]:
    return (
        one.address.version,
        int(one.address) == 0,
        int(one.address),
        one.protocol,
        one.port,
        not one.inside,
    )


_FORGETTING = 10.0
"""Seconds between two looks which connections are over: as long as these are known after their end. With more than a
hundred nodes it is a tenth of a second for each, as a look takes half a millisecond where there is nothing."""


async def forget(around: Surroundings) -> None:
    """Has nodes' programs forget connections that are over, for as long as the lab is there."""
    pause = _FORGETTING
    while True:
        await asyncio.sleep(pause)
        handles = [*around.handles.values()]  # at once: threads make and remove namespaces meanwhile
        known = [(handle.name, handle.translator) for handle in handles if handle.translator]
        for name, translator in known:
            try:
                await asyncio.to_thread(translator.forget_ended, time.monotonic_ns())
            except KernelError as error:
                print(f"{name}: {error}", flush=True)
        pause = max(_FORGETTING, len(known) / 10)
