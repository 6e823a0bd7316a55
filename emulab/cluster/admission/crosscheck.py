"""Warnings: names that lead nowhere, and things that are accepted but have no effect.

None of it is an error, because objects may arrive in any order, as in Kubernetes. What is odd in an object says its
kind; what it may ask for that is here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from emulab.cluster import brought
from emulab.cluster.admission.namespaces import EVER_THERE
from emulab.cluster.makers import maker
from emulab.cluster.programs import Lacks, Loaded, images_of, missing, no_image, nothing
from emulab.cluster.system import system_objects
from emulab.kinds.apps.givenlabels import GIVEN_LABELS, may_be_given
from emulab.kinds.core.podspec import PodImage
from emulab.kinds.core.serviceview import Service, is_proxied
from emulab.kinds.custom import would_make
from emulab.kinds.definition import ASIDE, CUSTOM, no_notes
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.emulab.servicebalancing import asked_virtual_addresses
from emulab.kinds.kind import WORKLOAD, Kind
from emulab.kinds.lookup import IngressPlace, Pods
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress, oldest_first
from emulab.kinds.registry import (
    CLUSTER,
    CRON_JOB,
    INGRESS,
    IP_POOL,
    KINDS,
    LOAD_BALANCER,
    NAMESPACE,
    PERSISTENT_VOLUME,
    POD,
    SERVICE,
)
from emulab.model.addresses import IPAddress, IPNetwork, parse_address
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.keys import GroupKind, Key
from emulab.model.objects import Object


def warnings(
    objects: Iterable[Object], among: Objects | None = None, lacks: Lacks = nothing, loaded: Loaded = no_image
) -> list[str]:
    """What looks wrong in these objects taken together, one line each: `FILE:LINE: Kind/name path: what`.

    `among`: all there is beside them, where that is more than what every lab has. `lacks` says which containers'
    programs there aren't, `loaded` which images there are.
    """
    given = list(objects)
    world = _World(Objects([*what_labs_have(given), *given]) if among is None else among, lacks, loaded)
    findings = chain((finding for o in given for finding in _findings(o, world)), _homeless(given, world))
    return [*(finding.line() for finding in findings), *_customs(given)]


def what_labs_have(given: Sequence[Object]) -> list[Object]:
    """What every lab has and doesn't stand aside for these objects."""
    clusters = Objects(o for o in given if o.type in (CLUSTER, IP_POOL))
    return system_objects(cluster_of(clusters), brought.brings_ingress(given) is None)


def notes(objects: Iterable[Object]) -> list[str]:
    """What else is to be said of these objects; and how many there are that have no effect, as in a cluster."""
    kinds: Counter[Kind] = Counter()
    found: list[str] = []
    for o in objects:
        definition = KINDS[o.type].definition
        if definition.standing == ASIDE:
            kinds[KINDS[o.type]] += 1
        elif definition.notes is not no_notes:
            found += [finding.line() for finding in definition.notes(o)]
    if kinds:
        found.append(f"{', '.join(kind.counted(n) for kind, n in kinds.items())}: {ASIDE.why}")
    return found


def _homeless(objects: Sequence[Object], world: _World) -> Iterator[Finding]:
    """The first object of each Namespace that isn't there, which is no error since one may come with another file."""
    first: dict[str, Object] = {}
    for o in objects:
        first.setdefault(o.namespace, o)
    for namespace, o in first.items():
        if namespace and namespace not in EVER_THERE and not world.has(NAMESPACE.key("", namespace)):
            what = f"there is no Namespace {namespace}: a cluster refuses what is in it until it has one"
            yield Finding(o, ("metadata", "namespace"), what)


def _customs(objects: Sequence[Object]) -> Iterator[str]:
    """What objects of API groups that aren't Kubernetes' own would make, and how many there are of the others."""
    harmless: Counter[Kind] = Counter()
    for o in objects:
        kind = KINDS[o.type]
        if kind.definition.standing != CUSTOM:
            continue
        if what := would_make(kind.group, kind.kind, o.spec):
            yield f"{o.position}: {o.kind}/{o.name} would make {what}; it makes none here"
        else:
            harmless[kind] += 1
    for kind, n in harmless.items():
        yield f"{kind.counted(n)} of {kind.group}: {CUSTOM.why}"


def _findings(o: Object, world: _World) -> Iterator[Finding]:
    definition = KINDS[o.type].definition
    if definition.standing.name == "kept":
        yield Finding(o, (), definition.standing.why)
    yield from definition.warnings(o, world)
    yield from brought.oddities(o, world.objects)


