"""What Ingresses wish of the upstreams that they lead to, and which of them are canaries of others. Pure.

An upstream is one for all Ingresses that lead to a port of a Service, and the oldest of them decides about it, unless
one has it as its default backend, of which the newest decides (`createUpstreams` of ingress-nginx). Cookies of affinity
are a matter of paths alone, not of default backends: of the Ingresses that want one the newest says what it is, and the
oldest that has an affinity-mode which (`getBackendServers`).

A canary has no routes of its own. The upstream to which the route of the same host, path and type of path leads that is
no canary's shares with it (`mergeAlternativeBackends`), and by all of its routes: in ingress-nginx an alternative is an
upstream's. A canary's default backend shares with all that has no host. Of several canaries of an upstream the first
counts, and of several Ingresses with one canary's Service the oldest says how much it gets. Whether an upstream is a
canary's is what the Ingress says that decides about it: where that is no canary, the canary gets nothing, and where it
is one, paths of other Ingresses don't lead there (`NoServer`). A canary of which a path is nobody's else, though its
host is somebody's, is dropped with all that it would share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from emulab.kinds.networking.ingressview import Backend, Ingress, IngressPath, IngressRule
from emulab.kinds.networking.servernames import ServerName, catch_all, server_names
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


NOTHING_WISHED = UpstreamWish()


class Unshared(NamedTuple):
    """What an Ingress says that isn't done, or that is done though it doesn't say it."""

    ingress: Ingress
    what: str


class IngressWishes:
    """Those of all Ingresses that a controller serves."""

    def __init__(self, ingresses: Sequence[Ingress], prefix: str, defaults: Mapping[str, Any]) -> None:
        """`ingresses`: the oldest first. `prefix`: of annotations. `defaults`: see `configmap.of_upstreams`."""
        self.default = _wish(defaults)
        self._of: dict[str, UpstreamWish] = {}
        self._affinities: dict[str, CookieAffinity] = {}
        self._canaries: dict[str, Canary] = {}  # by the upstream that shares with it
        self._makers: dict[str, Ingress] = {}  # who decides about an upstream
        self._parts: set[str] = set()  # upstreams that are canaries'
        self._dropped: dict[str, Unshared] = {}  # those of them that get nothing, by whom
        self.unshared: list[Unshared] = []
        canaries: list[tuple[Ingress, Wishes]] = []
        mains: list[Ingress] = []
        for one in ingresses:
            said = read(CANARY, one.annotations, prefix)
            if said.get("canary"):
                canaries.append((one, said))
            else:
                mains.append(one)
            self._make(one, _wish(read(BALANCING, one.annotations, prefix)), bool(said.get("canary")))
        self._bind(ingresses, prefix)
        everything = catch_all(mains)
        self.mains = [self._as_served(one, everything) for one in mains]
        if canaries:
            self._pair(canaries, prefix)

    def _make(self, ingress: Ingress, wish: UpstreamWish, is_canary: bool) -> None:
        """Notes what an Ingress decides: about its default backend, and about what nobody has decided."""
        names = [backend_name(ingress.namespace, path.backend) for _, path in _paths(ingress)]
        decided = [name for name in names if name not in self._makers]
        if ingress.default_backend is not None:
            decided.append(backend_name(ingress.namespace, ingress.default_backend))
        for name in decided:
            self._makers[name], self._of[name] = ingress, wish
            (self._parts.add if is_canary else self._parts.discard)(name)

    def _bind(self, ingresses: Sequence[Ingress], prefix: str) -> None:
        """Notes the cookies of affinity."""
        modes: dict[str, bool] = {}  # whether cookies of an upstream are persistent
        for one in ingresses:
            affinity = read(AFFINITY, one.annotations, prefix)
            if not affinity:
                continue
            for _, path in _paths(one):
                name = backend_name(one.namespace, path.backend)
                if self.is_part(name):
                    continue
                if "mode" in affinity:
                    modes.setdefault(name, affinity["mode"] == "persistent")
                cookie = _cookie(affinity) or self._affinities.get(name)
                if cookie is not None:
                    self._affinities[name] = replace(cookie, persistent=modes.get(name, False))

    def _as_served(self, ingress: Ingress, everything: Ingress | None) -> Ingress:
        """An Ingress without the paths that ingress-nginx has no place for."""
        lost: list[tuple[IngressRule, IngressPath]] = []
        for rule, path in _paths(ingress):
            name = backend_name(ingress.namespace, path.backend)
            if self.is_part(name):
                why = f"Ingress {self._makers[name].full_name}, which is older, has its Service as a canary"
            elif everything is not None and not rule.host and path.takes_all:
                why = f"Ingress {everything.full_name} has a defaultBackend and no rules, and takes all of it"
            else:
                continue
            lost.append((rule, path))
            self.unshared.append(Unshared(ingress, f"{_shown(_place(rule, path))} isn't served: {why}"))
        if not lost:
            return ingress
        rules = (
            replace(rule, paths=tuple(path for path in rule.paths if (rule, path) not in lost))
            for rule in ingress.rules
        )
        return replace(ingress, rules=tuple(rules))

    def _pair(self, canaries: list[tuple[Ingress, Wishes]], prefix: str) -> None:
        names = server_names(self.mains, lambda *_: None)
        places = _places(names, catch_all(self.mains))
        parts: dict[str, tuple[Ingress, Canary]] = {}
        for ingress, said in canaries:
            legacy = read(AFFINITY, ingress.annotations, prefix).get("canary_behavior") == "legacy"
            for match, backend in _wanted(ingress, places):
                name, primary = backend_name(ingress.namespace, backend), places.get(match)
                first, part = parts.setdefault(name, (ingress, _canary(name, said)))
                place = _shown(match)
                if primary is None:
                    why = "no Ingress that is no canary has this host and path"
                    if self.is_part(name) and (match.host in names or not match.host):
                        self._dropped.setdefault(name, Unshared(ingress, place))
                elif name == primary:
                    why = f"Service {backend.service} gets these requests already"
                elif not self.is_part(name):
                    maker = self._makers[name].full_name
                    why = f"Ingress {maker}, which is older, leads to Service {backend.service} and is no canary"
                elif self._canaries.setdefault(primary, part) is not part:
                    why = "another canary takes a part of these requests, and one is all there may be"
                else:
                    if not legacy:
                        self._share_affinity(name, primary)
                    if first is not ingress and part != _canary(name, said):
                        by = f"as Ingress {first.full_name} says, whose canary this Service is, too"
                        self.unshared.append(Unshared(ingress, f"shares what {place} gets {by}"))
                    continue
                self.unshared.append(Unshared(ingress, f"nothing of {place} goes to this canary: {why}"))
        for ingress, _ in canaries:
            self._tell_others(ingress, places)

    def _tell_others(self, ingress: Ingress, places: Mapping[Match, str]) -> None:
        """Which other paths a canary shares, as their Service is behind them, too, or why it shares none."""
        own: dict[Match, str] = {}
        for match, backend in _wanted(ingress, places):
            part, primary = backend_name(ingress.namespace, backend), places.get(match, "")
            shared = self._canaries.get(primary)
            if shared is None or shared.upstream != part:
                continue
            if (dropped := self._dropped.get(part)) is not None:
                why = f"{dropped.what} of Ingress {dropped.ingress.full_name} is no canary of anything, for which"
                what = f"{why} ingress-nginx drops Service {backend.service} as a canary"
                self.unshared.append(
                    Unshared(ingress, f"nothing of {_shown(match)} goes to this canary: {what}")
                )
                continue
            own[match] = primary
        more = [match for match, name in places.items() if match not in own and name in own.values()]
        if more:
            place = _shown(more[0])
            number = f" (and {len(more) - 1} more)" if len(more) > 1 else ""
            why = "whose requests the same Service gets: ingress-nginx has canaries of Services, not of paths"
            self.unshared.append(Unshared(ingress, f"takes its part of {place}{number}, too, {why}"))

    def _share_affinity(self, canary: str, primary: str) -> None:
        """A client of the canary stays with it as one of the other upstream does with that."""
        if primary in self._affinities:
            self._affinities[canary] = self._affinities[primary]
        else:
            self._affinities.pop(canary, None)

    def of(self, name: str) -> UpstreamWish:
        """What is wished of an upstream. A cookie counts before a key, and a key before an algorithm, as in
        balancer.lua (`get_implementation`)."""
        wish, cookie = self._of.get(name, NOTHING_WISHED), self._affinities.get(name)
        return wish if cookie is None else wish._replace(balance=cookie)

    def is_part(self, upstream: str) -> bool:
        """Whether an upstream is a canary's, to which nothing else leads."""
        return upstream in self._parts

    def canary(self, upstream: str) -> Canary | None:
        """The canary that shares what an upstream gets."""
        found = self._canaries.get(upstream)
        return found if found is not None and found.upstream not in self._dropped else None


