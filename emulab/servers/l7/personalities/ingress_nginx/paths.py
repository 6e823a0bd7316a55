"""In which order the paths of a host are looked at: what ingress-nginx makes of Kubernetes' path types. Pure.

* An exact path wins, then the longest prefix. A `Prefix` path compares whole path elements and its
  trailing slash means nothing; between `Exact` and `Prefix` of one path `Exact` wins.
* `ImplementationSpecific` is an ordinary nginx `location`: a prefix of characters, `/foo` takes `/foobar`.
* Of two rules with the same host, type and path and without conditions the first one stays, as in ingress-nginx.
* Paths are compared as nginx normalises them (`targets.normalise_path`).
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.servers.l7.engine.routes import Paths, Rule


def locations(rules: Sequence[Rule]) -> Paths:
    """The rules of one host, in the order in which nginx would look at its locations."""
    exact: dict[bytes, list[Rule]] = {}
    literal: dict[bytes, list[Rule]] = {}
    bases: dict[bytes, list[Rule]] = {}
    places = {"Exact": exact, "Prefix": bases, "ImplementationSpecific": literal}
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
    prefixes = sorted(found.items(), key=lambda item: -len(item[0]))

    def paths(path: bytes) -> list[Rule]:
        taking = list(exact.get(path, ()))
        for prefix, below in prefixes:
            if path.startswith(prefix):
                taking += below
        return taking

    return paths


def _conditions(rule: Rule) -> tuple[bool, int, int]:
    conditions = rule.conditions
    return (False, 0, 0) if conditions is None else (True, *conditions.number)
