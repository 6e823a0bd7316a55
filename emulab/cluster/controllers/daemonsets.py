"""DaemonSets become one Pod a node: pkg/controller/daemon.

It names the node by a node affinity, and leaves the rest to the scheduler. Here it names the node itself
(`spec.nodeName`), unless a port of the Pod's is taken there, or too much of what it asks for: then the scheduler says
so, and binds the Pod once there is room.
"""

from __future__ import annotations

from typing import Any

from emulab.cluster.controllers import revisions
from emulab.cluster.controllers.names import controller_reference, generated_name, template_hash
from emulab.cluster.controllers.noderesources import asked_by
from emulab.cluster.controllers.placement import REQUIRED, Ledger, fits_node, host_ports, node_affinity
from emulab.cluster.controllers.pods import (
    has_ended,
    is_available,
    is_ending,
    is_ready,
    min_ready_seconds,
    new_pod,
    share,
)
from emulab.cluster.controllers.room import with_failure
from emulab.cluster.controllers.telling import Words, delete_pod, is_refused, make_pod
from emulab.cluster.controllers.world import WorkingCopy
from emulab.dataclass import dataclass, field
from emulab.kinds.apps.givenlabels import REVISION_LABEL
from emulab.kinds.apps.workloadview import Workload
from emulab.kinds.registry import DAEMON_SET, NODE, POD
from emulab.model.objects import Object

WORDS = Words("daemonset-controller")

_NAME = "metadata.name"


@dataclass
class _Daemon:
    """One DaemonSet: the nodes it shall run on, and its Pods by node, ending ones included."""

    world: WorkingCopy
    owner: Object
    want: Workload = field(init=False)
    hash: str = field(init=False)
    nodes: list[str] = field(init=False)
    pods: dict[str, list[Object]] = field(init=False)

    def __post_init__(self) -> None:
        self.want = Workload.of(self.owner)
        self.hash = template_hash(self.want.template)
        spec = self.want.template.get("spec") or {}
        self.nodes = [node.name for node in self.world.kind(NODE) if fits_node(spec, node)]
        self.pods = {}
        for pod in self.world.owned(self.owner, POD):
            self.pods.setdefault(_target(pod), []).append(pod)

    def is_available(self, pod: Object) -> bool:
        ready = is_available(pod, min_ready_seconds(self.owner), self.world.now)
        return ready and not is_ending(pod)

    def is_updated(self, pod: Object) -> bool:
        return pod.labels.get(REVISION_LABEL) == self.hash


def place(world: WorkingCopy) -> None:
    """Makes and deletes Pods until every fitting node has exactly one of each DaemonSet, of its template."""
    for owner in world.kind(DAEMON_SET):
        if world.is_over(owner):
            continue
        it = _Daemon(world, owner)
        _keep_revision(it)
        reference = controller_reference(owner)
        for node, pods in it.pods.items():
            for pod in pods if node not in it.nodes else _redundant(pods):
                delete_pod(world, owner, pod, WORDS)
        missing = [node for node in it.nodes if node not in it.pods]  # an ending one still holds its node
        ports = list(host_ports(it.want.template.get("spec") or {})) if missing else []
        asked = asked_by(Object(dict(it.want.template))) if missing else None
        ledger = Ledger(world) if ports or asked else None
        for node in missing:
            taken = ledger is not None and (
                ledger.ports_clash(ports, node) or bool(asked and ledger.allocation.shortages(node, asked))
            )
            made = _make(it, node, reference, taken)
            if made is None:
                break
            it.pods[node] = [made]
        if it.want.strategy != "OnDelete":
            _update(it)


def _keep_revision(it: _Daemon) -> None:
    """Has the template in the DaemonSet's history, and in it all that its Pods have."""
    pods = (pod for pods in it.pods.values() for pod in pods)
    live = {f"{it.owner.name}-{pod.labels.get(REVISION_LABEL, '')}" for pod in pods}
    name = f"{it.owner.name}-{it.hash}"
    revisions.keep(it.world, it.owner, name, {REVISION_LABEL: it.hash}, live)


