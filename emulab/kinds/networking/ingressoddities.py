"""What looks odd in Ingresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds.lookup import TOO_LONG, leads_nowhere
from emulab.kinds.networking.ingressview import (
    CLASS_ANNOTATION,
    LOAD_BALANCER_ANNOTATION,
    PUBLIC_LOAD_BALANCER,
    Ingress,
)
from emulab.kinds.registry import LOAD_BALANCER, SECRET
from emulab.model.checks import fits_dns, show
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup


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
    if world.ingress_classes.serves(ingress):
        yield from _patterns(o, ingress)
    for index, rule in enumerate(ingress.rules):
        if not fits_dns(rule.host):
            yield Finding(o, ("spec", "rules", index, "host"), f"has no DNS record: {TOO_LONG}")
    for index, tls in enumerate(ingress.tls):
        if tls.secret and not world.has(SECRET.key(o.namespace, tls.secret)):
            yield Finding(
                o, ("spec", "tls", index, "secretName"), f"there is no Secret {o.namespace}/{tls.secret}"
            )
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


def makes_expressions(annotations: Mapping[str, str]) -> bool:
    """Whether the paths of an Ingress are regular expressions, by the annotations that ask for it."""
    said = {name.rpartition("/")[2]: text.strip() for name, text in annotations.items()}
    return bool(said.get("rewrite-target")) or said.get("use-regex", "").lower() in ("true", "t", "1")


_PATTERN = re.compile(r"[*^$()|\[\]\\]")


def _patterns(o: Object, ingress: Ingress) -> Iterator[Finding]:
    """Paths that look like patterns, and are none: some clouds' balancers have globs."""
    if makes_expressions(o.annotations):
        return
    for i, rule in enumerate(ingress.rules):
        for j, path in enumerate(rule.paths):
            if not _PATTERN.search(path.path):
                continue
            what = f"{show(path.path)} is taken as it stands: a path is no pattern here"
            begin = path.path.rstrip("*").rstrip("/") or "/"
            if path.path.endswith("/*") and not _PATTERN.search(begin):
                what += f"; pathType Prefix with {show(begin)} takes all below"
            yield Finding(o, ("spec", "rules", i, "http", "paths", j, "path"), what)
