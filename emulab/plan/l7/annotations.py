"""What an Ingress' annotations ask of its routes. Pure.

An annotation that is to be followed is one line of the table: its name, how its text is read, the field of a route's
policy that it sets, and what it is for. The table is here and not with the proxy's personality, because the proxy knows
nothing of Kubernetes: it is told policies, whoever wishes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.servers.l7.config import Policy

PREFIX = "nginx.ingress.kubernetes.io/"

DEFAULTS = Policy(ssl_redirect=True)
"""The policy without an annotation: the engine's defaults are ingress-nginx', whose `ssl-redirect` is true besides."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation. `parse` raises `ValueError` for a text that says nothing; then the default holds."""

    name: str
    parse: Callable[[str], Any]
    field: str
    doc: str


def _unless_false(text: str) -> bool:
    return text != "false"


ANNOTATIONS = (
    Annotation(
        "ssl-redirect", _unless_false, "ssl_redirect", "a host with a certificate sends plain HTTP to HTTPS"
    ),
)


def policy(
    annotations: Mapping[str, str],
    table: tuple[Annotation, ...] = ANNOTATIONS,
    defaults: Policy = DEFAULTS,
    prefix: str = PREFIX,
) -> Policy:
    """The policy of an Ingress' routes."""
    values = {}
    for one in table:
        text = annotations.get(prefix + one.name)
        if text is None:
            continue
        try:
            values[one.field] = one.parse(text)
        except ValueError:
            continue  # as ingress-nginx does, which logs it
    return replace(defaults, **values)


def unheeded(
    ingresses: Iterable[Object], classes: IngressClasses, table: tuple[Annotation, ...] = ANNOTATIONS
) -> list[str]:
    """What is to be said of annotations that ask for more than the table has: one line each, with the first place.

    Of an Ingress that somebody else would serve nothing is followed, which is another matter.
    """
    known = {one.name for one in table}
    found: dict[str, list[Object]] = {}
    for o in ingresses:
        for controller in classes.serving(Ingress.of(o))[:1]:
            prefix = f"{controller.flags.annotations_prefix}/"
            for name in o.annotations:
                if name.startswith(prefix) and name.removeprefix(prefix) not in known:
                    found.setdefault(name, []).append(o)
    return [
        Finding(first, ("metadata", "annotations", name), _NOT_FOLLOWED + _and_others(len(others))).line()
        for name, (first, *others) in found.items()
    ]


_NOT_FOLLOWED = "isn't followed: requests are served as without it"


def _and_others(number: int) -> str:
    return f" (nor in {number} more Ingress{'es' if number > 1 else ''})" if number else ""
