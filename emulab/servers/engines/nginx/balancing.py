"""How nginx picks among the servers of an upstream, by the type of what a configuration says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.servers.engines.nginx.text import ConfLines, directive
from emulab.servers.l7.config import Balance, CookieAffinity, DrawnServer, HashBy, InTurn, LeastRequest


def _hash(one: HashBy) -> ConfLines:
    """Of a text with variables, which are nginx's own."""
    key = one.key.replace("\\", "\\\\").replace('"', '\\"')
    return [directive("hash", f'"{key}"', "consistent")]


BALANCES: Mapping[type[Balance], Callable[[Any], ConfLines]] = {
    InTurn: lambda _: [],
    DrawnServer: lambda _: [directive("random")],
    LeastRequest: lambda _: [directive("random", "two", "least_conn")],
    HashBy: _hash,
    CookieAffinity: lambda _: [directive("random")],  # who brings no cookie (`choosing`)
}
