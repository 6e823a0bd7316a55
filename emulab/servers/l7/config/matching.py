"""Which requests a route takes."""

from __future__ import annotations

from emulab.dataclass import dataclass

EXACT, REGULAR_EXPRESSION = "Exact", "RegularExpression"


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """What a header field or a parameter of a query must be: it is of this value, or the expression takes all of it."""

    name: str
    value: str
    type: str = EXACT


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a route takes: those for which all of it holds. No host, methods, fields or parameters: any."""

    host: str = ""  # `*.foo.com` for exactly one label; an expression after `~`
    path: str = "/"
    path_type: str = "ImplementationSpecific"
    methods: tuple[str, ...] = ()
    headers: tuple[FieldMatch, ...] = ()
    query: tuple[FieldMatch, ...] = ()
