"""Whose turn it is among an upstream's servers: a dataclass for each algorithm.

An algorithm is one class here, a member of `Balance`, and a line of the table in `engine.balance`.
"""

from __future__ import annotations

import re

from emulab.dataclass import dataclass
from emulab.servers.configuration import Variant


@dataclass(frozen=True, slots=True)
class InTurn(Variant):
    """One after the other: round robin."""


@dataclass(frozen=True, slots=True)
class PeakEwma(Variant):
    """Of two that are drawn the one that has answered faster of late."""


@dataclass(frozen=True, slots=True)
class DrawnServer(Variant):
    """Any."""


@dataclass(frozen=True, slots=True)
class LeastRequest(Variant):
    """Of two that are drawn the one with fewer requests under way."""


@dataclass(frozen=True, slots=True)
class HashBy(Variant):
    """The one that a key hashes to; servers that come or go move few keys.

    `key` is a text with nginx' variables in it (`config.variables`). With `subset` a key hashes to so many servers, of
    which any is taken.
    """

    key: str
    subset: int = 0


@dataclass(frozen=True, slots=True)
class CookieAffinity(Variant):
    """The one that the client's cookie names; who brings none gets one, where the route's policy has it set."""

    cookie: str = "INGRESSCOOKIE"
    persistent: bool = False  # a server that comes takes over no client
    change_on_failure: bool = False
    path: str = ""  # empty: the route's
    domain: str = ""
    same_site: str = ""  # None, Lax, Strict
    unless_incompatible: bool = False  # `SameSite=None` is kept from browsers that take it for `Strict`
    secure: bool = False  # over plain HTTP, too
    expires: int | None = None  # in seconds
    max_age: int | None = None

    def path_of(self, path: str) -> str:
        """The Path of the cookie for a route's path. What would end the field is escaped in it."""
        return re.sub(r"[\x00-\x1f\x7f]", lambda match: f"%{ord(match[0]):02X}", self.path or path or "/")


Balance = InTurn | PeakEwma | DrawnServer | LeastRequest | HashBy | CookieAffinity
