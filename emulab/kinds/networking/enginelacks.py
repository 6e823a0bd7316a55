"""What the programs that may serve as an ingress can't do of what annotations and ConfigMaps say. Pure.

It is part of the line of the annotation or key, whose tables are `plan.l7.annotations` and `controllersettings`: what
is said on `apply` and what `docs/ingress.md` says is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

NGINX, HAPROXY = "nginx", "haproxy"
ENGINES = ("builtin", NGINX, HAPROXY)
"""What `Cluster` `spec.ingress.engine` may be; the first one does all that anybody can tell."""


class Lack(NamedTuple):
    """What an engine can't do of a line. `of`: of which values, where it isn't so of all."""

    engine: str
    why: str
    wholly: bool = True
    of: Callable[[Any], bool] | None = None


def never(engine: str, why: str, of: Callable[[Any], bool] | None = None) -> Lack:
    """It isn't done."""
    return Lack(engine, why, True, of)


def partly(engine: str, why: str, of: Callable[[Any], bool] | None = None) -> Lack:
    """It is done, but not all of it."""
    return Lack(engine, why, False, of)


def lacking(lacks: Iterable[Lack], engine: str, value: object) -> Iterator[str]:
    """What is to be said of a value where this engine serves."""
    for one in lacks:
        if one.engine == engine and (one.of is None or one.of(value)):
            yield f"{_HOW[one.wholly]} by the engine {engine}: {one.why}"


_HOW = {True: "isn't followed", False: "is followed in part"}
