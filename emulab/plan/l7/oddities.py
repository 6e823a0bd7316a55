"""What is to be said of how requests are spread, where it isn't as who wrote an Ingress or a rule may think. Pure.

It takes all objects to see it: who leads to a Service, by which address, and whose canary an Ingress is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.destinations import DestinationRule, DestinationRules
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingresscontrollers import IngressController
from emulab.kinds.networking.ingressview import Backend, Ingress, oldest_first
from emulab.kinds.registry import CONFIG_MAP, DESTINATION_RULE, INGRESS, SERVICE
from emulab.model.checks import show
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.model.paths import FieldPath
from emulab.plan.l7.annotations import read
from emulab.plan.l7.annotations.balancing import AFFINITY, BALANCING, CANARY
from emulab.plan.l7.configmap import of_upstreams
from emulab.plan.l7.conflicts import conflicts, unheard_defaults
from emulab.plan.l7.spreading import asks_service, rule_of_port, says_service
from emulab.plan.l7.upstreams import backend_name, backend_port
from emulab.plan.l7.wishes import IngressWishes


def oddities(
    given: Collection[Key], objects: Objects, classes: IngressClasses, cluster: Cluster
) -> Iterator[Finding]:
    """Of the objects with these keys."""
    if not any(map(_is_concerned, given)):
        return
    led: set[tuple[str, str]] = set()
    rules = DestinationRules(objects.members(DESTINATION_RULE).values(), cluster.cluster_domain)
    for controller in classes.controllers:
        yield from _Seen(given, objects, controller, classes, cluster, rules, led).findings()
    for o in objects.members(DESTINATION_RULE).values():
        if o.key in given and classes.controllers:
            yield from _of_rule(o, objects, rules, led)


def _is_concerned(key: Key) -> bool:
    return key.type == INGRESS or key.type == SERVICE or key.type == DESTINATION_RULE


def _of_rule(
    o: Object, objects: Objects, rules: DestinationRules, led: set[tuple[str, str]]
) -> Iterator[Finding]:
    rule = DestinationRule.of(o)
    service = rule.service
    if service is None or objects.get(SERVICE.key(*service)) is None:
        return  # which the kind says itself
    first = rules.of(*service)
    if service not in led:
        yield Finding(
            o, ("spec", "host"), f"nothing heeds it: no Ingress leads to Service {'/'.join(service)}"
        )
    elif first is not None and first != rule:
        why = "is older" if rule.says else "has a trafficPolicy"
        what = f"DestinationRule {first.namespace}/{first.name}, which {why}, is heeded for this Service"
        yield Finding(o, ("spec", "host"), what)


class _Seen:
    """The Ingresses of one controller."""

    def __init__(
        self,
        given: Collection[Key],
        objects: Objects,
        controller: IngressController,
        classes: IngressClasses,
        cluster: Cluster,
        rules: DestinationRules,
        led: set[tuple[str, str]],
    ) -> None:
        self._given, self._objects, self._cluster, self._rules, self._led = (
            given,
            objects,
            cluster,
            rules,
            led,
        )
        flags = controller.flags
        self._prefix = f"{flags.annotations_prefix}/"
        there = [(Ingress.of(o), o) for o in objects.members(INGRESS).values()]
        self._ingresses = [(one, o) for one, o in there if classes.takes(flags, one)]
        self._by_name = {(one.namespace, one.name): o for one, o in self._ingresses}
        namespace, _, name = flags.config_map.partition("/")
        config_map = objects.get(CONFIG_MAP.key(namespace, name)) if name else None
        data = (config_map.raw.get("data") or {}) if config_map is not None else {}
        defaults = of_upstreams({key: str(value) for key, value in data.items()})
        taken = self._oldest_first = oldest_first(one for one, _ in self._ingresses)
        self._wishes = IngressWishes(taken, self._prefix, defaults)

    def findings(self) -> Iterator[Finding]:
        for ingress, what in self._wishes.unshared:
            o = self._by_name[ingress.namespace, ingress.name]
            if o.key in self._given:
                there = f"{self._prefix}canary" in o.annotations
                yield self._at(o, "canary", what) if there else Finding(o, ("spec", "rules"), what)
        for ingress, annotation, why in conflicts(self._oldest_first, self._prefix):
            o = self._by_name[ingress.namespace, ingress.name]
            if o.key in self._given:
                yield self._at(o, annotation, why)
        for ingress, why in unheard_defaults(self._wishes.mains):
            o = self._by_name[ingress.namespace, ingress.name]
            if o.key in self._given:
                yield Finding(o, ("spec", "defaultBackend"), f"nothing goes there: {why}")
        told: set[Key] = set()
        for ingress, o in self._ingresses:
            if o.key in self._given:
                yield from self._of_annotations(ingress, o)
            for backend, where in _backends(ingress).items():
                yield from self._of_backend(ingress, o, backend, where, told)

    def _at(self, o: Object, annotation: str, what: str) -> Finding:
        return Finding(o, ("metadata", "annotations", self._prefix + annotation), what)

    def _of_annotations(self, ingress: Ingress, o: Object) -> Iterator[Finding]:
        canary = read(CANARY, ingress.annotations, self._prefix)
        if canary and not canary.get("canary"):
            names = {one.field: one.name for one in CANARY.annotations}
            field = next((field for field in canary if field != "canary"), None)
            if field is not None:
                yield self._at(o, names[field], 'has no effect without canary: "true"')
        balancing = read(BALANCING, ingress.annotations, self._prefix)
        affinity = read(AFFINITY, ingress.annotations, self._prefix)
        regular = ingress.annotations.get(f"{self._prefix}use-regex") == "true"
        if affinity.get("affinity") and regular and not affinity.get("path"):
            yield self._at(
                o, "affinity", "its cookie has a regular expression as Path: session-cookie-path isn't given"
            )
        if affinity.get("affinity") and not any(rule.paths for rule in ingress.rules):
            yield self._at(
                o, "affinity", "has no effect: ingress-nginx gives its cookie at paths of rules alone"
            )
        if not balancing.get("service"):
            return
        wished = {"affinity": "cookie", "hash_by": balancing.get("hash_by") or "", "load_balance": "ewma"}
        for theme, values in ((AFFINITY, affinity), (BALANCING, balancing)):
            for one in theme.annotations:
                if one.field in wished and values.get(one.field) == wished[one.field]:
                    what = "has no effect: with service-upstream the cluster IP is the only server"
                    yield self._at(o, one.name, what)

    def _of_backend(
        self, ingress: Ingress, o: Object, backend: Backend, where: FieldPath, told: set[Key]
    ) -> Iterator[Finding]:
        found = self._objects.get(SERVICE.key(ingress.namespace, backend.service))
        if found is None:
            return
        self._led.add((ingress.namespace, backend.service))
        service = Service.of(found)
        field = _binding(service)
        if not {o.key, found.key} & set(self._given):
            return
        wish = self._wishes.of(backend_name(ingress.namespace, backend))
        if not says_service(wish, self._wishes.default):
            why = _why_another_port(service, backend.port)
            yield from [Finding(o, (*where, "port"), why)] if why else []
        if not field or found.key in told:
            return
        rule = rule_of_port(self._rules, service, backend.port)
        by_default = self._cluster.ingress_upstream == "service"
        if asks_service(wish, self._wishes.default, rule, by_default) and not service.headless:
            told.add(found.key)
            value = show(found.spec[field]).strip('"')
            what = (
                f"{value} binds each ingress pod, which asks the backend of Ingress {ingress.namespace}/{ingress.name} "
                f"by the cluster IP, {_BINDS[field]}; the Ingress' annotation {self._prefix}service-upstream: "
                '"false" has it ask the endpoints'
            )
            yield Finding(found, ("spec", field), what)


def _backends(ingress: Ingress) -> Mapping[Backend, FieldPath]:
    """The backends of an Ingress, each with the first place that has it."""
    found: dict[Backend, FieldPath] = {}
    for i, rule in enumerate(ingress.rules):
        for j, path in enumerate(rule.paths):
            found.setdefault(path.backend, ("spec", "rules", i, "http", "paths", j, "backend", "service"))
    if ingress.default_backend is not None:
        found.setdefault(ingress.default_backend, ("spec", "defaultBackend", "service"))
    return found


def _why_another_port(service: Service, wanted: int | str) -> str:
    """Why the port of a Service that has a backend's number or name isn't asked, "" where it is."""
    asked = backend_port(service, wanted)
    if service.type == "ExternalName" or asked is None:
        return ""
    alike = (p for p in service.ports if p.protocol == asked.protocol)
    meant = next((p for p in alike if wanted in (p.port, p.name)), None)
    if meant is None or asked.target_port == meant.target_port:
        return ""
    return (
        f"{wanted} is taken for port {asked.port} of Service {service.namespace}/{service.name}, its first with this"
        f" number, name or targetPort, as ingress-nginx has it: pods are asked at {asked.target_port}, not at"
        f" {meant.target_port}; give the ports names, and name the one that is meant"
    )


_BINDS = {
    "sessionAffinity": "to one endpoint, whoever its clients are",
    "internalTrafficPolicy": "to endpoints on its own node, and to none where there is none",
}


def _binding(service: Service) -> str:
    """The field by which connections from one place are with some endpoints alone, "" where there is none."""
    if service.session_affinity == "ClientIP":
        return "sessionAffinity"
    return "internalTrafficPolicy" if service.internal_traffic_policy == "Local" else ""
