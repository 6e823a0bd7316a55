"""What looks odd in Ingresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from emulab.kinds import externaldns
from emulab.kinds.emulab.balancingview import annotation_problems
from emulab.kinds.lookup import TOO_LONG, leads_nowhere
from emulab.kinds.networking.ingressvalidation import invalid_paths, misprefixed
from emulab.kinds.networking.ingressview import (
    CLASS_ANNOTATION,
    LOAD_BALANCER_ANNOTATION,
    PUBLIC_LOAD_BALANCER,
    Ingress,
    IngressRule,
)
from emulab.kinds.networking.servernames import host_certificate
from emulab.kinds.registry import LOAD_BALANCER, SECRET
from emulab.model.checks import fits_dns, show
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.kinds.networking.ingresscontrollers import IngressController


def oddities(o: Object, world: Lookup) -> Iterator[Finding]:
    ingress = Ingress.of(o)
    yield from _of_nobodys_class(o, ingress, world)
    backends: list[tuple[FieldPath, Any]] = [
        (("spec", "rules", i, "http", "paths", j, "backend", "service"), path.backend)
        for i, rule in enumerate(ingress.rules)
        for j, path in enumerate(rule.paths)
    ]
    if ingress.default_backend:
        backends.append((("spec", "defaultBackend", "service"), ingress.default_backend))
    for path, backend in backends:
        if not backend.service:
            continue
        paths = ((*path, "name"), (*path, "port"))
        for where, why in leads_nowhere(world, o.namespace, backend.service, backend.port, paths):
            yield Finding(o, where, why)
    for controller in world.ingress_classes.serving(ingress)[:1]:
        yield from _patterns(o, ingress, controller)
        yield from (Finding(o, *what) for what in misprefixed(ingress, controller.flags))
        yield from _said_before(o, ingress, controller, world)
        yield from _certificates(o, ingress, world)
    for index, rule in enumerate(ingress.rules):
        if not fits_dns(rule.host):
            yield Finding(o, ("spec", "rules", index, "host"), f"has no DNS record: {TOO_LONG}")
    for index, tls in enumerate(ingress.tls):
        if tls.secret and not world.has(SECRET.key(o.namespace, tls.secret)):
            yield Finding(
                o, ("spec", "tls", index, "secretName"), f"there is no Secret {o.namespace}/{tls.secret}"
            )
    for name, problem in (*annotation_problems(o.annotations, own=False), *externaldns.oddities(o)):
        yield Finding(o, ("metadata", "annotations", name), problem)
    balancer = ingress.load_balancer
    if balancer != PUBLIC_LOAD_BALANCER and not world.has(LOAD_BALANCER.key("", balancer)):
        unknown = f"there is no LoadBalancer {balancer}"
        yield Finding(o, ("metadata", "annotations", LOAD_BALANCER_ANNOTATION), unknown)


def _of_nobodys_class(o: Object, ingress: Ingress, world: Lookup) -> Iterator[Finding]:
    classes = world.ingress_classes
    if classes.serves(ingress):
        return
    path: FieldPath = ("spec", "ingressClassName")
    if ingress.class_is_annotated:
        path = ("metadata", "annotations", CLASS_ANNOTATION)
    what = f"{classes.why_not(ingress)}, so nothing serves the Ingress; classes that are served: {classes.known()}"
    name = classes.class_of(ingress)
    adopt = f"; Cluster spec.ingress.classes: [{name}] has the lab's ingress take it over"
    yield Finding(o, path, what + (adopt if name and classes.controllers else ""))


_OF_PATTERNS = ("use-regex", "rewrite-target")
"""Annotations with which paths are patterns, as far as they are followed."""
_PATTERN = re.compile(r"[*^$()|\[\]\\]")


def _patterns(o: Object, ingress: Ingress, controller: IngressController) -> Iterator[Finding]:
    """Paths that look like patterns: some clouds' balancers have globs, and ingress-nginx regular expressions."""
    flags, wrong = controller.flags, dict(invalid_paths(ingress)) if controller.validates else {}
    regex, rewrite = (ingress.annotations.get(f"{flags.annotations_prefix}/{name}") for name in _OF_PATTERNS)
    asked = regex == "true" or rewrite
    for i, rule in enumerate(ingress.rules):
        for j, path in enumerate(rule.paths):
            where: FieldPath = ("spec", "rules", i, "http", "paths", j, "path")
            if not _PATTERN.search(path.path):
                if where in wrong:
                    yield Finding(o, where, wrong[where])
                continue
            if asked and where not in wrong:
                continue
            what = f"{show(path.path)} is taken as it stands: a path is no pattern here"
            begin = path.path.rstrip("*").rstrip("/") or "/"
            if path.path.endswith("/*") and not _PATTERN.search(begin):
                what += f"; pathType Prefix with {show(begin)} takes all below"
            yield Finding(o, where, what)


def _said_before(
    o: Object, ingress: Ingress, controller: IngressController, world: Lookup
) -> Iterator[Finding]:
    """Paths that another Ingress has, which is heard. ingress-nginx' webhook would refuse the one that comes later."""
    canary = f"{controller.flags.annotations_prefix}/canary"
    for i, rule in enumerate(ingress.rules):
        for j, path in enumerate(rule.paths):
            place = (controller.full_name, rule.host, path.path, path.taken_as)
            first = world.ingress_paths.get(place, ingress)
            if first.full_name == ingress.full_name or canary in {*first.annotations, *ingress.annotations}:
                continue
            what = (
                f'host "{rule.host or "_"}" and path "{path.path}" is already defined in ingress {first.full_name},'
                " which is heard (ingress-nginx' admission webhook refuses the second one)"
            )
            yield Finding(o, ("spec", "rules", i, "http", "paths", j, "path"), what)
        yield from _of_one_rule(o, i, rule)


def _of_one_rule(o: Object, index: int, rule: IngressRule) -> Iterator[Finding]:
    """Paths taken as prefixes that differ by a slash at the end, which means nothing."""
    heard: dict[str, str] = {}
    for j, path in enumerate(rule.paths):
        if path.taken_as == "Prefix":
            first = heard.setdefault(path.path.rstrip("/"), path.path)
            if first != path.path:
                what = f"{show(path.path)} takes what {show(first)} takes, which is heard"
                yield Finding(o, ("spec", "rules", index, "http", "paths", j, "path"), what)


def _certificates(o: Object, ingress: Ingress, world: Lookup) -> Iterator[Finding]:
    """Secrets whose certificates can't be shown for the hosts that they are for; of one that isn't there see above."""
    at = {tls.secret: index for index, tls in reversed(list(enumerate(ingress.tls)))}
    for host in dict.fromkeys(rule.host for rule in ingress.rules if rule.host and ingress.tls):
        one = host_certificate(host, ingress, lambda *of: world.get(SECRET.key(*of)))
        if one.problem is not None and world.has(SECRET.key(o.namespace, one.secret)):
            yield Finding(o, ("spec", "tls", at[one.secret], "secretName"), one.problem.message)
