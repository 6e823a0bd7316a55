"""What becomes of a request to delete objects: each is deleted, or refused, by itself, as requests of kubectl are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from emulab.cluster.admission.namespaces import refuse_deletion
from emulab.cluster.store import NotFound, Store
from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import check_no_cluster, cluster_of
from emulab.kinds.registry import CLUSTER, KINDS
from emulab.model.keys import Key


class Deletion(NamedTuple):
    """An object that is to be deleted, and the file that names it, if one does."""

    key: Key
    file: str = ""


class Outcome(NamedTuple):
    """The objects that go, each with its uid, and what is refused: the API server's reason and message, the file."""

    deleted: list[tuple[Key, str]]
    refused: list[tuple[str, str, str]]


def delete(
    store: Store, asked: Iterable[Deletion], ignore_missing: bool, grace: int | None = None
) -> Outcome:
    """`grace`: the seconds that Pods get to end, in place of their own."""
    outcome = Outcome([], [])
    for one in asked:
        try:
            outcome.deleted.append((one.key, _delete(store, one.key, grace)))
        except NotFound as error:
            if not ignore_missing:
                outcome.refused.append(("NotFound", str(error), one.file))
        except UserError as error:
            outcome.refused.append(("Forbidden", str(error), one.file))
    return outcome


def _delete(store: Store, key: Key, grace: int | None) -> str:
    """The uid of the object. Raises UserError where it isn't there or may not go."""
    refuse_deletion(key)
    o = store.get(key)
    if o is None:
        kind = KINDS.get(key.type)
        raise NotFound(f'{kind.resources if kind else key.kind} "{key.name}" not found')
    if key.type == CLUSTER:
        check_no_cluster(cluster_of(store.objects()), key)
    store.delete(key, grace=grace)
    return str(o.metadata["uid"])
