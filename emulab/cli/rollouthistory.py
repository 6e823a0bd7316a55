"""The revisions that a workload has had: ReplicaSets of a Deployment, ControllerRevisions of the others.

As kubectl has them (kubectl/pkg/polymorphichelpers, history.go and rollback.go), in its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from emulab.cli.kinds import Reference
from emulab.cli.output.description import render
from emulab.cli.selection import fetch
from emulab.errors import UserError
from emulab.kinds.apps.workload import template_fields
from emulab.kinds.cells import NONE, Raw
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CONTROLLER_REVISION, DEPLOYMENT, REPLICA_SET
from emulab.lab.client.client import LabClient

_REVISION = "deployment.kubernetes.io/revision"
_CAUSE = "kubernetes.io/change-cause"
_HASH = "pod-template-hash"
_PATCH = "$patch"
_OWN = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    _REVISION,
)
"""Annotations that aren't those of one revision."""


class WorkloadRevision(NamedTuple):
    """One of them: `object` is what `rollout history -o yaml` prints of it."""

    object: Raw
    template: Raw
    annotations: Mapping[str, str]


def revisions(client: LabClient, kind: Kind, o: Raw, doing: str) -> dict[int, WorkloadRevision]:
    """The revisions of a workload by their numbers, in order. Raises UserError for kinds that have none.

    `doing`: who has not been implemented for such a kind.
    """
    if kind.definition.rollout is None:
        raise UserError(f'no {doing} has been implemented for "{kind.kind}.{kind.group}"')
    metadata = o["metadata"]
    kept = REPLICA_SET if kind == DEPLOYMENT else CONTROLLER_REVISION
    own = [one for one in fetch(client, Reference(kept, ""), metadata["namespace"]) if _is_owned(one, o)]
    found = dict(_of_replica_set(one) if kind == DEPLOYMENT else _of_revision(one, o) for one in own)
    return dict(sorted(found.items()))


def _is_owned(one: Raw, owner: Raw) -> bool:
    uid = owner["metadata"]["uid"]
    return any(reference["uid"] == uid for reference in one["metadata"].get("ownerReferences") or ())


def _of_replica_set(rs: Raw) -> tuple[int, WorkloadRevision]:
    annotations = rs["metadata"].get("annotations") or {}
    number = str(annotations.get(_REVISION, ""))
    revision = WorkloadRevision(rs, rs["spec"]["template"], annotations)
    return int(number) if number.isdecimal() else 0, revision


def _of_revision(one: Raw, o: Raw) -> tuple[int, WorkloadRevision]:
    kept = one["data"]["spec"]["template"]
    template = {field: value for field, value in kept.items() if field != _PATCH}
    applied = {**o, "spec": {**o["spec"], "template": template}}
    return int(one["revision"]), WorkloadRevision(applied, template, one["metadata"].get("annotations") or {})


def table(found: Mapping[int, WorkloadRevision]) -> str:
    """All revisions, each with its cause."""
    if not found:
        return "No rollout history found."
    rows = [("REVISION", "CHANGE-CAUSE")]
    rows += [(str(number), revision.annotations.get(_CAUSE) or NONE) for number, revision in found.items()]
    width = max(len(number) for number, _ in rows) + 2
    return "".join(f"{number:<{width}}{cause}\n" for number, cause in rows)


def details(revision: WorkloadRevision) -> str:
    """The template of one revision."""
    template = revision.template
    if cause := revision.annotations.get(_CAUSE):
        metadata = template.get("metadata") or {}
        annotations = {**(metadata.get("annotations") or {}), _CAUSE: cause}
        template = {**template, "metadata": {**metadata, "annotations": annotations}}
    return render([("Pod Template", template_fields(template))]) + "\n"


def to_go_back_to(found: Mapping[int, WorkloadRevision], asked: int, kind: Kind, name: str) -> int:
    """The number of the revision that `rollout undo` means, 0 being the last but one. Raises UserError."""
    if asked:
        if asked not in found:
            raise UserError(f"unable to find specified revision {asked} in history")
        return asked
    if len(found) < 2:
        none = f'no rollout history found for deployment "{name}"'
        raise UserError(none if kind == DEPLOYMENT else "no last revision to roll back to")
    return [*found][-2]


def without_hash(template: Raw) -> dict[str, Any]:
    """A ReplicaSet's template as its Deployment has it."""
    metadata = template.get("metadata") or {}
    labels = {label: value for label, value in (metadata.get("labels") or {}).items() if label != _HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def restored_annotations(o: Raw, revision: WorkloadRevision) -> dict[str, str]:
    """The annotations of a Deployment that has gone back: those of the revision, and its own."""
    own = o["metadata"].get("annotations") or {}
    kept = {name: text for name, text in own.items() if name in _OWN}
    return {**kept, **{name: text for name, text in revision.annotations.items() if name not in _OWN}}
