"""From what was asked to what follows from it: controllers and addressing work until they rest."""

from __future__ import annotations

from emulab.errors import EmulabError
from emulab.lab.store import Store
from emulab.model.clusters import Cluster
from emulab.model.collection import Objects
from emulab.plan import addressing, balancers, controllers, nodes
from emulab.plan.world import cluster_of

_PASSES = 50  # more passes than this without rest are a fault of ours, not work


def resolve(store: Store, now: float) -> tuple[Cluster, Objects]:
    """Lets everything that turns objects into objects work until it has nothing more to say.

    `now` is Unix time. Raises UserError when something can't be had (no address is left, say).
    """
    for _ in range(_PASSES):
        cluster = cluster_of(store.objects())
        version = store.version
        store.apply(nodes.node_objects(cluster, store.objects()))
        store.apply(controllers.reconcile(store.objects(), now))
        store.apply(addressing.allocate(store.objects(), cluster))
        store.apply(balancers.balancer_statuses(store.objects()))
        if store.version == version:
            return cluster, store.objects()
    raise EmulabError("the controllers do not come to rest; this is a fault of emulab")
