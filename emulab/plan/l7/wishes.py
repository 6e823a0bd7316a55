"""What Ingresses wish of the upstreams that they lead to, and which of them are canaries of others. Pure.

An upstream is one for all Ingresses that lead to a port of a Service, and the oldest of them decides about it, as in
ingress-nginx (`createUpstreams`); but of those that want a cookie of affinity the newest says what it is, and the
oldest that has an affinity-mode which (`getBackendServers`).

A canary has no routes of its own. The upstream to which the route of the same host, path and type of path leads that is
no canary's shares with it (`mergeAlternativeBackends`), and by all of its routes: in ingress-nginx an alternative is an
upstream's. Of several canaries of an upstream the first counts, and of several Ingresses with one canary's Service the
oldest says how much it gets. Whether an upstream is a canary's is what the oldest Ingress says that leads to it: where
that is no canary, the canary gets nothing, and where it is one, paths of other Ingresses don't lead there (`NoServer`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.plan.l7.annotations import read
from emulab.plan.l7.annotations.balancing import AFFINITY, BALANCING, CANARY, wrong_pattern
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


class Unshared(NamedTuple):
    """What a canary shares that its Ingress doesn't say, or doesn't though it does."""

    ingress: Ingress
    what: str


class IngressWishes:
    """Those of all Ingresses that a controller serves."""

    def __init__(self, ingresses: Sequence[Ingress], prefix: str, defaults: Mapping[str, Any]) -> None:
        """`ingresses`: the oldest first. `prefix`: of annotations. `defaults`: see `configmap.of_upstreams`."""
        self.default = _wish(defaults, {})
        self._of: dict[str, UpstreamWish] = {}
        self._canaries: dict[str, Canary] = {}  # by the upstream that shares with it
        self._makers: dict[str, Ingress] = {}  # the oldest that leads to an upstream
        self._parts: set[str] = set()  # upstreams that are canaries'
        self._modes: dict[str, bool] = {}  # whether cookies of an upstream are persistent
        self.mains: list[Ingress] = []
        self.unshared: list[Unshared] = []
        canaries: list[tuple[Ingress, Wishes]] = []
        for one in ingresses:
            said = read(CANARY, one.annotations, prefix)
            if said.get("canary"):
                canaries.append((one, said))
            else:
                self.mains.append(one)
            for backend in _backends(one):
                if (name := backend_name(one.namespace, backend)) not in self._makers:
                    self._makers[name] = one
                    self._parts |= {name} if said.get("canary") else set()
            self._note(one, read(BALANCING, one.annotations, prefix), prefix)
        if canaries:
            self._pair(canaries)

    def _note(self, ingress: Ingress, balancing: Wishes, prefix: str) -> None:
        affinity = read(AFFINITY, ingress.annotations, prefix)
        wish = _wish(balancing, affinity)
        for backend in _backends(ingress):
            name = backend_name(ingress.namespace, backend)
            if "mode" in affinity:
                self._modes.setdefault(name, affinity["mode"] == "persistent")
            known = self._of.setdefault(name, wish)
            said = wish.balance if isinstance(wish.balance, CookieAffinity) else known.balance
            if isinstance(said, CookieAffinity):
                said = replace(said, persistent=self._modes.get(name, False))
            self._of[name] = known._replace(balance=said)

    def _pair(self, canaries: list[tuple[Ingress, Wishes]]) -> None:
        places: dict[Match, str] = {}
        parts: dict[str, tuple[Ingress, Canary]] = {}
        for one in self.mains:
            for match, backend in _places(one):
                if not self.is_part(name := backend_name(one.namespace, backend)):
                    places.setdefault(match, name)
                    continue
                why = f"Ingress {self._makers[name].full_name}, which is older, has its Service as a canary"
                self.unshared.append(Unshared(one, f"{_shown(match)} isn't served: {why}"))
        for ingress, said in canaries:
            for match, backend in _places(ingress):
                name, primary = backend_name(ingress.namespace, backend), places.get(match)
                first, part = parts.setdefault(name, (ingress, _canary(name, said)))
                place = _shown(match)
                if primary is None:
                    why = "no Ingress that is no canary has this host and path"
                elif name == primary:
                    why = f"Service {backend.service} gets these requests already"
                elif not self.is_part(name):
                    maker = self._makers[name].full_name
                    why = f"Ingress {maker}, which is older, leads to Service {backend.service} and is no canary"
                elif self._canaries.setdefault(primary, part) is not part:
                    why = "another canary takes a part of these requests, and one is all there may be"
                else:
                    self._share_affinity(name, primary)
                    if first is not ingress and part != _canary(name, said):
                        by = f"as Ingress {first.full_name} says, whose canary this Service is, too"
                        self.unshared.append(Unshared(ingress, f"shares what {place} gets {by}"))
                    continue
                self.unshared.append(Unshared(ingress, f"nothing of {place} goes to this canary: {why}"))
            self._tell_others(ingress, places)

    def _tell_others(self, ingress: Ingress, places: Mapping[Match, str]) -> None:
        """Which other paths a canary shares, as their Service is behind them, too."""
        own = {match: places[match] for match, _ in _places(ingress) if match in places}
        more = [match for match, name in places.items() if match not in own and name in own.values()]
        if more and any(name in self._canaries for name in own.values()):
            place = _shown(more[0])
            number = f" (and {len(more) - 1} more)" if len(more) > 1 else ""
            why = "whose requests the same Service gets: ingress-nginx has canaries of Services, not of paths"
            self.unshared.append(Unshared(ingress, f"takes its part of {place}{number}, too, {why}"))

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

    def is_part(self, upstream: str) -> bool:
        """Whether an upstream is a canary's, to which nothing else leads."""
        return upstream in self._parts

    def canary(self, upstream: str) -> Canary | None:
        """The canary that shares what an upstream gets."""
        return self._canaries.get(upstream)


def _backends(ingress: Ingress) -> Iterator[Backend]:
    for rule in ingress.rules:
        for path in rule.paths:
            yield path.backend
    if ingress.default_backend is not None:
        yield ingress.default_backend


def _shown(match: Match) -> str:
    return f"{match.host or '*'}{match.path}"


def _places(ingress: Ingress) -> Iterator[tuple[Match, Backend]]:
    """What an Ingress' paths take. Its default backend takes what is left of its hosts, or of all."""
    for rule in ingress.rules:
        for path in rule.paths:
            if path.backend.service:
                yield Match(rule.host, path.path, path.taken_as), path.backend
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


_NOTHING = "(?!)"
"""What takes no text, as an expression does that is none."""


def _canary(name: str, said: Wishes) -> Canary:
    wished = {field: value for field, value in said.items() if field != "canary"}
    if wrong_pattern(wished.get("header_pattern", "")):
        wished["header_pattern"] = _NOTHING
    return Canary(name, **wished)
