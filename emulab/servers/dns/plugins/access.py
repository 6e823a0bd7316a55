"""Who may ask for what (plugin/acl of CoreDNS). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from emulab.servers.dns import rdata
from emulab.servers.dns.config import AccessPolicy, AccessRule
from emulab.servers.dns.names import Name
from emulab.servers.dns.plugins.made import Below

ALLOW, BLOCK, FILTER, DROP = "allow", "block", "filter", "drop"
BLOCKED, FILTERED = 15, 17
"""Extended errors that go with a refusal and an empty answer (RFC 8914)."""


class Access:
    """All rules of a server block."""

    def __init__(self, rules: Sequence[AccessRule]) -> None:
        """Raises ValueError."""
        self._rules = [(Below(rule.zones), [_Policy(policy) for policy in rule.policies]) for rule in rules]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def action(self, name: Name, rtype: int, client: str) -> str:
        """What becomes of a query for a lower-case name. A rule of whose policies none fits leaves it to the next."""
        for zones, policies in self._rules:
            if name in zones and (fits := next((p for p in policies if p.fits(rtype, client)), None)):
                return fits.action
        return ALLOW


class _Policy:
    def __init__(self, policy: AccessPolicy) -> None:
        self.action = policy.action
        self._types = frozenset(map(rdata.type_number, policy.types))
        self._networks = [ip_network(text, strict=False) for text in policy.networks]

    def fits(self, rtype: int, client: str) -> bool:
        if self._types and rtype not in self._types:
            return False
        if not self._networks:
            return True
        address = ip_address(client.partition("%")[0])
        return any(address in network for network in self._networks)
