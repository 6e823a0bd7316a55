"""Labels that controllers give the Pods of their workloads beside those of the template: selectors may ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.kinds.batch.generated import NAME_LABEL as JOB_NAME_LABEL
from emulab.kinds.batch.generated import OLD_LABELS, UID_LABEL
from emulab.kinds.registry import CRON_JOB, DAEMON_SET, DEPLOYMENT, JOB, STATEFUL_SET
from emulab.model.objects import Object

HASH_LABEL = "pod-template-hash"
REVISION_LABEL = "controller-revision-hash"
NAME_LABEL = "statefulset.kubernetes.io/pod-name"
ORDINAL_LABEL = "apps.kubernetes.io/pod-index"  # KEP-4017
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"  # KEP-4017, too

_MayBe = Callable[[str, str], bool]
"""Whether a value may be that of a Pod of the workload of that name."""


def _any(_: str, value: str) -> bool:
    return bool(value)


def _number(_: str, value: str) -> bool:
    return value.isdecimal()


def _own(owner: str, value: str) -> bool:
    return value == owner


def _numbered(owner: str, value: str) -> bool:
    name, _, number = value.rpartition("-")
    return name == owner and number.isdecimal()


def _of_jobs(name: _MayBe) -> Mapping[str, _MayBe]:
    new: dict[str, _MayBe] = {UID_LABEL: _any, JOB_NAME_LABEL: name, INDEX_LABEL: _number}
    return {**new, **{old: new[label] for old, label in OLD_LABELS.items()}}


_GIVEN: Mapping[str, Mapping[str, _MayBe]] = {
    DEPLOYMENT.kind: {HASH_LABEL: _any},
    DAEMON_SET.kind: {REVISION_LABEL: _any},
    STATEFUL_SET.kind: {REVISION_LABEL: _any, NAME_LABEL: _numbered, ORDINAL_LABEL: _number},
    JOB.kind: _of_jobs(_own),
    CRON_JOB.kind: _of_jobs(_numbered),
}
GIVEN_LABELS = frozenset(label for labels in _GIVEN.values() for label in labels)


def may_be_given(owner: Object, label: str, value: str) -> bool:
    """Whether a Pod of this workload may have that label from its controller."""
    may_be = _GIVEN.get(owner.kind, {}).get(label)
    return may_be is not None and may_be(owner.name, value)
