"""What is asked from where, as users write it: `[SOURCE=]URL|HOST:PORT[/udp]`. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from emulab.errors import UserError
from emulab.kinds.kind import PLACE, WORKLOAD
from emulab.kinds.registry import KINDS, POD
from emulab.model.collection import Objects
from emulab.observe.target import RequestTarget, parse

CLIENT = "client"
_SOURCED = re.compile(r"((?:[a-z]+/)?[A-Za-z0-9][A-Za-z0-9._-]*)=(.*)", re.DOTALL)


class Ask(NamedTuple):
    """One request. `what` says what of a Service it tries; "" for one that was given."""

    source: str  # a place, pod/NAME, deploy/NAME
    namespace: str  # of a pod or workload
    text: str  # the target as it was written
    target: RequestTarget
    what: str = ""

    def __str__(self) -> str:
        return f"{self.source}={self.text}"


def ask(text: str, namespace: str = "default", what: str = "") -> Ask:
    """The request that a text means. Raises UserError."""
    source, target = _split(text)
    return Ask(source, namespace, target, parse(target), what)


def _split(text: str) -> tuple[str, str]:
    """Source and target. A `=` in a URL is none of ours: its path comes before, or its scheme."""
    match = _SOURCED.fullmatch(text)
    if match is None:
        if text.startswith("="):
            raise UserError(f"{text!r}: a source is missing; write SOURCE=TARGET, or the target alone")
        return CLIENT, text
    kind, slash, _ = match[1].partition("/")
    return (CLIENT, text) if slash and not _has_pods(kind) else (match[1], match[2])


def _has_pods(word: str) -> bool:
    """Whether the word is a name of a kind that a source may be of."""
    kind = KINDS.named(word)
    return kind is not None and (kind == POD or WORKLOAD in kind.categories)


def missing_source(ask: Ask, objects: Objects) -> str:
    """Why a lab with these objects has no such source; "" if it may have one."""
    word, slash, name = ask.source.partition("/")
    if slash:
        if KINDS.named(word) == POD and objects.get(POD.key(ask.namespace, name)) is None:
            return f"there is no pod {name} in namespace {ask.namespace}"
        return ""
    places = [o.name for kind in reversed(KINDS.of(PLACE)) for o in objects.kind(kind)]
    places += [place for place in ("dns", "resolver", "router") if place not in places]
    pods = {f"{p.namespace}.{p.name}" for p in objects.kind(POD)}
    namesakes = objects.get(POD.key(ask.namespace, ask.source))
    if ask.source in places or ask.source in pods or ask.source.startswith("lb-") or namesakes:
        return ""
    return f"there is no place {ask.source}; there are {', '.join(places)}, and pod/NAME"
