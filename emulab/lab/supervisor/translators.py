"""What the BPF programs of nodes know of Services, for who looks at it: the operation `translations`."""

from __future__ import annotations

import asyncio
from typing import Any

from emulab.errors import UserError
from emulab.kernel.ebpf.translator import ListedService, Translator
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
        if not wanted:
            raise UserError(
                f"there is no node {arguments['node']}; the nodes are {', '.join(n.name for n in nodes)}"
            )
        found = {}
        for node in wanted:
            translator = self._around.handles[node.namespace].translator
            assert translator is not None, node.name
            found[node.name] = await asyncio.to_thread(_services, translator)
        return found


def _services(translator: Translator) -> list[dict[str, Any]]:
    listed = sorted(translator.services(), key=_order)
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
        for one in listed
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
