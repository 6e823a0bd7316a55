"""What the life of a Namespace forbids: NamespaceLifecycle, a plugin of Kubernetes' API server (apiserver,
pkg/admission/plugin/namespace/lifecycle)."""

from __future__ import annotations

from emulab.cluster.store import Forbidden, Store
from emulab.kinds.core.namespace import is_ending
from emulab.kinds.registry import KINDS, NAMESPACE
from emulab.model.keys import Key
from emulab.model.objects import Object

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
EVER_THERE = IMMORTAL | {"kube-node-lease"}
"""The Namespaces that an API server makes by itself (pkg/controlplane/controller/systemnamespaces)."""


def refuse_newcomer(store: Store, o: Object) -> None:
    """Raises Forbidden where an object would be created in a Namespace that is ending."""
    namespace = store.get(NAMESPACE.key("", o.namespace)) if o.namespace else None
    if namespace is not None and is_ending(namespace):
        why = f"unable to create new content in namespace {o.namespace} because it is being terminated"
        raise Forbidden(f"{o.position}: {_forbidden(o.key, why)}")


def refuse_deletion(key: Key) -> None:
    """Raises Forbidden for a Namespace that no cluster can do without, be it there or not."""
    if key.type == NAMESPACE and key.name in IMMORTAL:
        raise Forbidden(_forbidden(key, "this namespace may not be deleted"))


def _forbidden(key: Key, why: str) -> str:
    """The API server's words (apimachinery's `NewForbidden`)."""
    return f'{KINDS[key.type].resources} "{key.name}" is forbidden: {why}'