def _paths(ingress: Ingress) -> Iterator[tuple[IngressRule, IngressPath]]:
    """Those that lead to a Service."""
    for rule in ingress.rules:
        for path in rule.paths:
            if path.backend.service:
                yield rule, path


def _place(rule: IngressRule, path: IngressPath) -> Match:
    return Match(rule.host, path.path, path.taken_as)


def _shown(match: Match) -> str:
    return f"{match.host or '*'}{match.path}"


_EVERYTHING = Match("", "/", "Prefix")


def _places(names: Mapping[str, ServerName], everything: Ingress | None) -> dict[Match, str]:
    """The upstreams behind all that is served."""
    found: dict[Match, str] = {}
    for name in names.values():
        for by, path in name.paths:
            found[Match(name.host, path.path, path.taken_as)] = backend_name(by.namespace, path.backend)
        if name.rest is not None:
            found[Match(name.host, "/", "Prefix")] = backend_name(name.first.namespace, name.rest)
    if everything is not None and everything.default_backend is not None:
        found[_EVERYTHING] = backend_name(everything.namespace, everything.default_backend)
    return found


def _wanted(ingress: Ingress, places: Mapping[Match, str]) -> Iterator[tuple[Match, Backend]]:
    """What a canary is to share: for its default backend all that has no host."""
    if ingress.default_backend is not None:
        for match in [match for match in places if not match.host] or [_EVERYTHING]:
            yield match, ingress.default_backend
    for rule, path in _paths(ingress):
        yield _place(rule, path), path.backend


def _wish(balancing: Wishes) -> UpstreamWish:
    return UpstreamWish(_balance(balancing), balancing.get("service"))


_OF_COOKIES = frozenset(
    {"change_on_failure", "cookie", "domain", "expires", "max_age", "path", "same_site", "secure"}
    | {"unless_incompatible"}
)


def _cookie(affinity: Wishes) -> CookieAffinity | None:
    """The cookie that is wished for; how it binds is another matter."""
    if not affinity.get("affinity"):
        return None
    return CookieAffinity(**{field: value for field, value in affinity.items() if field in _OF_COOKIES})


_ALGORITHMS: Mapping[str, Balance] = {"ewma": PeakEwma(), "round_robin": InTurn()}


def _balance(balancing: Wishes) -> Balance | None:
    """What is wished for but a cookie."""
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
