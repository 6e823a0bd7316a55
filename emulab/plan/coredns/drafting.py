"""A server block of a Corefile under way, and what its plug-ins' words are read by. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from typing import Any, NamedTuple

from emulab.dataclass import dataclass, field
from emulab.errors import UserError
from emulab.model.selectortext import Requirement, label_requirements
from emulab.plan.coredns.lines import CorefileError, is_number
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import CacheLimits

Requirements = tuple[Requirement, ...]
_NOT_IN_OBJECTS = ("!=", "<", ">")
"""What kubectl's selectors have, and those of objects haven't, which a Corefile's become (`ParseToLabelSelector`)."""
ROOT = (".",)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "ms": 0.001, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|s|m|h)")


class ChosenNames(NamedTuple):
    """Of which objects there are names: Services, EndpointSlices and Pods (of `pods verified`) with these `labels`, in
    `namespaces` with those, or no endpoints at all."""

    labels: Requirements = ()
    namespaces: Requirements = ()
    endpoints: bool = True


@dataclass(slots=True)
class BlockDraft:
    """A server block under way. `files` are the texts beside the Corefile, by name; `default` is what resolv.conf of
    the pods names."""

    zones: tuple[str, ...]
    files: Mapping[str, str]
    default: str
    warnings: list[tuple[int, str]] = field(default_factory=list)
    block: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)
    cluster_line: int = 0  # of kubernetes
    limits: CacheLimits | None = None
    verified: bool = False
    pod_names: bool = False
    chosen: ChosenNames = ChosenNames()
    autopath: int = 0  # the line of one that goes by Pods
    own_names: tuple[str, ...] = ()  # the zones of kubernetes
    pages: dict[str, str] = field(default_factory=dict)
    lameduck: float = 0.0  # seconds
    uncached: list[Directive] = field(default_factory=list)  # what `cache` is told to leave out

    def warn(self, line: int, text: str) -> None:
        self.warnings.append((line, text))


def absolute(name: str) -> str:
    """A zone or a name in lower case and with its last dot."""
    return name.lower().rstrip(".") + "."


def sayable(name: str) -> bool:
    """Whether a name with its last dot can be asked for."""
    plain = name.isascii() and name.isprintable() and "\\" not in name
    return name == "." or (
        plain and len(name) <= 254 and all(0 < len(part) < 64 for part in name[:-1].split("."))
    )


def zones_of(told: Directive, words: Iterable[str]) -> tuple[str, ...]:
    """Raises CorefileError."""
    return tuple(zone for word in words for zone in zones_from(told.line, word, f"{told.name}: "))


def zones_from(line: int, word: str, who: str = "") -> tuple[str, ...]:
    """The zones that a word names: one, or those of a network's reverse names (plugin/normalize.go).

    Raises CorefileError.
    """
    zone = absolute(word)
    if "/" not in word:
        if not sayable(zone):
            raise CorefileError(line, f"{who}{word!r} is no DNS zone")
        return (zone,)
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        raise CorefileError(line, f"{who}{word!r} is neither a DNS zone nor a network") from None
    step = 8 if network.version == 4 else 4  # what a label of a reverse name is for
    labels = max(-(-network.prefixlen // step), 1)
    parts = network.subnets(new_prefix=labels * step) if network.prefixlen % step else (network,)
    total = network.max_prefixlen // step
    return tuple(
        ".".join(f"{part.network_address.reverse_pointer}.".split(".")[total - labels :]) for part in parts
    )


def checked(told: Directive, check: Callable[[str], object], *texts: str) -> None:
    """Raises CorefileError for a text that `check` has a ValueError for."""
    for text in texts:
        try:
            check(text)
        except ValueError as error:
            raise CorefileError(told.line, f"{told.name}: {error}") from None


def duration(told: Directive, text: str) -> float:
    """Seconds of a duration as Go writes it. Raises CorefileError."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise CorefileError(told.line, f"{told.name}: {text!r} is no duration, such as 30s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def number(told: Directive, text: str) -> int:
    """Raises CorefileError."""
    if not is_number(text) or len(text) > 9:
        raise CorefileError(told.line, f"{told.name}: {text!r} is no number")
    return int(text)


def chosen(before: ChosenNames, option: Directive) -> ChosenNames:
    """With what an option of kubernetes leaves out: by a label selector as kubectl takes it. Raises CorefileError."""
    if option.name == "noendpoints":
        return before._replace(endpoints=False)
    text = " ".join(option.words)
    if sign := next((one for one in _NOT_IN_OBJECTS if one in text), ""):
        raise CorefileError(
            option.line, f"{option.name}: {sign} is no operator here; =, in, notin, a key and !key are"
        )
    try:
        wanted = label_requirements(text)
    except UserError as error:
        raise CorefileError(option.line, f"{option.name}: {error}") from None
    return before._replace(labels=wanted) if option.name == "labels" else before._replace(namespaces=wanted)


def through(option: Directive) -> tuple[str, ...]:
    return zones_of(option, option.words) or ROOT


def unfollowed(draft: BlockDraft, plugin: str, option: Directive) -> None:
    draft.warn(option.line, f"{plugin}: {option.name} is not followed")
