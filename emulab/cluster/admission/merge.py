"""What a user's object becomes when the lab has one of that name already, as `kubectl apply` would have it."""

from __future__ import annotations

from emulab.cluster.admission.namespaces import refuse_newcomer
from emulab.cluster.admission.newcomer import LIMITING, as_admitted, refused_change
from emulab.cluster.store import Forbidden, Store
from emulab.errors import UserError
from emulab.kinds.registry import CONFIG_MAP, INGRESS, KINDS, RESOURCE_QUOTA
from emulab.model.objects import NOWHERE, Object

_KEPT_METADATA = (
    *("uid", "creationTimestamp", "generation", "resourceVersion", "ownerReferences"),
    *("deletionTimestamp", "deletionGracePeriodSeconds"),
)


def admit(store: Store, o: Object) -> str:
    """Puts a user's object into the store. What it did, in kubectl's word: created, configured or unchanged.

    Raises UserError for changes that Kubernetes refuses too.
    """
    old, version = store.get(o.key), store.version
    if o.type == INGRESS:
        from emulab.cluster.admission.defaultclass import with_default_class  # of who has Ingresses

        o = with_default_class(store.objects(), old, o)
    elif o.type == CONFIG_MAP and o.position != NOWHERE:
        from emulab.cluster.brought import with_kept_settings  # of who has ConfigMaps

        o = with_kept_settings(store, o)
    if old is None:
        refuse_newcomer(store, o)
        if any(map(store.has_kind, LIMITING)):
            o, why = as_admitted(store.objects(), o)
            if why:
                raise Forbidden(f"{o.position}: {why}")
    merged = merge(old, o)
    if old is not None and store.has_kind(RESOURCE_QUOTA):
        why = refused_change(store.objects(), old, merged)
        if why:
            raise Forbidden(f"{o.position}: {why}")
    store.put(merged)
    store.put_status(o.key, merged.status)
    if old is None:
        return "created"
    return "unchanged" if store.version == version else "configured"


def merge(old: Object | None, new: Object) -> Object:
    """`new` with what the lab added to `old` and the user did not say. Pure.

    Raises UserError for changes that Kubernetes refuses too.
    """
    kind = KINDS[new.type].definition
    new = kind.written(new)
    if old is None:
        return kind.created(new)
    more = sorted({*new.metadata.get("finalizers", ())} - {*old.metadata.get("finalizers", ())})
    if more and old.metadata.get("deletionTimestamp"):
        raise UserError(
            f"{new.position}: {new.key} metadata.finalizers: no new finalizers can be added if the object is being"
            f" deleted, found new finalizers {', '.join(more)}"
        )
    metadata = {**new.metadata, **{k: old.metadata[k] for k in _KEPT_METADATA if k in old.metadata}}
    undone = kind.undone(old, new)
    annotations = {
        k: v for k, v in old.annotations.items() if k.startswith(kind.annotations) and k not in undone
    }
    if annotations:
        metadata["annotations"] = {**annotations, **new.annotations}
    own = [f for f in old.metadata.get("finalizers", ()) if f in kind.finalizers]
    if own:
        metadata["finalizers"] = [*dict.fromkeys((*new.metadata.get("finalizers", ()), *own))]
    if old.status:
        outdated = kind.outdated(old, new)
        new = new.replace(status={k: v for k, v in old.status.items() if k not in outdated})
    spec = kind.merge(old, new, dict(new.spec))
    return new.replace(metadata=metadata, **({"spec": spec} if spec or "spec" in new.raw else {}))
