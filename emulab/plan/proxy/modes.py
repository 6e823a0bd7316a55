"""The proxy modes by name: each plans what a node's Services need there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.plan.draft import Draft
from emulab.plan.proxy import iptables, ipvs, nftables, userspace
from emulab.plan.proxy.intents import Intent
from emulab.plan.proxy.tables import Table
from emulab.plan.state import Rules, UdpBackends


class Proxies:
    """Plans the proxies of all nodes. Nodes whose intents are the same share their rules."""

    def __init__(self, draft: Draft, cluster: Cluster, flows: UdpBackends) -> None:
        """`flows`: who may go on to have UDP flows, in modes that send straight to endpoints."""
        self._draft = draft
        self._cluster = cluster
        self._flows = flows
        self._own_flows: dict[str, UdpBackends] = {}
        self._shared: dict[int, Rules] = {}
        self._tables: dict[int, Table] = {}
        self.tables: dict[str, Table] = {}  # by node, in nftables mode
        self._portals: dict[int, userspace.Portals] = {}

    def add(self, node: str, intents: Sequence[Intent]) -> None:
        """What the cluster's mode needs on a node with these intents."""
        PROXY_MODES[self._cluster.proxy_mode](self, node, intents)
        # After the rules: what is forgotten is looked up in the new ones.
        self._draft.rules(node, self._own_flows.get(node, self._flows))

    def table(self, node: str, intents: Sequence[Intent]) -> None:
        """nftables on a node."""
        known = self._tables.get(id(intents))
        if known is None:
            known = self._tables[id(intents)] = nftables.table(intents, self._cluster)
        self.tables[node] = known
        self._draft.rules(node, known.ruleset())

    def rules(
        self, node: str, intents: Sequence[Intent], make: Callable[[Sequence[Intent], Cluster], Rules]
    ) -> None:
        """Rules that depend on nothing but the intents."""
        known = self._shared.get(id(intents))
        if known is None:
            known = self._shared[id(intents)] = make(intents, self._cluster)
        self._draft.rules(node, known)

    def virtual_servers(self, node: str, intents: Sequence[Intent]) -> None:
        """IPVS on a node, with the device and the rules that it needs."""
        addresses = self._draft.addresses[node]
        self._draft.add(*ipvs.items(node, intents, addresses))
        self.rules(node, intents, ipvs.rules)
        self._draft.rules(node, ipvs.table(intents, self._cluster, addresses))

    def process(self, node: str, intents: Sequence[Intent]) -> None:
        """A process that stands in for the Services on a node, and the rules that lead to it."""
        portals = self._portals.get(id(intents))
        if portals is None:
            portals = self._portals[id(intents)] = userspace.portals(intents)
        address = self._draft.places[node].addresses[0]
        self._draft.rules(node, userspace.rules(intents, portals, address, self._cluster))
        own = userspace.server(node, intents, portals, address)
        self._draft.servers[own.name] = own
        self._own_flows[node] = userspace.udp_flows(intents, portals, address)

    def chains(self, node: str, intents: Sequence[Intent]) -> None:
        """iptables on a node."""
        self.rules(node, intents, iptables.rules)


PROXY_MODES: dict[str, Callable[[Proxies, str, Sequence[Intent]], None]] = {
    "nftables": Proxies.table,
    "iptables": Proxies.chains,
    "ipvs": Proxies.virtual_servers,
    "userspace": Proxies.process,
}
