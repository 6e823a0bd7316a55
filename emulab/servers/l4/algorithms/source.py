"""By a hash of the client's address, consistently: who goes takes its own clients along, and no others move."""

from __future__ import annotations

from emulab.rendezvous import score
from emulab.servers.l4.balance import BalancedTarget


class SourceHash:
    """The same client, the same target, while that is usable."""

    def order(self, targets: list[BalancedTarget], client: str) -> list[BalancedTarget]:
        usable = [target for target in targets if target.usable]
        return sorted(usable, key=lambda target: score(client, target.name, target.weight), reverse=True)
