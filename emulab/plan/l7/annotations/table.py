"""The shape of a line in the tables of annotations, and of a route that is being planned. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from emulab.kinds.kind import Kind
from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.model.objects import Object
from emulab.servers.l7.config import Filter, Match, Policy, RequestRoute, WeightedUpstream


class Annotation(NamedTuple):
    """One annotation. `read` raises `ValueError`, which says what is wrong, for a text that says nothing."""

    name: str
    read: Callable[[str], Any]
    field: str  # under which its theme finds what it says
    doc: str
    denies: bool = False  # whether a text that says nothing lets nobody in: it was to be a lock


DENIED = "denied"
"""The field under which a theme finds such an annotation: its name, and what is wrong."""


Wishes = Mapping[str, Any]
"""What the annotations of a theme say, by their fields; those that are absent or wrong are not there."""


class Beside(Protocol):
    """What there is beside an Ingress."""

    def named(self, kind: Kind, text: str, namespace: str) -> Object | None:
        """The object that a text names: `NAME`, in this namespace, or `NAMESPACE/NAME`."""

    @property
    def defaults(self) -> Wishes:
        """What the controller's ConfigMap says beside its policy and options, by the fields of its settings."""

    def upstream(self, namespace: str, backend: Backend) -> str:
        """The upstream that leads to a backend; it is among those of the configuration from now on."""


class RouteDraft:
    """A route of an Ingress, which the themes make what it is to be."""

    __slots__ = ("backends", "filters", "ingress", "match", "policy", "world")

    def __init__(
        self,
        ingress: Ingress,
        match: Match,
        backends: tuple[WeightedUpstream, ...],
        policy: Policy,
        world: Beside,
    ) -> None:
        self.ingress = ingress
        self.match = match
        self.backends = backends
        self.policy = policy
        self.filters: list[Filter] = []
        self.world = world

    def route(self) -> RequestRoute:
        """The route as it is now."""
        origin = f"Ingress {self.ingress.namespace}/{self.ingress.name}"
        return RequestRoute(self.match, self.backends, origin, tuple(self.filters), self.policy)


def _nothing_wrong(_values: Wishes, _ingress: Ingress, _world: Beside) -> Iterator[tuple[str, str]]:
    return iter(())


class Theme(NamedTuple):
    """Annotations that belong together, and what they make of a route.

    `wrong` tells what can't be followed although each text can be read: an annotation's name, and why.
    """

    annotations: tuple[Annotation, ...]
    apply: Callable[[Wishes, RouteDraft], None]
    wrong: Callable[[Wishes, Ingress, Beside], Iterator[tuple[str, str]]] = _nothing_wrong
    always: bool = False  # whether it has a say about routes of Ingresses without any of its annotations
