"""Namespaces that are ending are emptied, and go once nothing is left in them: pkg/controller/namespace/deletion.

Pods go first, and all else once they are gone (KEP-5080): what they can be reached by, and what protects them, is there
for as long as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from emulab.cluster.controllers.pods import with_condition
from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.core.namespace import FINALIZER
from emulab.kinds.registry import KINDS, NAMESPACE, POD
from emulab.model.objects import Object


def empty(world: WorkingCopy) -> None:
    """Deletes what is in ending Namespaces, says what is left, and lets go of those that have nothing any more."""
    if not world.ending:
        return
    contents: dict[str, list[Object]] = {name: [] for name in world.ending}
    for o in world.all():
        if o.namespace in contents:
            contents[o.namespace].append(o)
    for name, left in contents.items():
        namespace = world.get(NAMESPACE.key("", name))
        if namespace is None:
            continue
        _report(world, namespace, left)
        if left:
            for o in [o for o in left if o.type == POD] or left:
                world.delete(o)
        elif FINALIZER in (finalizers := namespace.spec.get("finalizers") or ()):
            namespace = world.get(namespace.key) or namespace
            others = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
            world.put(namespace.replace(spec={**namespace.spec, "finalizers": others}))


class _Words(NamedTuple):
    """What a condition of an ending Namespace says while there is nothing, and begins with while there is something."""

    reason: str
    message: str
    reason_left: str = ""
    left: str = ""


_CONDITIONS: Mapping[str, _Words] = {
    "NamespaceDeletionDiscoveryFailure": _Words(
        "ResourcesDiscovered", "All resources successfully discovered"
    ),
    "NamespaceDeletionGroupVersionParsingFailure": _Words(
        "ParsedGroupVersions", "All legacy kube types successfully parsed"
    ),
    "NamespaceDeletionContentFailure": _Words(
        "ContentDeleted", "All content successfully deleted, may be waiting on finalization"
    ),
    "NamespaceContentRemaining": _Words(
        *("ContentRemoved", "All content successfully removed"),
        *("SomeResourcesRemain", "Some resources are remaining: "),
    ),
    "NamespaceFinalizersRemaining": _Words(
        *("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        *("SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "),
    ),
}
"""In the words, and the order, of status_condition_utils.go. The first three are about API servers that fail."""


def _report(world: WorkingCopy, namespace: Object, left: Sequence[Object]) -> None:
    kinds = Counter(f"{KINDS[o.type].plural}.{o.type.group}" for o in left)
    finalizers = Counter(finalizer for o in left for finalizer in o.metadata.get("finalizers") or ())
    remaining = {
        "NamespaceContentRemaining": _counted(f"{kind} has {n}" for kind, n in kinds.items()),
        "NamespaceFinalizersRemaining": _counted(f"{name} in {n}" for name, n in finalizers.items()),
    }
    status: Mapping[str, object] = namespace.status
    for type_, words in _CONDITIONS.items():
        what = remaining.get(type_)
        value, reason = ("True", words.reason_left) if what else ("False", words.reason)
        message = f"{words.left}{what}" if what else words.message
        status = with_condition(status, world.now, type_, value, reason, message)
    world.put(namespace.replace(status=status))


def _counted(counts: Iterable[str]) -> str:
    return ", ".join(sorted(f"{count} resource instances" for count in counts))
