"""Orders of an operator that hold for whoever serves in a server's place, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.lab.hosts.hosted import Hosted


class Orders:
    """By the server's name, and by who has given them."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Mapping[str, Any]]] = {}

    def keep(self, name: str, key: str, order: Mapping[str, Any] | None) -> None:
        """From now on who is started in the server's place gets this order; None: not any more."""
        kept = self._kept.setdefault(name, {})
        kept.pop(key, None)
        if order is not None:
            kept[key] = order

    async def give(self, host: Hosted) -> None:
        """Gives a server that has begun, and doesn't serve yet, those of its name. Raises KernelError."""
        kept = self._kept.get(host.name, {})
        for key in [*kept]:
            order = kept.get(key)
            if order is not None:  # else it has been taken back meanwhile, with another one
                await host.ask("order", order=dict(order))
