"""ResourceQuotas: how much a Namespace has of what, and who comes too many (plugin/pkg/admission/resourcequota,
pkg/quota/v1/evaluator/core)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from emulab.kinds.core.resourcequota import CLAIM_SCOPE
from emulab.kinds.core.resources import (
    Amounts,
    containers,
    limits,
    requests,
)
from emulab.kinds.kind import COUNTED, Kind
from emulab.kinds.registry import KINDS, PERSISTENT_VOLUME_CLAIM, POD, RESOURCE_QUOTA, SERVICE
from emulab.model.keys import GroupKind, Key
from emulab.model.objects import Object
from emulab.model.quantity import NOTHING, Quantity, count, parse_quantity

T = TypeVar("T")


class ObjectsInView(Protocol):
    """What there is: a store's objects, or the working copy of the controllers."""

    def kind(self, kind: GroupKind) -> list[Object]: ...

    def facts(self, kind: GroupKind, ask: Callable[[Object], T | None]) -> Mapping[Key, T]: ...


def refusal(objects: ObjectsInView, quotas: Sequence[Object], o: Object, old: Object | None = None) -> str:
    """Why the object may not come beside those of its Namespace, or in the place of `old`; "" where it may.

    What an object lacks is told before what there is too much of, whichever quota says so (`CheckRequest`).
    """
    about = [(quota, _hard(quota)) for quota in quotas if _has_in_scope(quota, o)]
    for quota, hard in about:
        if old is None and (missing := _unsaid(o, hard)):
            return f"failed quota: {quota.name}: must specify {missing}"
    more = _more(o, old)
    for quota, hard in about:
        asked = {name: amount for name, amount in more.items() if name in hard and amount.value > 0}
        used = _used(objects, quota, asked)
        over = sorted(name for name in asked if (used[name] + asked[name]).value > hard[name].value)
        if over:
            shown = (_shown({name: amounts[name] for name in over}) for amounts in (asked, used, hard))
            words = ("requested", "used", "limited")
            return f"exceeded quota: {quota.name}, " + ", ".join(
                f"{word}: {text}" for word, text in zip(words, shown, strict=True)
            )
    return ""


def _hard(quota: Object) -> dict[str, Quantity]:
    return {name: parse_quantity(value) for name, value in (quota.spec.get("hard") or {}).items()}


def _more(o: Object, old: Object | None) -> Amounts:
    """What an object uses more than the one that it takes the place of."""
    before = usage(old) if old is not None else {}
    return {
        name: amount._replace(value=amount.value - before.get(name, NOTHING).value)
        for name, amount in usage(o).items()
    }


def status(objects: ObjectsInView, quota: Object) -> dict[str, Any]:
    """What a quota says of its Namespace (pkg/controller/resourcequota)."""
    hard: Mapping[str, Any] = quota.spec.get("hard") or {}
    used = _used(objects, quota, hard)
    return {"hard": dict(hard), "used": {name: str(used[name]) for name in hard}}


def _shown(amounts: Mapping[str, Quantity]) -> str:
    return ",".join(f"{name}={amount}" for name, amount in sorted(amounts.items()))


def _used(objects: ObjectsInView, quota: Object, names: Mapping[str, Any]) -> dict[str, Quantity]:
    used = dict.fromkeys(names, NOTHING)
    kinds = {kind for name in names if (kind := _counted_kind(name)) is not None}
    for kind in kinds:
        for key, amounts in objects.facts(kind, _usage_here).items():
            if key.namespace != quota.namespace or not _has_in_scope(quota, amounts[1]):
                continue
            for name, amount in amounts[0].items():
                if name in used:
                    used[name] = used[name] + amount
    return used


def _usage_here(o: Object) -> tuple[Amounts, Object] | None:
    return usage(o), o


