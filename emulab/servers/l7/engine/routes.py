"""Which route a request belongs to. Pure.

Rules:

* The host decides first: an exact one, then a wildcard (`*.foo.com` stands for exactly one label), then the first
  expression (after `~`) that is found in it, then the routes without a host. Once a host is found its paths alone are
  looked at; a request that none of them takes goes to the default backend, never to a less specific host.
* In which order the paths of a host are looked at is the personality's matter (`Locations`).
* Of the routes of one place that have conditions (method, header fields, query) those with most are asked first; the
  first without any takes the rest.
* The target that is passed on is never rewritten, but by a filter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from emulab.errors import PeerError
from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import (
    GRPC,
    GRPCS,
    Filter,
    Match,
    Policy,
    RequestRoute,
    Upstream,
    WeightedUpstream,
    as_python,
)
from emulab.servers.l7.engine.aside import ErrorUpstream, MirrorTarget, error_upstream, mirror_target
from emulab.servers.l7.engine.balance import Group, Shares
from emulab.servers.l7.engine.balance.canaries import CanaryChoice
from emulab.servers.l7.engine.conditions import Conditions, pattern
from emulab.servers.l7.engine.filters import Filters
from emulab.servers.l7.engine.filters.effect import Asked, Page
from emulab.servers.l7.engine.ways import ways_of
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.targets import normalise_host, normalise_path, without_port

VERSIONS = frozenset({"1.0", "1.1"})
MEMO_MAX, ASKED_MAX = 16384, 512
"""Answers that a table remembers; then it forgets all of them, which is simple and rare. Hosts and targets come from
strangers: those that are longer together aren't remembered."""
_POLICIES_MAX = 4096
_policies: dict[Policy, Policy] = {}
"""Policies of routes, each by itself (`_shared`); of so many all are forgotten."""


_numbers = count(1)  # of tables, by which heads know whose answer they remember

DEFAULT_BACKEND = "default backend"
"""The origin of the route of what no other takes."""


def _to_https(asked: Asked, policy: Policy) -> Page:
    """What plain HTTP is answered where the policy wants TLS: without a slash at the target's end, unless kept."""
    port = b":%d" % policy.redirect_port if policy.redirect_port else b""
    target = asked.target if policy.keep_slash else asked.target.removesuffix(b"/")
    location = b"https://%b%b%b" % (without_port(asked.host), port, target)
    return Page(policy.redirect_status, "the rule redirects to https", location)


def _shared(policy: Policy) -> Policy:
    """The one policy that all routes have whose policies are equal: what each request asks stays near the processor,
    be there ten thousand routes."""
    if len(_policies) >= _POLICIES_MAX:
        _policies.clear()
    return _policies.setdefault(policy, policy)


