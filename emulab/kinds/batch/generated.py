"""What a Job gets beside what its manifest says: its Pods' labels, its selector, and what isn't said in it.

The labels and the selector are those of pkg/registry/batch/job/strategy.go (`generateSelector`), the defaults those of
pkg/apis/batch/v1/defaults.go. The selector is made of the Job's uid, so the uid is made with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from emulab.kinds.batch.jobspec import NON_INDEXED
from emulab.model.objects import Object

UID_LABEL, NAME_LABEL = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
OLD_LABELS = {"controller-uid": UID_LABEL, "job-name": NAME_LABEL}
"""What these labels were called before, and are called besides."""

BACKOFF_LIMIT = 6
_NO_LIMIT = (1 << 31) - 1


def generated(o: Object) -> Object:
    """A new Job, whole."""
    uid = str(o.metadata.get("uid") or uuid4())
    spec = with_defaults(o.spec, o.name, uid)
    metadata = {**o.metadata, "uid": uid}
    given = (o.spec["template"].get("metadata") or {}).get("labels")
    if given and not o.labels:
        metadata["labels"] = dict(given)
    return o.replace(metadata=metadata, spec=spec)


def with_defaults(spec: Mapping[str, Any], name: str, uid: str) -> dict[str, Any]:
    """The spec of the Job with that uid, with all that its manifest doesn't say."""
    whole = {
        "backoffLimit": _NO_LIMIT if "backoffLimitPerIndex" in spec else BACKOFF_LIMIT,
        "completionMode": NON_INDEXED,
        "manualSelector": False,
        "parallelism": 1,
        "podReplacementPolicy": "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
        "suspend": False,
        **{field: value for field, value in spec.items() if value is not None},
    }
    if spec.get("completions") is None and spec.get("parallelism") is None:
        whole["completions"] = 1
    if not whole["manualSelector"]:
        whole["selector"] = {"matchLabels": {UID_LABEL: uid}}
        whole["template"] = _labelled(spec["template"], name, uid)
    return whole


def _labelled(template: Mapping[str, Any], name: str, uid: str) -> dict[str, Any]:
    values = {UID_LABEL: uid, NAME_LABEL: name}
    old = {label: values[new] for label, new in OLD_LABELS.items()}
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **values, **old}
    return {**template, "metadata": {**metadata, "labels": labels}}
