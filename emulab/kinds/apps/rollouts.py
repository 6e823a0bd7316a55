"""How workloads replace their Pods, as the reference of apps/v1 has it."""

from __future__ import annotations

from typing import NamedTuple


class Rollout(NamedTuple):
    """The field that says it, what a kind may do instead of rolling, and what rolling does where nothing is said."""

    field: str
    instead: str
    max_surge: int | str
    max_unavailable: int | str


OF_DEPLOYMENTS = Rollout("strategy", "Recreate", "25%", "25%")
OF_SETS = Rollout("updateStrategy", "OnDelete", 0, 1)
