"""Who would make a ConfigMap or Secret in a cluster, and makes none here.

Many manifests name Secrets that are in none of them: a Job writes a certificate, an operator a password. A lab has no
API server that such a program could ask, and mostly not the program either. Where a Pod waits for one, two kinds of
objects tell that from a name that leads nowhere: one that asks a controller for it by that name, as cert-manager's
Certificate does, and a right to make such objects, without which nobody within a cluster could. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emulab.kinds.definition import CUSTOM
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, KINDS, ROLE, ROLE_BINDING
from emulab.model.collection import Objects
from emulab.model.objects import Object

_EVERYWHERE = frozenset(("cluster-admin", "admin", "edit"))
"""ClusterRoles of every cluster that let one make both kinds (plugin/pkg/auth/authorizer/rbac/bootstrappolicy)."""


def maker(objects: Objects, namespace: str, kind: Kind, name: str) -> str:
    """Who would make the object of that kind and name, as messages say it; "" where nobody would."""
    return next(_asking(objects, namespace, name), "") or next(_permitted(objects, namespace, kind), "")


def _asking(objects: Objects, namespace: str, name: str) -> Iterator[str]:
    for group_kind, _ in objects.by_kind():
        kind = KINDS.get(group_kind)
        if kind is None or kind.definition.standing != CUSTOM:
            continue
        for key, words in objects.facts(kind, _words).items():
            # An ExternalSecret or SealedSecret makes one of its own name, where it says no other.
            if key.namespace == namespace and (name in words or (key.name == name and "Secret" in kind.kind)):
                yield f"{kind.kind} {namespace}/{key.name}"


def _words(o: Object) -> frozenset[str]:
    """All texts in what a user wants of an object."""
    return frozenset(_texts(o.spec))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _permitted(objects: Objects, namespace: str, kind: Kind) -> Iterator[str]:
    bindings = [*objects.kind(ROLE_BINDING, namespace), *objects.kind(CLUSTER_ROLE_BINDING)]
    for binding in bindings:
        reference = binding.raw.get("roleRef") or {}
        name = str(reference.get("name"))
        is_cluster_role = reference.get("kind") == CLUSTER_ROLE.kind
        key = CLUSTER_ROLE.key("", name) if is_cluster_role else ROLE.key(binding.namespace, name)
        role = objects.get(key)
        if _may_make(role, kind) if role is not None else is_cluster_role and name in _EVERYWHERE:
            for subject in binding.raw.get("subjects") or ():
                if subject.get("kind") == "ServiceAccount":
                    yield f"ServiceAccount {subject.get('namespace') or binding.namespace}/{subject['name']}"


def _may_make(role: Object, kind: Kind) -> bool:
    def has(rule: dict[str, Any], field: str, word: str) -> bool:
        return not {word, "*"}.isdisjoint(rule.get(field) or ())

    return any(
        has(rule, "verbs", "create")
        and has(rule, "apiGroups", kind.group)
        and has(rule, "resources", kind.plural)
        for rule in role.raw.get("rules") or ()
    )