class ReadyRoute:
    """A route, ready to be followed."""

    __slots__ = (
        "_group",
        "_secure",
        "_shares",
        "by_turns",
        "canary",
        "conditions",
        "errors",
        "filtered",
        "filters",
        "gated",
        "host",
        "mirror",
        "old",
        "policy",
        "route",
        "sends_as_written",
        "straight",
        "told",
        "upstream",
        "ways",
    )

    # What every request asks for comes first and lies together: of ten thousand routes none is near the processor.
    policy: Policy
    sends_as_written: bool
    straight: (
        Group | None
    )  # whom requests go to at once, if only the route is to be asked, and they have no body

    def __init__(self, route: RequestRoute, groups: Mapping[str, Group]) -> None:
        """Raises `BadConfiguration`, which names the field of the route."""
        self.route: RequestRoute = route
        host = route.match.host
        self.host = host if host.startswith("~") else host.lower()  # an expression, or a name
        self.policy = policy = _shared(route.policy)
        if policy.http_version not in VERSIONS:
            raise BadConfiguration(f"policy.http_version: {policy.http_version!r} is neither 1.0 nor 1.1")
        self.old = policy.http_version == "1.0"
        if (
            self.old and not policy.request_buffer
        ):  # it has no chunks, so that a body's length has to be known
            self.policy = _shared(replace(policy, request_buffer=policy.body_max or sys.maxsize))
        if policy.reach.protocol in (GRPC, GRPCS) and policy.request_buffer:
            # Messages are answered before the last one has come.
            self.policy = _shared(replace(policy, request_buffer=0))
        self.ways = ways_of(route.policy.reach)
        self.conditions = Conditions(route.match) or None
        self.filters = Filters(route.filters, route.match) if route.filters else None
        self._secure = route.policy.ssl_redirect or route.policy.force_ssl_redirect
        self.sends_as_written = not self.old and (self.filters is None or not self.filters.changes_requests)
        self.gated = self.filters is not None and self.filters.gated
        self.errors: ErrorUpstream | None = error_upstream(route.filters, groups)
        self.mirror: MirrorTarget | None = mirror_target(route.filters)
        first = route.backends[0].upstream if route.backends else ""
        self.upstream = first  # in records of requests that came to none
        single = len(route.backends) == 1 and route.backends[0].weight > 0
        self._group = groups.get(first) if single else None
        self._shares = None if single else Shares(route.backends, groups)
        self.canary = _canary(route, groups)
        used = [groups[one.upstream] for one in route.backends if one.upstream in groups]
        # Whether it needs a `Turn` to find who gets a request.
        self.by_turns = self.canary is not None or not all(group.plain for group in used)
        self.filtered = self._secure or self.filters is not None or self.by_turns
        self.straight = None
        if not (self.filtered or self.mirror is not None or self._group is None) and self._group.servers:
            self.straight = self._group
        match = route.match
        self.told: dict[str, Any] = {
            "rule": route.origin,
            "rule_host": match.host,
            "rule_path": match.path,
            "rule_type": match.path_type,
        }

    def answer(self, asked: Asked) -> Page | None:
        """What is answered without an upstream, if anything is; `filtered` tells whether it is worth asking."""
        filters = self.filters
        if filters is not None and (early := filters.early_answer(asked)) is not None:
            return early
        if self._secure and asked.scheme == "http":
            return _to_https(asked, self.policy)
        return filters.answer(asked) if filters is not None else None

    def pick(self) -> Group | None:
        """The upstream that the next request goes to, if there is one."""
        return self._group if self._shares is None else self._shares.pick()


def _canary(route: RequestRoute, groups: Mapping[str, Group]) -> CanaryChoice | None:
    if route.canary is None:
        return None
    name = route.canary.upstream
    return CanaryChoice(route.canary, groups.get(name) or Group(name, Upstream()))


def default_route(
    upstream: str, groups: Mapping[str, Group], policy: Policy, filters: tuple[Filter, ...] = ()
) -> ReadyRoute:
    """The route of what no other takes."""
    match, backends = Match(path="", path_type=""), (WeightedUpstream(upstream),)
    return ReadyRoute(RequestRoute(match, backends, DEFAULT_BACKEND, filters, policy), groups)


NO_ROUTE = ReadyRoute(RequestRoute(Match(path="", path_type=""), ()), {})
"""Stands in records for the route of what no route took."""


Paths = Callable[[bytes], list[ReadyRoute]]
"""The routes of one host that take a path, the most specific first."""
Locations = Callable[[Sequence[ReadyRoute]], Paths]
"""How a personality reads the routes of one host. Raises `ValueError` for an unknown path type."""


