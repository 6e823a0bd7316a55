"""What an Ingress' annotations ask of its routes. Pure.

An annotation that is to be followed is one line of its theme's table: its name, how its text is read, the field that it
sets, and what it is for. A theme is a module here and a line of `THEMES`. The tables are here and not with the proxy's
personality, because the proxy knows nothing of Kubernetes: it is told routes, whoever wishes them.

* `table`: the shape of a line and of a theme; `unheeded`: what is to be said of annotations that aren't followed.
* `serving`: sizes, times and tries. `backends`: how backends are reached.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulab.plan.l7.annotations.backends import BACKENDS
from emulab.plan.l7.annotations.serving import SERVING
from emulab.plan.l7.annotations.table import Annotation, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import Policy

PREFIX = "nginx.ingress.kubernetes.io/"

DEFAULTS = Policy(ssl_redirect=True)
"""The policy without an annotation: the engine's defaults are ingress-nginx', whose `ssl-redirect` is true besides."""

THEMES: tuple[Theme, ...] = (SERVING, BACKENDS)
"""In the order in which nginx asks its modules: who answers by itself comes before who does so after it."""


def known(themes: tuple[Theme, ...] = THEMES) -> Mapping[str, Annotation]:
    """The annotations that are followed, by their names without the prefix."""
    return {one.name: one for theme in themes for one in theme.annotations}


def read(theme: Theme, annotations: Mapping[str, str], prefix: str = PREFIX) -> Wishes:
    """What a theme's annotations say. What can't be read is left, as ingress-nginx does, which logs it."""
    values = {}
    for one in theme.annotations:
        text = annotations.get(prefix + one.name)
        if text is None:
            continue
        try:
            values[one.field] = one.read(text.strip())
        except ValueError:
            continue
    return values


def follow(draft: RouteDraft, prefix: str = PREFIX, themes: tuple[Theme, ...] = THEMES) -> None:
    """Makes of a route what its Ingress' annotations ask for."""
    for theme in themes:
        if values := read(theme, draft.ingress.annotations, prefix):
            theme.apply(values, draft)
