"""What Ingresses wish of the upstreams that they lead to, and which of them are canaries of others. Pure.

An upstream is one for all Ingresses that lead to a port of a Service, and the oldest of them decides about it, as in
ingress-nginx (`createUpstreams`); a cookie of affinity is what the oldest wants that wants one at all. A canary has no
routes of its own: what it would take is shared with it by the route of the same host, path and type of path that is no
canary's (`mergeAlternativeBackends`). Of several canaries of a route the first counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.plan.l7.annotations import read
from emulab.plan.l7.annotations.balancing import AFFINITY, BALANCING, CANARY
from emulab.plan.l7.annotations.table import Wishes
from emulab.plan.l7.upstreams import backend_name
from emulab.servers.l7.config import (
    Balance,
    Canary,
    CookieAffinity,
    HashBy,
    InTurn,
    Match,
    PeakEwma,
)

SUBSET = 3
"""Endpoints in a subset, where nobody says it."""


class UpstreamWish(NamedTuple):
    """What is wished of one upstream; None: nothing."""

    balance: Balance | None = None
    service: bool | None = None  # whether it is asked by the Service's address
    canary_behavior: str = "sticky"


NOTHING_WISHED = UpstreamWish()


class Orphan(NamedTuple):
    """A path of a canary that there is nothing to be a canary of."""

    ingress: Ingress
    host: str
    path: str
    why: str


class IngressWishes:
    """Those of all Ingresses that a controller serves."""

    def __init__(self, ingresses: Sequence[Ingress], prefix: str, defaults: Mapping[str, Any]) -> None:
        """`ingresses`: the oldest first. `prefix`: of annotations. `defaults`: see `configmap.of_upstreams`."""
        self.default = _wish(defaults, {})
        self._of: dict[str, UpstreamWish] = {}
        self._canaries: dict[Match, Canary] = {}
        self.mains: list[Ingress] = []
        self.orphans: list[Orphan] = []
        canaries: list[tuple[Ingress, Wishes]] = []
        for one in ingresses:
            said = read(CANARY, one.annotations, prefix)
            if said.get("canary"):
                canaries.append((one, said))
            else:
                self.mains.append(one)
            self._note(one, read(BALANCING, one.annotations, prefix), prefix)
        if canaries:
            self._pair(canaries)

    def _note(self, ingress: Ingress, balancing: Wishes, prefix: str) -> None:
        wish = _wish(balancing, read(AFFINITY, ingress.annotations, prefix))
        for backend in _backends(ingress):
            name = backend_name(ingress.namespace, backend)
            known = self._of.get(name)
            if known is None:
                self._of[name] = wish
            elif isinstance(wish.balance, CookieAffinity) and not isinstance(known.balance, CookieAffinity):
                self._of[name] = known._replace(balance=wish.balance)

    def _pair(self, canaries: list[tuple[Ingress, Wishes]]) -> None:
        places: dict[Match, str] = {}
        for one in self.mains:
            for match, backend in _places(one):
                places.setdefault(match, backend_name(one.namespace, backend))
        for ingress, said in canaries:
            for match, backend in _places(ingress):
                name, primary = backend_name(ingress.namespace, backend), places.get(match)
                if primary is None:
                    why = "no Ingress that is no canary has this host and path"
                elif name == primary:
                    why = f"Service {backend.service} gets these requests already"
                elif match in self._canaries:
                    why = "another canary takes a part of these requests, and one is all there may be"
                else:
                    self._canaries[match] = _canary(name, said)
                    self._share_affinity(name, primary)
                    continue
                self.orphans.append(Orphan(ingress, match.host, match.path, why))

    def _share_affinity(self, canary: str, primary: str) -> None:
        """A client of the canary stays with it as one of the other upstream does with that."""
        own, affinity = self.of(canary), self.of(primary).balance
        if own.canary_behavior != "legacy" and (
            isinstance(affinity, CookieAffinity) or isinstance(own.balance, CookieAffinity)
        ):
            self._of[canary] = own._replace(balance=affinity)

    def of(self, name: str) -> UpstreamWish:
        """What is wished of an upstream."""
        return self._of.get(name, NOTHING_WISHED)

    def canary(self, match: Match) -> Canary | None:
        """The canary of a route."""
        return self._canaries.get(match)

    @property
    def canaries(self) -> list[Canary]:
        """All of them."""
        return list(self._canaries.values())


def _backends(ingress: Ingress) -> Iterator[Backend]:
    for rule in ingress.rules:
        for path in rule.paths:
            yield path.backend
    if ingress.default_backend is not None:
        yield ingress.default_backend


def _places(ingress: Ingress) -> Iterator[tuple[Match, Backend]]:
    """What an Ingress' paths take. Its default backend takes what is left of its hosts, or of all."""
    for rule in ingress.rules:
        for path in rule.paths:
            yield Match(rule.host, path.path, path.path_type), path.backend
    if ingress.default_backend is not None:
        for host in dict.fromkeys(rule.host for rule in ingress.rules) or ("",):
            yield Match(host, "/", "Prefix"), ingress.default_backend


def _wish(balancing: Wishes, affinity: Wishes) -> UpstreamWish:
    return UpstreamWish(
        _balance(balancing, affinity),
        balancing.get("service"),
        str(affinity.get("canary_behavior") or "sticky"),
    )


_OF_COOKIES = frozenset(
    {"change_on_failure", "cookie", "domain", "expires", "max_age", "path", "same_site", "secure"}
    | {"unless_incompatible"}
)


_ALGORITHMS: Mapping[str, Balance] = {"ewma": PeakEwma(), "round_robin": InTurn()}


def _balance(balancing: Wishes, affinity: Wishes) -> Balance | None:
    """A cookie counts before a key, and a key before an algorithm, as in balancer.lua (`get_implementation`)."""
    if affinity.get("affinity"):
        cookie = {field: value for field, value in affinity.items() if field in _OF_COOKIES}
        return CookieAffinity(persistent=affinity.get("mode") == "persistent", **cookie)
    if key := balancing.get("hash_by"):
        size = balancing.get("hash_size", SUBSET) if balancing.get("hash_subset") else 0
        return HashBy(str(key), size)
    return _ALGORITHMS.get(str(balancing.get("load_balance")))


def _canary(name: str, said: Wishes) -> Canary:
    return Canary(name, **{field: value for field, value in said.items() if field != "canary"})
