"""The shape of a line in the tables of annotations, and of a route that is being planned. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from emulab.kinds.kind import Kind
from emulab.kinds.networking.enginelacks import Lack
from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.model.objects import Object
from emulab.servers.l7.config import Canary, Filter, Match, Policy, RequestRoute, WeightedUpstream

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Annotation(NamedTuple):
    """One annotation. `read` raises `ValueError`, which says what is wrong, for a text that says nothing."""

    name: str
    read: Callable[[str], Any]
    field: str  # under which its theme finds what it says
    doc: str
    denies: bool = False  # whether a text that says nothing lets nobody in: it was to be a lock
    lacks: tuple[Lack, ...] = ()  # what engines can't do of it
    needs: tuple[str, ...] = ()  # without one of these it says nothing, here or in the controller's ConfigMap
    untold: bool = False  # whether nobody outside could tell that it is followed
    lines: bool = (
        False  # whether a text may have several lines, or end in one's end, as that of a block scalar does
    )

    def reading(self, text: str) -> Any:
        """What a text says. Raises `ValueError`, which says what is wrong, for one that says nothing."""
        if "\n" in text and not self.lines:
            raise ValueError(
                "has a line's end, which ingress-nginx refuses: in a block scalar, write |- or >-"
            )
        if _CONTROL.search(text):
            raise ValueError("has a control character, which no header field and no configuration may have")
        return self.read(text.strip())


DENIED = "denied"
"""The field under which a theme finds such an annotation: its name, and what is wrong."""


Wishes = Mapping[str, Any]
"""What the annotations of a theme say, by their fields; those that are absent or wrong are not there."""


class Beside(Protocol):
    """What there is beside an Ingress."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What the controller's ConfigMap says."""

    @property
    def hosts(self) -> Collection[str]:
        """The hosts of all rules."""

    def named(self, kind: Kind, text: str, namespace: str) -> Object | None:
        """The object that a text names: `NAME`, in this namespace, or `NAMESPACE/NAME`."""

    @property
    def defaults(self) -> Wishes:
        """What the controller's ConfigMap says beside its policy and options, by the fields of its settings."""

    def upstream(self, namespace: str, backend: Backend) -> str:
        """The upstream that leads to a backend; it is among those of the configuration from now on."""

    def has_servers(self, upstream: str) -> bool:
        """Whether an upstream has anybody to ask."""


class RouteDraft:
    """A route of an Ingress, which the themes make what it is to be. What is said of its host is arranged later."""

    __slots__ = (
        "aliases",
        "backends",
        "canary",
        "denied",
        "error_upstream",
        "errors",
        "filters",
        "gathers",
        "ingress",
        "intercepts",
        "is_regular",
        "is_www",
        "keeps_relative",
        "match",
        "policy",
        "prefix",
        "root",
        "world",
        "wrong",
    )

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
        self.canary: Canary | None = None
        self.world = world
        self.prefix = ""  # of annotations
        self.denied = ""  # why all requests are answered with 503
        self.errors: tuple[int, ...] = ()  # statuses that another upstream answers in the place of
        self.error_upstream = ""  # which one, if it isn't that of what no route takes
        self.intercepts = True  # upstreams' errors, too
        self.gathers = True  # a body is whole before an upstream is asked
        self.is_regular = False  # all paths of its host are regular expressions
        self.root = ""  # where `/` of its host leads
        self.is_www = False  # its host with or without `www.` leads to it
        self.keeps_relative = False  # places without a host, to which clients are sent
        self.aliases: tuple[str, ...] = ()  # other names of its host
        self.wrong: list[str] = []  # what annotations say that can't be followed

    def says(self, name: str) -> bool:
        """Whether the Ingress itself has an annotation."""
        return self.prefix + name in self.ingress.annotations

    @property
    def origin(self) -> str:
        """What the route comes from, in records."""
        return f"Ingress {self.ingress.namespace}/{self.ingress.name}"

    def route(self) -> RequestRoute:
        """The route as it is now."""
        return RequestRoute(
            self.match, self.backends, self.origin, tuple(self.filters), self.policy, self.canary
        )


def service_of(draft: RouteDraft) -> tuple[str, str]:
    """Name and port of the Service of a route; empty where it leads to none."""
    if not draft.backends:
        return "", ""
    _, name, port = draft.backends[0].upstream.split("/", 2)
    return name, port


def with_known(text: str, draft: RouteDraft) -> str:
    """A text with what is known of a route in the place of the variables that name it."""
    name, port = service_of(draft)
    known = {
        "ingress_name": draft.ingress.name,
        "namespace": draft.ingress.namespace,
        "proxy_upstream_name": draft.backends[0].upstream.replace("/", "-") if draft.backends else "",
        "service_name": name,
        "service_port": port,
    }
    return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], match[0]), text)


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
