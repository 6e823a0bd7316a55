"""Which requests of a route go to its canary (rootfs/etc/nginx/lua/balancer.lua, `route_to_alternative_balancer`).

Who was sent to either of the two before, by a cookie of its upstream, stays there. Then the header decides, if the
request has it and it says one or the other, then the cookie, then the weight. A canary without a server takes nobody.
"""

from __future__ import annotations

import re

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import Canary
from emulab.servers.l7.engine.balance.group import Group
from emulab.servers.l7.engine.balance.turn import Turn
from emulab.servers.l7.engine.cookies import variable
from emulab.servers.l7.engine.variables import field

LEAST_TOTAL = 100
_SAID = {"always": True, "never": False}


class CanaryChoice:
    """Between a route's upstream and its canary."""

    __slots__ = ("_canary", "_header", "_pattern", "group")

    def __init__(self, canary: Canary, group: Group) -> None:
        """Raises `BadConfiguration`, which names the field of the route."""
        self._canary = canary
        self._header = canary.header.lower().replace("_", "-")
        try:
            self._pattern = re.compile(canary.header_pattern)
        except (re.error, OverflowError, RecursionError) as error:
            what = f"{canary.header_pattern!r} is no regular expression: {error}"
            raise BadConfiguration(f"canary.header_pattern: {what}") from None
        self.group = group

    def takes(self, turn: Turn, primary: Group | None) -> bool:
        """Whether the request goes to the canary."""
        if not self.group.servers or (primary is not None and primary.balancer.owns(turn)):
            return False
        if self.group.balancer.owns(turn):
            return True
        for said in (self._header_says(turn), self._cookie_says(turn)):
            if said is not None:
                return said
        return turn.draw(max(self._canary.weight_total, LEAST_TOTAL)) < self._canary.weight

    def _cookie_says(self, turn: Turn) -> bool | None:
        name = self._canary.cookie
        return _SAID.get(variable(field(turn.asked, "cookie"), name) or "") if name else None

    def _header_says(self, turn: Turn) -> bool | None:
        canary = self._canary
        value = field(turn.asked, self._header) if self._header else ""
        if not value:
            return None
        if canary.header_value:
            return True if value == canary.header_value else None
        if canary.header_pattern:
            return True if self._pattern.search(value) else None
        return _SAID.get(value)
