"""Which rule a request belongs to. Pure.

Rules, from the Kubernetes Ingress documentation and from what ingress-nginx makes of them:

* The host decides first: an exact one, then a wildcard (`*.foo.com` stands for exactly one label), then
  the rules without a host. Once a host is found its paths alone are looked at; a request that none of
  them takes goes to the default backend, never to a less specific host.
* An exact path wins, then the longest prefix. A `Prefix` path compares whole path elements and its
  trailing slash means nothing; between `Exact` and `Prefix` of one path `Exact` wins.
* `ImplementationSpecific` is an ordinary nginx `location`: a prefix of characters, `/foo` takes `/foobar`.
* Of two rules with the same host, type and path the first one stays, as in ingress-nginx.
* Paths are compared as nginx normalises them (`normalise_path`); what is passed on is never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import PeerError

MEMO_MAX = 2048
"""Answers that a table remembers; then it forgets all of them, which is simple and rare."""

_ESCAPE = re.compile(rb"%(.{0,2})", re.DOTALL)
_HEX = re.compile(rb"[0-9A-Fa-f]{2}")
# As `ngx_http_validate_host` reads it: what follows the name or the brackets is no matter.
_HOST = re.compile(rb"(\[[^\x00-\x20/\x7f\]]*\]?|[^\x00-\x20/:\x7f\[][^\x00-\x20/:\x7f]*)[^\x00-\x20/\x7f]*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an Ingress: requests for `host` and `path` go to `upstream`."""

    host: str
    path: str
    path_type: str
    upstream: str
    origin: str = ""
    ssl_redirect: bool = False

    def told(self) -> dict[str, Any]:
        """The rule in records; the path as it was written."""
        return {
            "rule": self.origin,
            "rule_host": self.host,
            "rule_path": self.path,
            "rule_type": self.path_type,
        }


NO_RULE = Rule("", "", "", "")
"""Stands in records for the rule of what no rule took."""


def normalise_host(raw: bytes) -> str:
    """The name in a Host header: lower case, without port and trailing dot.

    Raises `PeerError` for what nginx answers with 400: empty, with spaces, slashes or two dots in a row.
    """
    match = _HOST.fullmatch(raw)
    if match is None or b".." in raw:
        raise PeerError("invalid host")
    name = match[1].decode("latin-1").lower().removesuffix(".")
    if not name:
        raise PeerError("invalid host")
    return name


def without_port(raw: bytes) -> bytes:
    """A Host header without its port, otherwise as it came."""
    match = _HOST.fullmatch(raw)
    return match[1] if match is not None else raw


def _unescape(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if _HEX.fullmatch(digits) is None or digits == b"00":
        raise PeerError("invalid percent-encoding in the path")
    return bytes.fromhex(digits.decode())


def normalise_path(target: bytes) -> bytes:
    """A request target as nginx compares it with locations (`$uri`).

    Query and fragment cut, percent-encoding decoded once, `//` merged, `.` and `..` resolved; `%2F`
    counts as a slash. Raises `PeerError` for what nginx answers with 400: a broken or zero escape and
    a `..` above the root.
    """
    path = target.partition(b"?")[0].partition(b"#")[0]
    if b"%" in path:
        path = _ESCAPE.sub(_unescape, path)
    if b"//" not in path and b"/." not in path:
        return path
    elements: list[bytes] = []
    parts = path.split(b"/")[1:]
    for part in parts:
        if part == b"..":
            if not elements:
                raise PeerError("the path leaves the root")
            elements.pop()
        elif part not in (b"", b"."):
            elements.append(part)
    if elements and parts[-1] in (b"", b".", b".."):
        elements.append(b"")
    return b"/" + b"/".join(elements)


@dataclass(slots=True)
class _Paths:
    """The rules of one host, in the order in which nginx would look at its locations."""

    exact: dict[bytes, Rule] = field(default_factory=dict)
    prefixes: list[tuple[bytes, Rule]] = field(default_factory=list)

    @classmethod
    def of(cls, rules: list[Rule]) -> _Paths:
        self = cls()
        literal: dict[bytes, Rule] = {}
        bases: dict[bytes, Rule] = {}
        for rule in rules:
            path = (rule.path or "/").encode()
            if rule.path_type == "Exact":
                self.exact.setdefault(path, rule)
            elif rule.path_type == "Prefix":
                bases.setdefault(path.rstrip(b"/"), rule)
            elif rule.path_type == "ImplementationSpecific":
                literal.setdefault(path, rule)
            else:
                raise ValueError(f"unknown path type {rule.path_type!r} in {rule.origin or rule.path}")
        # A Prefix path is two locations: itself exactly, and everything below its slash.
        found = dict(literal)
        for base, rule in bases.items():
            self.exact.setdefault(base, rule)
            found[base + b"/"] = rule
        self.prefixes = sorted(found.items(), key=lambda item: -len(item[0]))
        return self

    def match(self, path: bytes) -> Rule | None:
        rule = self.exact.get(path)
        if rule is not None:
            return rule
        for prefix, rule in self.prefixes:
            if path.startswith(prefix):
                return rule
        return None


class RouteTable:
    """All rules, ready to be asked. Answers are remembered by host and target, so asking again is cheap."""

    def __init__(self, rules: Iterable[Rule], default_upstream: str | None = None) -> None:
        """Raises `ValueError` for an unknown path type."""
        hosts: dict[str, list[Rule]] = {}
        for rule in rules:
            hosts.setdefault(rule.host.lower(), []).append(rule)
        self._hosts = {host: _Paths.of(rules) for host, rules in hosts.items()}
        self._default = Rule("", "", "", default_upstream, "default backend") if default_upstream else None
        self._memo: dict[tuple[bytes, bytes], Rule | None] = {}

    def match(self, host: bytes, target: bytes) -> Rule | None:
        """The rule for a Host header and a request target (origin form), None if nothing takes it.

        Raises `PeerError` when host or target are malformed.
        """
        try:
            return self._memo[host, target]
        except KeyError:
            pass
        rule = self.lookup(normalise_host(host), normalise_path(target))
        if len(self._memo) >= MEMO_MAX:
            self._memo.clear()
        self._memo[host, target] = rule
        return rule

    def lookup(self, host: str, path: bytes) -> Rule | None:
        """The rule for a host and a path that are normalised already."""
        paths = self._hosts.get(host)
        if paths is None:
            label, dot, parent = host.partition(".")
            if label and dot:
                paths = self._hosts.get("*." + parent)
        if paths is None:
            paths = self._hosts.get("")
        rule = paths.match(path) if paths is not None else None
        return rule if rule is not None else self._default
