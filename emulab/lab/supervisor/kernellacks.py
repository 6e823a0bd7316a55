"""What objects ask for that this kernel can't do, said before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from emulab.kernel import networkneeds, probe
from emulab.kinds.core.kuberouterservice import DSR
from emulab.kinds.emulab.clusterview import cluster_of, cluster_to_be
from emulab.kinds.registry import CLUSTER, IP_POOL, SERVICE
from emulab.model.collection import Objects
from emulab.model.families import IPV6
from emulab.model.objects import Object
from emulab.plan.cni import mode_of
from emulab.plan.cni.receivers import direct_needs

_MODES = attrgetter("proxy_mode", "scheduler", "network_mode")


def lack_of(given: Sequence[Object], there: Objects, furnished: bool) -> str:
    """Why a mode, a family of addresses or a way of Services can't work here, in one line; "" where all can. Blocks.

    `furnished`: whether the lab is there already, with the Cluster that is `there`.
    """
    clusters = any(o.type in (CLUSTER, IP_POOL) for o in given)
    asked, now = cluster_to_be(given, there), cluster_of(there)
    lack = ""
    if not furnished or (clusters and _MODES(asked) != _MODES(now)):
        lack = probe.lack_of(
            asked.proxy_mode, asked.scheduler, IPV6 in asked.families
        ) or networkneeds.lack_of(f"network mode {asked.network_mode}", mode_of(asked).needs)
    # A Cluster may have another proxy, which does for Services that are there what the one before didn't.
    services = {o.key: o for o in (*(there.kind(SERVICE) if clusters else ()), *given)}
    needs = direct_needs(services.values(), asked if clusters or not furnished else now)
    return lack or networkneeds.lack_of(DSR, needs)
