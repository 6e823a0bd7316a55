"""What becomes of a request to delete objects: each is deleted, or refused, by itself, as requests of kubectl are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from emulab.cluster import brought
from emulab.cluster.admission.namespaces import refuse_deletion
from emulab.cluster.store import NotFound, Store
from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import check_no_cluster, cluster_of
from emulab.kinds.emulab.podnetworks import CALICO
from emulab.kinds.networking.ippoolview import AddressPool
from emulab.kinds.registry import CLUSTER, IP_POOL, KINDS
from emulab.model.collection import Objects
from emulab.model.keys import Key

BACKGROUND, FOREGROUND, ORPHAN = "background", "foreground", "orphan"
"""What becomes of the objects that an object owns: they go after it, before it, or stay (`propagationPolicy`)."""
FOREGROUND_DELETION = "foregroundDeletion"
"""The finalizer of who goes after whom it owns (metav1.FinalizerDeleteDependents)."""


class Deletion(NamedTuple):
    """An object that is to be deleted, and the file that names it, if one does."""

    key: Key
    file: str = ""


class Outcome(NamedTuple):
    """The objects that go, each with its uid, and what is refused: the API server's reason and message, the file."""

    deleted: list[tuple[Key, str]]
    refused: list[tuple[str, str, str]]


def notes(before: Objects, deleted: Sequence[Key]) -> list[str]:
    """What the end of objects means for others."""
    return [*brought.notes_of_deletion(before, deleted), *_of_pools(before, deleted)]


def _of_pools(before: Objects, deleted: Sequence[Key]) -> Iterator[str]:
    if not any(key.type == IP_POOL for key in deleted):
        return
    cluster = cluster_of(before)
    left = [AddressPool.of(o) for o in before.kind(IP_POOL) if o.key not in deleted]
    if cluster.network_plugin == CALICO and not any(pool.has_pods(cluster.pod_cidrs) for pool in left):
        yield "no IPPool gives pods addresses any more: they get those of the Cluster's podCIDR all the same"


def delete(
    store: Store,
    asked: Iterable[Deletion],
    ignore_missing: bool,
    grace: int | None = None,
    cascade: str = BACKGROUND,
) -> Outcome:
    """`grace`: the seconds that Pods get to end, in place of their own. `cascade`: what becomes of whom they own."""
    outcome = Outcome([], [])
    for one in asked:
        try:
            outcome.deleted.append((one.key, _delete(store, one.key, grace, cascade)))
        except NotFound as error:
            if not ignore_missing:
                outcome.refused.append(("NotFound", str(error), one.file))
        except UserError as error:
            outcome.refused.append(("Forbidden", str(error), one.file))
    return outcome


def _delete(store: Store, key: Key, grace: int | None, cascade: str) -> str:
    """The uid of the object. Raises UserError where it isn't there or may not go."""
    refuse_deletion(key)
    o = store.get(key)
    if o is None:
        kind = KINDS.get(key.type)
        why = brought.absent(store.objects(), key)
        what = f'{kind.resources if kind else key.kind} "{key.name}" not found'
        raise NotFound(f"{what}: {why}" if why else what)
    if key.type == CLUSTER:
        check_no_cluster(cluster_of(store.objects()), key)
    uid = str(o.metadata["uid"])
    if cascade == ORPHAN:
        _orphan(store, uid)
    elif cascade == FOREGROUND:
        finalizers = [*(f for f in o.metadata.get("finalizers") or () if f != FOREGROUND_DELETION)]
        store.put(o.replace(metadata={**o.metadata, "finalizers": [*finalizers, FOREGROUND_DELETION]}))
    store.delete(key, grace=grace)
    return uid


def _orphan(store: Store, owner: str) -> None:
    """Takes the reference to an owner from whom it owns (the garbage collector's `orphanDependents`)."""
    for o in store.objects():
        references = o.metadata.get("ownerReferences") or ()
        left = [reference for reference in references if reference.get("uid") != owner]
        if len(left) < len(references):
            metadata = {name: value for name, value in o.metadata.items() if name != "ownerReferences"}
            store.put(o.replace(metadata={**metadata, **({"ownerReferences": left} if left else {})}))
