"""What the machines of a proxy have done."""

from __future__ import annotations

from dataclasses import asdict

from emulab.dataclass import dataclass


@dataclass(slots=True)
class Counters:
    """Totals since the start."""

    accepted: int = 0
    requests: int = 0
    fresh: int = 0  # connections to upstreams that requests had opened
    reused: int = 0  # … and that were there
    retries: int = 0
    errors: int = 0
    upgrades: int = 0

    def as_dict(self) -> dict[str, int]:
        """The totals by name."""
        told = asdict(self)
        return {**told, "connects": told.pop("fresh") + self.reused}
