"""Resolvers: caching name servers beside the lab's own one, so that two regions may know different things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.networks import network
from emulab.kinds.images import DNS_ENGINES
from emulab.kinds.kind import Kind
from emulab.kinds.registry import RESOLVER
from emulab.model.checks import Problems, boolean, dns_label, integer, ip, mapping, one_of, sequence, wrong

if TYPE_CHECKING:
    from emulab.model.objects import Object

OWN_RESOLVER = "resolver"
"""The place that every lab has; a Resolver of that name says how it resolves, not where it is."""

REDEFINED: Mapping[str, Kind] = {OWN_RESOLVER: RESOLVER}

DEFAULT_MAX_TTL, DEFAULT_NEGATIVE_TTL = 3600, 30


class Resolver(NamedTuple):
    name: str
    network: str  # internet | vpc
    forward: tuple[str, ...]  # addresses of name servers; none: the lab's `dns`
    max_ttl: int
    min_ttl: int
    negative_ttl: int
    serve_stale: int
    mixed_case: bool
    engine: str

    @staticmethod
    def of(o: Object) -> Resolver:
        spec = o.spec
        return Resolver(
            o.name,
            spec.get("network") or "internet",
            tuple(spec.get("forward") or ()),
            _number(spec, "maxTTL", DEFAULT_MAX_TTL),
            _number(spec, "minTTL", 0),
            _number(spec, "negativeTTL", DEFAULT_NEGATIVE_TTL),
            _number(spec, "serveStale", 0),
            bool(spec.get("mixedCase")),
            spec.get("engine") or "builtin",
        )


def _number(spec: Raw, field: str, default: int) -> int:
    value = spec.get(field)
    return default if value is None else int(value)


_seconds = integer(0, (1 << 31) - 1, "a number of seconds")


def _bounds_agree(spec: dict[str, Any]) -> Problems:
    least, most = spec.get("minTTL") or 0, spec.get("maxTTL")
    if least > (DEFAULT_MAX_TTL if most is None else most):
        return wrong(f"{least} is more than maxTTL", "minTTL")
    return ()


resolver_spec = mapping(
    {
        "network": network,
        "forward": sequence(ip),
        "maxTTL": _seconds,
        "minTTL": _seconds,
        "negativeTTL": _seconds,
        "serveStale": _seconds,
        "mixedCase": boolean,
        "engine": one_of(*DNS_ENGINES),
    },
    rules=(_bounds_agree,),
    closed=True,
)


def _outdated(old: Object, new: Object) -> tuple[str, ...]:
    return ("address", "addresses") if old.spec.get("network") != new.spec.get("network") else ()


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    shown = [
        cells.name(o),
        str(spec.get("network") or "internet"),
        str(cells.status(o).get("address") or "<pending>"),
        str(_number(spec, "maxTTL", DEFAULT_MAX_TTL)),
        cells.age(o, now),
    ]
    return shown, [",".join(map(str, spec.get("forward") or ["dns"]))]


DEFINITION = Definition(
    check=whole(RESOLVER, dns_label, resolver_spec, optional_spec=True),
    outdated=_outdated,
    columns=Columns(("NAME", "NETWORK", "ADDRESS", "MAXTTL", "AGE"), ("FORWARD",), _cells),
)