def _counted_kind(name: str) -> Kind | None:
    """The kind of which objects use the resource of that name."""
    if name.startswith("count/"):
        return KINDS.named(name.removeprefix("count/"))
    if name.startswith("services."):
        return SERVICE
    if name == "requests.storage" or ".storageclass.storage.k8s.io/" in name:
        return PERSISTENT_VOLUME_CLAIM
    return next((kind for kind in KINDS.of(COUNTED) if kind.plural == name), POD)


def usage(o: Object) -> Amounts:
    """What of each resource that a quota may name an object uses."""
    kind = KINDS[o.type]
    found = {f"count/{kind.resources}": count(1), **kind.definition.uses(o)}
    return {**found, kind.plural: count(1)} if COUNTED in kind.categories else found


def _unsaid(o: Object, hard: Mapping[str, Quantity]) -> str:
    """What containers of a Pod have to say of what a quota limits, and don't; "" where nothing lacks."""
    if o.type != POD:
        return ""
    lacking: dict[str, set[str]] = defaultdict(set)
    for container in containers(o):
        said = {name for resource in requests(container) for name in (resource, f"requests.{resource}")}
        said |= {f"limits.{resource}" for resource in limits(container)}
        for name in hard:
            resource = name.removeprefix("requests.").removeprefix("limits.")
            if resource in ("cpu", "memory") and name not in said:
                lacking[name].add(container["name"])
    return "; ".join(f"{name} for: {','.join(sorted(of))}" for name, of in sorted(lacking.items()))


# Scopes


def _has_in_scope(quota: Object, o: Object) -> bool:
    """Whether the quota is about the object; whoever has a scope is about Pods or about claims."""
    return all(_matches(o, *scope) for scope in _scopes(quota))


def _scopes(quota: Object) -> Iterator[tuple[str, str, Sequence[str]]]:
    for scope in quota.spec.get("scopes") or ():
        yield scope, "Exists", ()
    for expression in (quota.spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        yield expression["scopeName"], expression["operator"], expression.get("values") or ()


def _matches(o: Object, scope: str, operator: str, values: Sequence[str]) -> bool:
    if o.type != (PERSISTENT_VOLUME_CLAIM if scope == CLAIM_SCOPE else POD):
        return False
    if (field := _NAMING.get(scope)) is not None:
        name = o.spec.get(field) or ""
        there = name in values if operator in ("In", "NotIn") else bool(name)
    else:
        there = _PROPERTIES[scope](o) if scope in _PROPERTIES else False
    return there == (operator in ("In", "Exists"))


_NAMING = {"PriorityClass": "priorityClassName", CLAIM_SCOPE: "volumeAttributesClassName"}
"""Scopes that are about what a field names."""


def _is_best_effort(pod: Object) -> bool:
    """Whether its quality of service is that: no container, nor the Pod, asks for CPU or memory (`GetPodQOS`)."""
    return not any(
        amounts[name].value > 0
        for asking in (*containers(pod), pod.spec)
        for amounts in (requests(asking), limits(asking))
        for name in ("cpu", "memory")
        if name in amounts
    )


def _is_terminating(pod: Object) -> bool:
    return pod.spec.get("activeDeadlineSeconds") is not None


def _reaches_other_namespaces(pod: Object) -> bool:
    affinity = pod.spec.get("affinity") or {}
    terms = [
        term.get("podAffinityTerm") or term
        for which in ("podAffinity", "podAntiAffinity")
        for field in ("required", "preferred")
        for term in (affinity.get(which) or {}).get(f"{field}DuringSchedulingIgnoredDuringExecution") or ()
    ]
    return any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms)


_PROPERTIES: Mapping[str, Callable[[Object], bool]] = {
    "BestEffort": _is_best_effort,
    "CrossNamespacePodAffinity": _reaches_other_namespaces,
    "NotBestEffort": lambda pod: not _is_best_effort(pod),
    "NotTerminating": lambda pod: not _is_terminating(pod),
    "Terminating": _is_terminating,
}


def quotas_of(objects: ObjectsInView, namespace: str) -> list[Object]:
    return [o for o in objects.kind(RESOURCE_QUOTA) if o.namespace == namespace]
