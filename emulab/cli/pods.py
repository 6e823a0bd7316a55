"""The Pods that a command line means by `NAME`, `pod/NAME`, `svc/NAME` or `deploy/NAME`."""

from __future__ import annotations

from typing import NamedTuple

from emulab.cli.kinds import Reference, find, not_found
from emulab.cli.selection import fetch
from emulab.cli.usage import ServerRefusal, UsageError
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.kinds.kind import WORKLOAD, Kind
from emulab.kinds.registry import POD, SERVICE
from emulab.lab.client.client import LabClient
from emulab.model.selectors import matches_labels, matches_selector


class Chosen(NamedTuple):
    """The Pods behind an object, the best one first."""

    kind: Kind
    object: Raw
    pods: list[Raw]

    @property
    def pod(self) -> Raw:
        return self.pods[0]


def choose(client: LabClient, target: str, namespace: str) -> Chosen:
    """Raises UsageError for what has no Pods, and UserError where there is no such object or none of its Pods."""
    word, slash, name = target.partition("/")
    kind = find(word) if slash else POD
    if kind not in (POD, SERVICE) and WORKLOAD not in kind.categories:
        raise UsageError(f"{target}: a {kind.kind} has no pods; write POD, deploy/NAME or svc/NAME")
    reference = Reference(kind, name if slash else target)
    found = fetch(client, reference, namespace)
    if not found:
        raise ServerRefusal(not_found(reference))
    if kind == POD:
        return Chosen(kind, found[0], found)
    pods = [pod for pod in fetch(client, Reference(POD, ""), namespace) if _belongs(pod, kind, found[0])]
    if not pods:
        raise UserError(f"{target} has no pods in namespace {namespace}")
    return Chosen(kind, found[0], sorted(pods, key=_rank))


def _belongs(pod: Raw, kind: Kind, o: Raw) -> bool:
    labels, selector = pod["metadata"].get("labels") or {}, o["spec"].get("selector")
    if kind == SERVICE:
        return bool(selector) and matches_labels(selector, labels)
    return matches_selector(selector or {}, labels)


def _rank(pod: Raw) -> tuple[bool, bool, bool, str, str]:
    """What runs and is ready comes first, as with kubectl (pkg/util/podutils), and of those the oldest."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    return (
        bool(metadata.get("deletionTimestamp")),
        status.get("phase") != "Running",
        not is_ready(pod),
        str(metadata.get("creationTimestamp")),
        metadata["name"],
    )


def is_ready(pod: Raw) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
