"""From what was asked to what follows from it: controllers and allocation work until they rest."""

from __future__ import annotations

from emulab.cluster import allocation, controllers
from emulab.cluster.nodes import node_objects
from emulab.cluster.programs import Lacks, Loaded, no_image, nothing, stand_ins
from emulab.cluster.statuses import balancer_statuses
from emulab.cluster.store import Store
from emulab.errors import EmulabError
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.model.collection import Objects

_PASSES = 50  # more passes than this without rest are a fault of ours, not work


def resolve(
    store: Store, now: float, lacks: Lacks = nothing, loaded: Loaded = no_image
) -> tuple[Cluster, Objects]:
    """Lets everything that turns objects into objects work until it has nothing more to say.

    `now` is Unix time, `lacks` says which containers' programs there aren't, `loaded` which images there are.
    Raises UserError when something can't be had (no address is left, say).
    """
    for _ in range(_PASSES):
        cluster = cluster_of(store.objects())
        version = store.version
        store.apply(node_objects(cluster, store.objects()))
        store.apply(controllers.reconcile(store.objects(), now))
        store.apply(stand_ins(store.objects(), cluster, lacks, loaded))
        store.apply(allocation.allocate(store.objects(), cluster))
        store.apply(balancer_statuses(store.objects(), cluster))
        if store.version == version:
            return cluster, store.objects()
    raise EmulabError("the controllers do not come to rest; this is a fault of emulab")