class _World:
    """What there is. It is looked up as it is asked for, so that a few objects among thousands cost little."""

    def __init__(self, objects: Objects, lacks: Lacks, loaded: Loaded) -> None:
        self.objects = objects
        self._lacks = lacks
        self._loaded = loaded

    def service(self, namespace: str, name: str) -> Service | None:
        o = self.objects.get(SERVICE.key(namespace, name))
        return Service.of(o) if o else None

    def has(self, key: Key) -> bool:
        return self.get(key) is not None

    def get(self, key: Key) -> Object | None:
        return self.objects.get(key)

    def kind(self, kind: GroupKind, namespace: str | None = None) -> Sequence[Object]:
        return self.objects.kind(kind, namespace)

    def missing_programs(self, annotations: Mapping[str, str], spec: Mapping[str, Any]) -> Mapping[str, str]:
        return missing(annotations, spec, self.cluster, self._lacks, self.images(annotations, spec))

    def images(self, annotations: Mapping[str, str], spec: Mapping[str, Any]) -> Mapping[str, PodImage]:
        return images_of(annotations, spec, self.cluster, self._loaded)

    def maker(self, namespace: str, kind: Kind, name: str) -> str:
        return maker(self.objects, namespace, kind, name)

    def allows_host_path(self, path: str) -> bool:
        return self.cluster.host_path(path.rstrip("/") or "/") is not None

    @cached_property
    def cluster(self) -> Cluster:
        return cluster_of(Objects([*self.objects.kind(CLUSTER)[-1:], *self.objects.kind(IP_POOL)]))

    @cached_property
    def nodes(self) -> frozenset[str]:
        return frozenset(node.name for node in self.cluster.nodes)

    @cached_property
    def volume_classes(self) -> frozenset[str]:
        volumes = self.objects.kind(PERSISTENT_VOLUME)
        return frozenset(str(o.spec.get("storageClassName") or "") for o in volumes)

    @cached_property
    def own_networks(self) -> tuple[IPNetwork, ...]:
        return self.cluster.own_networks

    @cached_property
    def ingress_classes(self) -> IngressClasses:
        return IngressClasses.among(self.objects, self.cluster)

    @cached_property
    def ingress_paths(self) -> Mapping[IngressPlace, Ingress]:
        found: dict[IngressPlace, Ingress] = {}
        for ingress in oldest_first(map(Ingress.of, self.objects.kind(INGRESS))):
            for controller in self.ingress_classes.serving(ingress):
                for rule in ingress.rules:
                    for path in rule.paths:
                        place = (controller.full_name, rule.host, path.path, path.taken_as)
                        found.setdefault(place, ingress)
        return found

    @cached_property
    def _pods(self) -> Mapping[str, list[Pods]]:
        """What users ask for, by its Namespace."""
        found: dict[str, list[Pods]] = {}
        for o in chain.from_iterable(map(self.objects.kind, (POD, *KINDS.of(WORKLOAD), CRON_JOB))):
            if o.metadata.get("ownerReferences"):
                continue  # a controller made it of one that is here too
            template = _template(o)
            metadata = template.get("metadata") or {}
            words = metadata.get("labels") or {}, metadata.get("annotations") or {}
            found.setdefault(o.namespace, []).append(Pods(o, *words, template["spec"]))
        return found

    @cached_property
    def _labelled(self) -> Mapping[tuple[str, str, str], list[Pods]]:
        """What users ask for by each of its labels, so that thousands of Services find their pods at once."""
        found: dict[tuple[str, str, str], list[Pods]] = {}
        for namespace, there in self._pods.items():
            for pods in there:
                for key, value in pods.labels.items():
                    found.setdefault((namespace, key, value), []).append(pods)
        return found

    def asked_by(self, address: IPAddress) -> Object | None:
        return self._asked.get(address)

    @cached_property
    def _asked(self) -> Mapping[IPAddress, Object]:
        """In the order in which addresses are given: LoadBalancers come first (`emulab.cluster.allocation`)."""
        found: dict[IPAddress, Object] = {}
        for o in self.objects.kind(LOAD_BALANCER):
            if asked := o.spec.get("address"):
                found.setdefault(parse_address(asked), o)
        for o in self.objects.kind(SERVICE):
            for wanted in asked_virtual_addresses(o):
                found.setdefault(wanted, o)
        return found

    @cached_property
    def claims(self) -> Mapping[tuple[IPAddress, str, int], Object]:
        """Who has an external address and port: the first Service that claims it (`emulab.plan.proxy.intents`)."""
        found: dict[tuple[IPAddress, str, int], Object] = {}
        for o in filter(is_proxied, self.objects.kind(SERVICE)):
            for address in o.spec.get("externalIPs") or ():
                for port in Service.of(o).ports:
                    found.setdefault((parse_address(address), port.protocol, port.port), o)
        return found

    def selected(self, namespace: str, selector: Mapping[str, str]) -> list[Pods]:
        told = [(key, value) for key, value in selector.items() if key not in GIVEN_LABELS]
        candidates = [self._labelled.get((namespace, *label), []) for label in told]
        there = min(candidates, key=len) if candidates else self._pods.get(namespace, [])
        return [pods for pods in there if all(_may_have(pods, *label) for label in selector.items())]


def _template(o: Object) -> Mapping[str, Any]:
    """What Pods are made of: a Pod itself, or the template of a workload."""
    if o.type == POD:
        return o.raw
    template: Mapping[str, Any] = (o.spec["jobTemplate"] if o.type == CRON_JOB else o.raw)["spec"]["template"]
    return template


def _may_have(pods: Pods, label: str, value: str) -> bool:
    return pods.labels.get(label) == value or may_be_given(pods.owner, label, value)
