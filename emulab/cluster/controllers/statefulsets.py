"""StatefulSets become Pods with an identity: pkg/controller/statefulset (stateful_set_control.go).

OrderedReady takes one step at a time and waits until all before it are Running and Ready; Parallel makes and
deletes all at once, but updates one at a time as well. Scaling goes before updating. As in Kubernetes, a Pod
of a broken template that never gets Ready blocks its own replacement: it has to be deleted by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.cluster.controllers import revisions
from emulab.cluster.controllers.names import controller_reference, template_hash
from emulab.cluster.controllers.pods import (
    count,
    has_ended,
    is_available,
    is_ending,
    min_ready_seconds,
    new_pod,
    phase,
)
from emulab.cluster.controllers.room import Room, with_failure
from emulab.cluster.controllers.storage.templates import give_to_pod, make_claims, with_claims
from emulab.cluster.controllers.telling import Words, delete_pod, is_refused, make_pod
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.dataclass import dataclass, field
from emulab.kinds.apps.givenlabels import NAME_LABEL, ORDINAL_LABEL, REVISION_LABEL
from emulab.kinds.apps.workloadview import Workload
from emulab.kinds.registry import POD, STATEFUL_SET
from emulab.model.objects import Object

WORDS = Words(
    "statefulset-controller",
    "create Pod {pod} in StatefulSet {owner} successful",
    "delete Pod {pod} in StatefulSet {owner} successful",
    "create Pod {pod} in StatefulSet {owner} failed error: {why}",
)

HASH_LABEL = "controller.kubernetes.io/hash"


@dataclass
class _Set:
    """One StatefulSet: its Pods by ordinal, and the revisions between which it stands."""

    world: WorkingCopy
    owner: Object
    want: Workload = field(init=False)
    update: str = field(init=False)
    current: str = field(init=False)
    pods: dict[int, Object] = field(init=False)

    def __post_init__(self) -> None:
        self.want = Workload.of(self.owner)
        self.update = f"{self.owner.name}-{template_hash(self.want.template)}"
        self.current = str(self.owner.status.get("currentRevision") or self.update)
        self.pods = {}
        for pod in self.world.owned(self.owner, POD):
            base, _, ordinal = pod.name.rpartition("-")
            if base == self.owner.name and ordinal.isdecimal():
                self.pods[int(ordinal)] = pod

    @property
    def ordinals(self) -> range:
        """The ordinals there shall be; `spec.ordinals.start` moves them (KEP-3335)."""
        start = int((self.owner.spec.get("ordinals") or {}).get("start") or 0)
        return range(start, start + self.want.replicas)

    @property
    def first_updated(self) -> int:
        """The lowest ordinal that an update concerns: the partition keeps those below as they are."""
        rolling = (self.owner.spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        return self.ordinals.start + int(rolling.get("partition") or 0)

    def is_available(self, pod: Object) -> bool:
        """Running, Ready for `minReadySeconds`, and not ending."""
        ready = is_available(pod, min_ready_seconds(self.owner), self.world.now)
        return ready and phase(pod) == "Running" and not is_ending(pod)


def scale(world: WorkingCopy) -> None:
    """Takes every StatefulSet one step on: missing Pods first, then surplus ones, then outdated ones."""
    for owner in world.kind(STATEFUL_SET):
        if world.is_over(owner):
            continue
        it = _Set(world, owner)
        _keep_revision(it)
        ordered = it.want.pod_management != "Parallel"
        if _fill(it, ordered) or _shrink(it, ordered) or it.want.strategy == "OnDelete":
            continue
        _update(it)


def _keep_revision(it: _Set) -> None:
    """Has the template in the StatefulSet's history, and in it all that its Pods have."""
    live = {it.current, *(pod.labels.get(REVISION_LABEL, "") for pod in it.pods.values())}
    hashed = {HASH_LABEL: it.update.removeprefix(f"{it.owner.name}-")}
    revisions.keep(it.world, it.owner, it.update, hashed, live)


