"""In which order the paths of a host are looked at: what ingress-nginx makes of Kubernetes' path types. Pure.

* An exact path wins, then the longest prefix. A `Prefix` path compares whole path elements and its
  trailing slash means nothing; between `Exact` and `Prefix` of one path `Exact` wins.
* A regular expression comes after an exact path and before every prefix, the longest one first, of several the first,
  and takes from the beginning of the path as far as it does, whatever the case: nginx's `~* "^EXPRESSION"`
  (`use-regex`), where the `^` is that of the first alternative alone.
* `ImplementationSpecific` is an ordinary nginx `location`: a prefix of characters, `/foo` takes `/foobar`. No Ingress
  comes to that, as ingress-nginx takes one of this type for a `Prefix`.
* Of two routes with the same host, type and path and without conditions the first one stays, as in ingress-nginx.
* Paths are compared as nginx normalises them (`targets.normalise_path`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import REGULAR_EXPRESSION
from emulab.servers.l7.config.patterns import as_python
from emulab.servers.l7.engine.conditions import pattern
from emulab.servers.l7.engine.routes import Paths, ReadyRoute


def locations(rules: Sequence[ReadyRoute]) -> Paths:
    """The routes of one host, in the order in which nginx would look at its locations."""
    exact: dict[bytes, list[ReadyRoute]] = {}
    literal: dict[bytes, list[ReadyRoute]] = {}
    bases: dict[bytes, list[ReadyRoute]] = {}
    regular: dict[bytes, list[ReadyRoute]] = {}
    places = {"Exact": exact, "Prefix": bases, "ImplementationSpecific": literal, REGULAR_EXPRESSION: regular}
    for rule in sorted(rules, key=_conditions, reverse=True):  # stable: otherwise the first one first
        match = rule.route.match
        path = (match.path or "/").encode()
        if match.path_type not in places:
            raise ValueError(f"unknown path type {match.path_type!r} in {rule.route.origin or match.path}")
        key = path.rstrip(b"/") if match.path_type == "Prefix" else path
        places[match.path_type].setdefault(key, []).append(rule)
    # A Prefix path is two locations: itself exactly, and everything below its slash.
    found = dict(literal)
    for base, below in bases.items():
        exact[base] = exact.get(base, []) + below
        found[base + b"/"] = below + found.get(base + b"/", [])
    # Lengths are few, even where prefixes are many. What a path is shorter than, it has no beginning of.
    lengths = sorted({len(prefix) for prefix in found}, reverse=True)
    expressions = [(_expression(path, taken), taken) for path, taken in _longest_first(regular)]

    def paths(path: bytes) -> list[ReadyRoute]:
        taking = list(exact.get(path, ()))
        for expression, taken in expressions:
            if expression.search(path):
                taking += taken
        for length in lengths:
            if length <= len(path) and (below := found.get(path[:length])):
                taking += below
        return taking

    return paths


def _longest_first(places: dict[bytes, list[ReadyRoute]]) -> list[tuple[bytes, list[ReadyRoute]]]:
    return sorted(places.items(), key=lambda item: -len(item[0]))


def _expression(path: bytes, rules: Sequence[ReadyRoute]) -> re.Pattern[bytes]:
    try:
        return pattern(as_python(b"^" + path), re.IGNORECASE)
    except BadConfiguration as wrong:
        raise BadConfiguration(
            f"config.routes: the path of {rules[0].route.origin or 'a route'}: {wrong}"
        ) from None


def _conditions(rule: ReadyRoute) -> tuple[bool, int, int]:
    conditions = rule.conditions
    return (False, 0, 0) if conditions is None else (True, *conditions.number)
