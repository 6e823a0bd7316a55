"""The proxy modes by name: each plans what a node's Services need there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emulab.model.clusters import Cluster
from emulab.plan.draft import Draft
from emulab.plan.proxy import nftables
from emulab.plan.proxy.intents import Intent
from emulab.plan.state import Rules


class Proxies:
    """Plans the proxies of all nodes. Nodes whose intents are the same share their rules."""

    def __init__(self, draft: Draft, cluster: Cluster) -> None:
        self._draft = draft
        self._cluster = cluster
        self._shared: dict[int, Rules] = {}

    def add(self, node: str, intents: Sequence[Intent]) -> None:
        """What the cluster's mode needs on a node with these intents."""
        PROXY_MODES[self._cluster.proxy_mode](self, node, intents)

    def rules(
        self, node: str, intents: Sequence[Intent], make: Callable[[Sequence[Intent], Cluster], Rules]
    ) -> None:
        """Rules that depend on nothing but the intents."""
        known = self._shared.get(id(intents))
        if known is None:
            known = self._shared[id(intents)] = make(intents, self._cluster)
        self._draft.rules(node, known)


def _nftables(proxies: Proxies, node: str, intents: Sequence[Intent]) -> None:
    proxies.rules(node, intents, nftables.rules)


PROXY_MODES: dict[str, Callable[[Proxies, str, Sequence[Intent]], None]] = {
    "nftables": _nftables,
}