def report(world: WorkingCopy) -> None:
    """Writes every StatefulSet's status; the update revision becomes current once all Pods have it."""
    for owner in world.kind(STATEFUL_SET):
        it, counts = _Set(world, owner), count(world, owner)
        pods = [pod for pod in it.pods.values() if not is_ending(pod)]
        updated = sum(pod.labels.get(REVISION_LABEL) == it.update for pod in pods)
        if it.want.strategy != "OnDelete" and updated == len(it.pods) == counts.ready:
            it.current = it.update
        fields = {
            "availableReplicas": counts.available,
            "readyReplicas": counts.ready,
            "currentReplicas": sum(pod.labels.get(REVISION_LABEL) == it.current for pod in pods),
            "updatedReplicas": updated,
            "observedGeneration": owner.metadata.get("generation", 1),
        }
        status: dict[str, Any] = {"replicas": len(it.pods), "collisionCount": 0}
        status.update((name, value) for name, value in fields.items() if value)
        status |= {"currentRevision": it.current, "updateRevision": it.update}
        if conditions := owner.status.get("conditions"):
            status["conditions"] = conditions
        # OrderedReady makes one Pod after the other: what isn't there yet isn't held back.
        at_once = it.want.pod_management == "Parallel" or is_refused(world, owner)
        short = at_once and not world.is_over(owner)
        there = sum(ordinal in it.ordinals for ordinal in it.pods)
        world.put(
            owner.replace(
                status=with_failure(world, owner, status, there, it.want.replicas if short else there)
            )
        )


def _fill(it: _Set, ordered: bool) -> bool:
    """Makes missing Pods and replaces ended ones; whether there is something to wait for."""
    if not ordered:
        _fill_at_once(it)
        return False
    for ordinal in it.ordinals:
        pod = it.pods.get(ordinal)
        if pod is None:
            made = _make(it, ordinal)
            if made is not None:
                it.pods[ordinal] = made
            return True
        if has_ended(pod):
            delete_pod(it.world, it.owner, pod, WORDS)
            return True
        if not it.is_available(pod):
            return True
    return False


def _fill_at_once(it: _Set) -> None:
    """What Parallel makes and replaces: everything that the nodes have room for. Ordinals may be millions."""
    present = [pod for ordinal, pod in it.pods.items() if ordinal in it.ordinals]
    for pod in filter(has_ended, present):
        delete_pod(it.world, it.owner, pod, WORDS)
    missing = it.want.replicas - len(present)
    granted = Room.of(it.world).grant(it.owner, missing) if missing > 0 else 0
    for ordinal in it.ordinals:
        if granted == 0:
            return
        if ordinal not in it.pods and (made := _make(it, ordinal)) is not None:
            it.pods[ordinal] = made
            granted -= 1
        elif uid(it.owner) in it.world.refusals:
            return


def _shrink(it: _Set, ordered: bool) -> bool:
    """Deletes Pods beyond the wanted ordinals, the highest first; whether there is something to wait for."""
    surplus = sorted((ordinal for ordinal in it.pods if ordinal not in it.ordinals), reverse=True)
    unavailable = [ordinal for ordinal in surplus if not it.is_available(it.pods[ordinal])]
    for ordinal in surplus:
        pod = it.pods[ordinal]
        if is_ending(pod):
            if ordered:
                return True
            continue
        # Of several that are not available the lowest has to mend first: the others may depend on it.
        if not ordered or it.is_available(pod) or ordinal == unavailable[-1]:
            give_to_pod(it.world, it.owner, pod)
            delete_pod(it.world, it.owner, pod, WORDS)
        if ordered:
            return True
    return False


def _update(it: _Set) -> None:
    """Deletes the outdated Pod of the highest ordinal, once all above it are updated and available."""
    for ordinal in reversed(it.ordinals):
        if ordinal < it.first_updated:
            return
        pod = it.pods.get(ordinal)
        if pod is None:
            return
        if pod.labels.get(REVISION_LABEL) != it.update and not is_ending(pod):
            delete_pod(it.world, it.owner, pod, WORDS)
            return
        if not it.is_available(pod):
            return


def _make(it: _Set, ordinal: int) -> Object | None:
    """The Pod of an ordinal, created; None while a stranger has its name."""
    namespace, name = it.owner.namespace, f"{it.owner.name}-{ordinal}"
    if it.world.get(POD.key(namespace, name)) is not None:
        return None
    revision, template = _template(it, ordinal)
    labels = {
        **((template.get("metadata") or {}).get("labels") or {}),
        NAME_LABEL: name,
        ORDINAL_LABEL: str(ordinal),
        REVISION_LABEL: revision,
    }
    spec = {**(template.get("spec") or {}), "hostname": name}
    if it.want.service_name:
        spec["subdomain"] = it.want.service_name
    if not make_claims(it.world, it.owner, name, WORDS):
        return None
    spec = dict(with_claims(it.owner, name, spec))
    reference = controller_reference(it.owner)
    return make_pod(it.world, it.owner, new_pod(namespace, name, template, reference, labels, spec), WORDS)


def _template(it: _Set, ordinal: int) -> tuple[str, Mapping[str, Any]]:
    """The revision and template for a new Pod: below an update's partition those of the current revision, unless
    somebody has deleted that."""
    if ordinal < it.first_updated and it.current != it.update:
        template = revisions.template_of(it.world, it.owner, it.current)
        if template is not None:
            return it.current, template
    return it.update, it.want.template
