"""Objects that are deleted and are still there: for finalizers, or until a kubelet has ended a Pod."""

from __future__ import annotations

from emulab.kinds.registry import NAMESPACE, POD
from emulab.model.objects import Object


def is_held(o: Object) -> bool:
    """Whether somebody has something to do before the object may go."""
    return bool(o.metadata.get("finalizers") or (o.type == NAMESPACE and o.spec.get("finalizers")))


def is_marked(o: Object) -> bool:
    """Whether it is deleted, and waits for these."""
    return is_held(o) and bool(o.metadata.get("deletionTimestamp"))


def is_ended_by_kubelet(o: Object) -> bool:
    """Whether a Pod that is deleted has a while to end, after which its kubelet removes it."""
    return o.type == POD and bool(o.metadata.get("deletionGracePeriodSeconds"))