def report(world: WorkingCopy) -> None:
    """Writes every DaemonSet's status; all counts that the API requires are there, zeros too."""
    for owner in world.kind(DAEMON_SET):
        it = _Daemon(world, owner)
        present = {node: [p for p in pods if not has_ended(p)] for node, pods in it.pods.items()}
        placed = [present[node] for node in it.nodes if present.get(node)]
        available = sum(any(it.is_available(pod) for pod in pods) for pods in placed)
        fields = {
            "updatedNumberScheduled": sum(any(it.is_updated(pod) for pod in pods) for pods in placed),
            "numberAvailable": available,
            "numberUnavailable": len(it.nodes) - available,
            "observedGeneration": owner.metadata.get("generation", 1),
        }
        status: dict[str, Any] = {
            "currentNumberScheduled": len(placed),
            "desiredNumberScheduled": len(it.nodes),
            "numberMisscheduled": sum(bool(pods) for node, pods in present.items() if node not in it.nodes),
            "numberReady": sum(any(is_ready(pod) for pod in pods) for pods in placed),
        }
        status.update((name, value) for name, value in fields.items() if value)
        if conditions := owner.status.get("conditions"):
            status["conditions"] = conditions
        short = is_refused(world, owner) and not world.is_over(owner)
        status = with_failure(world, owner, status, len(placed), len(it.nodes) if short else len(placed))
        world.put(owner.replace(status=status))


def _redundant(pods: list[Object]) -> list[Object]:
    """Ended Pods, and all but the oldest of the others."""
    living = sorted(
        (pod for pod in pods if not is_ending(pod) and not has_ended(pod)),
        key=lambda pod: (str(pod.metadata.get("creationTimestamp") or "~"), pod.name),
    )
    return [pod for pod in pods if has_ended(pod)] + living[1:]


def _update(it: _Daemon) -> None:
    """Deletes outdated Pods: those that serve nobody at once, others while `maxUnavailable` allows."""
    limit = max(1, share(it.want.max_unavailable, len(it.nodes), up=True))
    candidates: list[Object] = []
    unavailable = 0
    for node in it.nodes:
        pods = [pod for pod in it.pods.get(node, ()) if not has_ended(pod)]
        serving = any(it.is_available(pod) for pod in pods)
        unavailable += not serving
        for pod in pods:
            if it.is_updated(pod) or is_ending(pod):
                continue
            if serving:
                candidates.append(pod)
            else:
                delete_pod(it.world, it.owner, pod, WORDS)
    for pod in candidates[: max(0, limit - unavailable)]:
        delete_pod(it.world, it.owner, pod, WORDS)


def _target(pod: Object) -> str:
    """The node that a Pod is for (`GetTargetNodeName`)."""
    if node := pod.spec.get("nodeName"):
        return str(node)
    required = node_affinity(pod.spec).get(REQUIRED) or {}
    fields = (
        field for term in required.get("nodeSelectorTerms") or () for field in term.get("matchFields") or ()
    )
    return next((str(field["values"][0]) for field in fields if field["key"] == _NAME), "")


def _bound_for(spec: dict[str, Any], node: str) -> dict[str, Any]:
    """The spec with the affinity of a node in place of any other (`ReplaceDaemonSetPodNodeNameNodeAffinity`)."""
    field = {"key": _NAME, "operator": "In", "values": [node]}
    affinity = spec.get("affinity") or {}
    own = {
        **(affinity.get("nodeAffinity") or {}),
        REQUIRED: {"nodeSelectorTerms": [{"matchFields": [field]}]},
    }
    return {**spec, "affinity": {**affinity, "nodeAffinity": own}}


def _make(it: _Daemon, node: str, reference: dict[str, Any], taken: bool) -> Object | None:
    """The Pod of a node, created; its name also depends on the template, so an update is seen by name.

    `taken`: the node has no room for its ports, or for what it asks for.
    """
    template, namespace = it.want.template, it.owner.namespace
    name, _ = generated_name(it.world, POD.key(namespace, it.owner.name), node, it.hash)
    labels = {**((template.get("metadata") or {}).get("labels") or {}), REVISION_LABEL: it.hash}
    asked = template.get("spec") or {}
    spec = _bound_for(asked, node) if taken else {**asked, "nodeName": node}
    return make_pod(it.world, it.owner, new_pod(namespace, name, template, reference, labels, spec), WORDS)
