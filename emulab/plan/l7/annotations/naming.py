"""Annotations of a host as a whole: its other names."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import server_name, words
from emulab.plan.l7.annotations.rewriting import wrong_expression
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes


def _names(text: str) -> tuple[str, ...]:
    names = tuple(map(server_name, words(text)))
    for name in names:
        if name.startswith("~") and (why := wrong_expression(name.lstrip("~"))):
            raise ValueError(f"has a name that nobody can have: {why}")
    return names


def _apply(values: Wishes, draft: RouteDraft) -> None:
    draft.aliases = tuple(dict.fromkeys(values.get("aliases", ())))


def _wrong(values: Wishes, ingress: Ingress, world: Beside) -> Iterator[tuple[str, str]]:
    for alias in values.get("aliases", ()):
        if alias in world.hosts and alias not in {rule.host for rule in ingress.rules}:
            yield "server-alias", f"{alias} is the host of another rule, which keeps it"


NAMING = Theme(
    (
        Annotation(
            "server-alias",
            _names,
            "aliases",
            "other names of the hosts, expressions after a `~` among them",
            lines=True,
        ),
    ),
    _apply,
    _wrong,
)