class RouteTable:
    """All routes, ready to be asked. Answers are remembered by host and target, so asking again is cheap."""

    def __init__(
        self,
        rules: Iterable[ReadyRoute],
        default: ReadyRoute | None,
        locations: Locations,
        before: RouteTable | None = None,
    ) -> None:
        """Raises `ValueError` for an unknown path type. Hosts that have the routes that they had `before` stay as they
        are."""
        hosts: dict[str, list[ReadyRoute]] = {}
        for rule in rules:
            hosts.setdefault(rule.host, []).append(rule)
        self._rules, self._locations = hosts, locations
        known = before if before is not None and before._locations is locations else None
        self._hosts = {
            host: (known._paths(host, rules) if known is not None else None) or locations(rules)
            for host, rules in hosts.items()
        }
        self._expressions = [
            (pattern(as_python(host.lstrip("~").encode()), re.IGNORECASE), paths)
            for host, paths in self._hosts.items()
            if host.startswith("~")
        ]
        self.default = default
        # Heads remember the place of what was found for them here, so that it goes with this table, and its number.
        self._number = next(_numbers)
        self._found: list[ReadyRoute | None] = []
        self._certain: dict[tuple[bytes, bytes], ReadyRoute] = {}  # what depends on nothing but these
        self._memo: dict[tuple[bytes, bytes], tuple[ReadyRoute | None, ...]] = {}

    def changed(
        self, rules: Iterable[ReadyRoute], gone: Sequence[ReadyRoute], fresh: Sequence[ReadyRoute]
    ) -> RouteTable:
        """A table of these routes, in which some that follow each other have come in the place of others, none of them
        of a host that is an expression. Raises `ValueError` for an unknown path type."""
        table = RouteTable((), self.default, self._locations)
        table._rules, table._hosts, table._expressions = (
            dict(self._rules),
            dict(self._hosts),
            self._expressions,
        )
        for host, those in self._of_hosts(rules, gone, fresh).items():
            if those:
                table._rules[host], table._hosts[host] = those, self._locations(those)
            else:
                table._rules.pop(host, None)
                table._hosts.pop(host, None)
        return table

    def _of_hosts(
        self, rules: Iterable[ReadyRoute], gone: Sequence[ReadyRoute], fresh: Sequence[ReadyRoute]
    ) -> dict[str, list[ReadyRoute]]:
        """The routes of each host that has others now, in their order."""
        found: dict[str, list[ReadyRoute]] = {}
        unplaced: dict[str, list[ReadyRoute]] = {}
        for host in {rule.host for rule in (*gone, *fresh)}:
            before, new = self._rules.get(host, []), [rule for rule in fresh if rule.host == host]
            old = [rule for rule in gone if rule.host == host]
            if old:  # the new ones are where these were
                begin = before.index(old[0])
                found[host] = [*before[:begin], *new, *before[begin + len(old) :]]
            elif before:
                unplaced[host] = []
            else:
                found[host] = new
        if unplaced:
            for rule in rules:
                if rule.host in unplaced:
                    unplaced[rule.host].append(rule)
        return {**found, **unplaced}

    def names(self, host: str) -> bool:
        """Whether there are routes of this very host."""
        return host in self._rules

    def _paths(self, host: str, rules: list[ReadyRoute]) -> Paths | None:
        """The routes of a host, ready to be asked, if they are the very same ones."""
        return self._hosts[host] if self._rules.get(host) == rules else None

    def match(self, host: bytes, head: RequestHead) -> ReadyRoute | None:
        """The route for a request to this host, None if nothing takes it.

        `host` is what the head says, or what stands in for it in all heads that say none. A head that requests share
        remembers the answer. Raises `PeerError` when the host or the request's target are malformed.
        """
        if head.shared and head.table == self._number:
            return self._found[head.route]
        found = self._match(host, head)
        if head.shared:
            if len(self._found) >= MEMO_MAX:
                self._found.clear()
                self._number = next(_numbers)
            head.table, head.route = self._number, len(self._found)
            self._found.append(found)
        return found

    def _match(self, host: bytes, head: RequestHead) -> ReadyRoute | None:
        try:
            return self._certain[host, head.target]
        except KeyError:
            pass
        candidates = self._memo.get((host, head.target))
        if candidates is None:
            candidates = self._lookup(normalise_host(host), normalise_path(head.target))
            self._remember((host, head.target), candidates)
        for rule in candidates:
            if rule is None or rule.conditions is None or rule.conditions.hold(head):
                return rule
        return None

    def _remember(self, asked: tuple[bytes, bytes], candidates: tuple[ReadyRoute | None, ...]) -> None:
        if len(asked[0]) + len(asked[1]) > ASKED_MAX:
            return
        if len(self._memo) + len(self._certain) >= MEMO_MAX:
            self._memo.clear()
            self._certain.clear()
        first = candidates[0]
        if first is not None and first.conditions is None:
            self._certain[asked] = first
        else:
            self._memo[asked] = candidates

    def claims(self, host: bytes) -> bool:
        """Whether there are routes of this host, or of an expression that is for it."""
        try:
            return bool(host) and self._paths_of(normalise_host(host)) is not None
        except PeerError:
            return False

    def _paths_of(self, host: str) -> Paths | None:
        paths = self._hosts.get(host)
        if paths is None:
            label, dot, parent = host.partition(".")
            if label and dot:
                paths = self._hosts.get("*." + parent)
        if paths is None and self._expressions:
            name = host.encode("latin-1")
            paths = next((paths for one, paths in self._expressions if one.search(name) is not None), None)
        return paths

    def _lookup(self, host: str, path: bytes) -> tuple[ReadyRoute | None, ...]:
        """The routes that are to be asked, one after the other, for a host and a path that are normalised."""
        paths = self._paths_of(host) or self._hosts.get("")
        candidates: list[ReadyRoute | None] = []
        for rule in paths(path) if paths is not None else ():
            candidates.append(rule)
            if rule.conditions is None:
                return tuple(candidates)
        return (*candidates, self.default)
