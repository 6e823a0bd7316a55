"""Ingresses that are refused when they come.

* By the admission webhook of their controller: the lab's own has one, as ingress-nginx' usual installations do, and a
  user's where its flags say so (`--validating-webhook`).
* By the API server, which looks at both ways of naming a class only when an Ingress is made (`ValidateIngressCreate` of
  pkg/apis/networking/validation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from emulab.cluster.brought import brings_ingress
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.controllersettings import validates_paths
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingresscontrollers import ObjectSource
from emulab.kinds.networking.ingressvalidation import denied, inspected
from emulab.kinds.networking.ingressview import CLASS_ANNOTATION, Ingress
from emulab.kinds.registry import CLUSTER, CONFIG_MAP, INGRESS
from emulab.model.checks import show
from emulab.model.findings import Finding
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Members
from emulab.model.objects import Object

T = TypeVar("T")


def denied_ingresses(given: Iterable[Object], there: ObjectSource, cluster: Cluster) -> list[Finding]:
    """What is refused of `given`, which come to those that are there, in the place of the ones with their keys.

    `cluster`: where none of them is one.
    """
    latest = {o.key: o for o in given}
    cluster = next((Cluster.of(o) for o in latest.values() if o.type == CLUSTER), cluster)
    ingresses = [o for o in latest.values() if o.type == INGRESS]
    if not ingresses:
        return []
    alone = brings_ingress(latest.values()) is not None
    fresh = (o for o in ingresses if there.get(o.key) is None)
    return [*_of_two_classes(fresh), *_denied(ingresses, _Together(there, latest), cluster, alone)]


def _of_two_classes(fresh: Iterable[Object]) -> Iterator[Finding]:
    for o in fresh:
        named, annotated = o.spec.get("ingressClassName"), o.annotations.get(CLASS_ANNOTATION)
        if None not in (named, annotated) and named != annotated:
            what = f"{show(annotated)} must match `ingressClassName` when both are specified"
            yield Finding(o, ("metadata", "annotations", CLASS_ANNOTATION), what)


def _denied(
    ingresses: Iterable[Object], source: ObjectSource, cluster: Cluster, alone: bool
) -> Iterator[Finding]:
    """`alone`: whether the lab's own controller stands aside for one that comes with them."""
    classes = IngressClasses.among(source, cluster)
    asked = [
        (one, _is_strict(one.flags, source))
        for one in classes.controllers
        if one.flags.webhook or (one.validates and not alone)
    ]
    for o in ingresses:
        ingress = Ingress.of(o)
        inspecting = next((one.flags for one, _ in asked if one.flags.deep_inspect), None)
        if inspecting is not None and (found := [*inspected(ingress, inspecting)]):
            yield from (Finding(o, *what) for what in found)
            continue
        for controller, strict in asked:
            if classes.is_of_its_class(controller.flags, ingress):
                yield from (Finding(o, *what) for what in denied(ingress, controller.flags, strict))
                break


def _is_strict(flags: ControllerFlags, source: ObjectSource) -> bool:
    namespace, _, name = flags.config_map.partition("/")
    config_map = source.get(CONFIG_MAP.key(namespace, name)) if name else None
    return validates_paths((config_map.raw.get("data") or {}) if config_map is not None else {})


class _Together:
    """Objects with others that come to them."""

    def __init__(self, there: ObjectSource, latest: Mapping[Key, Object]) -> None:
        self._there, self._latest = there, latest

    def get(self, key: Key) -> Object | None:
        return self._latest.get(key) or self._there.get(key)

    def members(self, kind: GroupKind) -> Members:
        fresh = {key: o for key, o in self._latest.items() if o.type == kind}
        return {**self._there.members(kind), **fresh} if fresh else self._there.members(kind)

    def facts(self, kind: GroupKind, ask: Callable[[Object], T | None]) -> Mapping[Key, T]:
        known = dict(self._there.facts(kind, ask))
        for key, o in self._latest.items():
            if o.type == kind:
                known.pop(key, None)
                if (fact := ask(o)) is not None:
                    known[key] = fact
        return known
