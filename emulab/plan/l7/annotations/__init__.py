"""What an Ingress' annotations ask of its routes. Pure.

An annotation that is to be followed is one line of its theme's table: its name, how its text is read, the field that it
sets, and what it is for. A theme is a module here and a line of `THEMES`. The tables are here and not with the proxy's
personality, because the proxy knows nothing of Kubernetes: it is told routes, whoever wishes them.

* `table`: the shape of a line and of a theme; `unheeded`: what is to be said of annotations that aren't followed.
* `serving`: sizes, times and tries. `backends`: how backends are reached. `buffering`: what is held back.
* `logs`: what is written. `balancing`: whose turn it is, cookies of affinity, canaries.
* `cors`, `redirects`: who is answered at once. `rewriting`, `asking`: what upstreams are asked.
* `answering`, `errors`: what becomes of answers. `naming`: other names of hosts.
* `refused`: what can't be followed, ever.
* `limits`: how often clients may come. `access`: who may in. `clientcertificates`: who may by TLS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.networking.controllerkeys import DEFAULTED
from emulab.plan.l7.annotations.access import ACCESS
from emulab.plan.l7.annotations.answering import ANSWERING
from emulab.plan.l7.annotations.asking import ASKING
from emulab.plan.l7.annotations.backends import BACKENDS
from emulab.plan.l7.annotations.balancing import AFFINITY, BALANCING, CANARY
from emulab.plan.l7.annotations.buffering import BUFFERING
from emulab.plan.l7.annotations.clientcertificates import CLIENT_CERTIFICATES
from emulab.plan.l7.annotations.cors import CROSS_ORIGIN
from emulab.plan.l7.annotations.errors import ERRORS
from emulab.plan.l7.annotations.limits import LIMITS
from emulab.plan.l7.annotations.logs import LOGGING
from emulab.plan.l7.annotations.naming import NAMING
from emulab.plan.l7.annotations.redirects import REDIRECTS
from emulab.plan.l7.annotations.rewriting import REWRITING
from emulab.plan.l7.annotations.serving import SERVING
from emulab.plan.l7.annotations.table import DENIED, Annotation, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import Policy, Refusal

PREFIX = "nginx.ingress.kubernetes.io/"

DEFAULTS = Policy(ssl_redirect=True)
"""The policy without an annotation: the engine's defaults are ingress-nginx', whose `ssl-redirect` is true besides."""

THEMES: tuple[Theme, ...] = (
    SERVING,
    BUFFERING,
    BACKENDS,
    BALANCING,
    AFFINITY,
    CANARY,
    LOGGING,
    NAMING,
    CLIENT_CERTIFICATES,
    CROSS_ORIGIN,
    REDIRECTS,
    LIMITS,
    ACCESS,
    REWRITING,
    ASKING,
    ANSWERING,
    ERRORS,
)
"""In the order in which nginx asks its modules: who answers by itself comes before who does so after it."""


def known(themes: tuple[Theme, ...] = THEMES) -> Mapping[str, Annotation]:
    """The annotations that are followed, by their names without the prefix."""
    return {one.name: one for theme in themes for one in theme.annotations}


def read(
    theme: Theme,
    annotations: Mapping[str, str],
    prefix: str = PREFIX,
    settings: Mapping[str, str] | None = None,
    wrong: list[str] | None = None,
) -> Wishes:
    """What a theme's annotations say, and the keys of the controller's ConfigMap where they say nothing.

    What can't be read is left, as ingress-nginx does, which logs it, and told in `wrong`; unless it was to be a lock
    (`DENIED`).
    """
    values: dict[str, Any] = {}
    for one in theme.annotations:
        text, key = annotations.get(prefix + one.name), DEFAULTED.get(one.name)
        default = settings.get(one.name, "") if settings and key is not None else None
        for said, how in ((text, one.reading), (default, key)):
            if how is None or not said or not said.strip():
                continue  # one that is empty is none (`parseString` of ingress-nginx)
            try:
                values[one.field] = how(said)
                break
            except ValueError as error:
                if one.denies:
                    values.setdefault(DENIED, (one.name, f"{said!r} {error}"))
                elif wrong is not None and said is text:
                    wrong.append(f"{prefix}{one.name}: {said!r} {error}")
    return values


def follow(draft: RouteDraft, prefix: str = PREFIX, themes: tuple[Theme, ...] = THEMES) -> None:
    """Makes of a route what its Ingress' annotations ask for."""
    draft.prefix = prefix
    annotations, settings = draft.ingress.annotations, draft.world.settings
    quiet = DEFAULTED.keys().isdisjoint(settings) and not any(name.startswith(prefix) for name in annotations)
    for theme in themes:
        if quiet and not theme.always:
            continue  # as with most, of which there may be ten thousand
        if (
            values := {} if quiet else read(theme, annotations, prefix, settings, draft.wrong)
        ) or theme.always:
            theme.apply(values, draft)
    draft.wrong += [one.reason for one in draft.filters if isinstance(one, Refusal)]
    draft.wrong += [draft.denied] if draft.denied else []
