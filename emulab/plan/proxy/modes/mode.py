"""What is to be said of a mode of kube-proxy, and what a mode plans with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from emulab.dataclass import dataclass
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.proxy.intents import Intent
from emulab.plan.proxy.tables import Table
from emulab.plan.state import UdpBackends

ByFamily = Mapping[Family, Sequence[Intent]]
"""A node's intents of each of the cluster's families, the primary one first."""
T = TypeVar("T")


class Proxies:
    """The proxies of all nodes under construction. Nodes whose intents are the same share what comes of them."""

    def __init__(self, draft: Draft, cluster: Cluster) -> None:
        self.draft = draft
        self.cluster = cluster
        self.own_flows: dict[str, UdpBackends] = {}  # by node, in modes that don't send straight to endpoints
        self.tables: dict[
            tuple[str, Family], Table
        ] = {}  # by node, in modes whose tables can be changed in part
        self._shared: dict[tuple[Any, Family, int], Any] = {}

    def shared(
        self,
        intents: Sequence[Intent],
        family: Family,
        make: Callable[[Sequence[Intent], Cluster, Family], T],
    ) -> T:
        """What `make` makes of the intents, made once."""
        key = make, family, id(intents)
        if key not in self._shared:
            self._shared[key] = make(intents, self.cluster, family)
        made: T = self._shared[key]
        return made


@dataclass(frozen=True, slots=True)
class Mode:
    """One mode of kube-proxy. What other rooms do about it is named here and looked up in a table there."""

    name: str
    plan: Callable[[Proxies, str, ByFamily], None]
    """Adds what the mode needs on a node with these intents."""
    shows: str
    """The command that shows on a node where Services lead; `{ip}` and `{iptables}` are the family's."""
    needs: tuple[str, ...]
    """What of the kernel, as `emulab.kernel.probe` calls it."""
    differences: frozenset[str]
    """What is seen in this mode and not in others, as `emulab.twins.differences` calls it."""

    def shown_by(self, family: Family) -> str:
        """The command of `shows` for a family."""
        return self.shows.format(ip=family.nft, iptables=family.iptables)
