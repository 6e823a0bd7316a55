"""The account and the classes that a Pod names, without which an API server doesn't take it.

They change nothing here, so the Pod runs; but whoever brings the manifest into a cluster gets no Pod
(plugin/pkg/admission: `serviceaccount`, `priority`, `runtimeclass`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emulab.kinds.registry import PRIORITY_CLASS, RUNTIME_CLASS, SERVICE_ACCOUNT
from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.kind import Kind
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_DEFAULT = "default"
"""The account that each Namespace has."""
_SETUP = "kube-system"
"""The Namespace with accounts of a cluster's own, which whoever sets it up makes."""
_SYSTEM = ("system-cluster-critical", "system-node-critical")
"""The classes of priority that a cluster has by itself."""


def account_of(spec: Mapping[str, Any]) -> str:
    """The name of a Pod's ServiceAccount; `serviceAccount` is its older field."""
    return str(spec.get("serviceAccountName") or spec.get("serviceAccount") or _DEFAULT)


def oddities(o: Object, base: FieldPath, spec: Mapping[str, Any], world: Lookup) -> Iterator[Finding]:
    """Of the `spec` of Pods that stands at `base` of an object: each name that nothing has."""
    account = "serviceAccountName" if spec.get("serviceAccountName") else "serviceAccount"
    accounts = (_DEFAULT, str(spec.get(account))) if o.namespace == _SETUP else (_DEFAULT,)
    missing = (
        _missing(o, spec, account, SERVICE_ACCOUNT, world, accounts),
        _missing(o, spec, "priorityClassName", PRIORITY_CLASS, world, _SYSTEM),
        _missing(o, spec, "runtimeClassName", RUNTIME_CLASS, world),
    )
    for path, what in filter(None, missing):
        yield Finding(o, (*base, *path), what)


def _missing(
    o: Object, spec: Mapping[str, Any], field: str, kind: Kind, world: Lookup, ever_there: Sequence[str] = ()
) -> tuple[FieldPath, str] | None:
    """What a field names, if it isn't there."""
    name = spec.get(field)
    if not name or name in ever_there or world.has(kind.key(o.namespace if kind.namespaced else "", name)):
        return None
    place = f"{o.namespace}/{name}" if kind.namespaced else name
    return (field,), f"there is no {kind.kind} {place}: a cluster refuses Pods that name it"
