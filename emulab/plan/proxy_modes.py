"""The proxy modes that exist, by name: what makes a node's rules from Services."""

from __future__ import annotations

from collections.abc import Callable

from emulab.model.clusters import Cluster
from emulab.model.collection import Objects
from emulab.plan.services import proxy_rules
from emulab.plan.state import Ruleset

PROXY_MODES: dict[str, Callable[[Objects, Cluster], Ruleset]] = {"nftables": proxy_rules}
