"""How workloads replace their Pods, as the reference of apps/v1 has it."""

from __future__ import annotations

from typing import NamedTuple

PROGRESS_DEADLINE = 600
"""A Deployment's `progressDeadlineSeconds` when not given."""


class Rollout(NamedTuple):
    """The field that says it, what a kind may do instead of rolling, what rolling does where nothing is said, and what
    may be said of it."""

    field: str
    instead: str
    max_surge: int | str
    max_unavailable: int | str
    rolling: tuple[str, ...] = ("maxSurge", "maxUnavailable")


OF_DEPLOYMENTS = Rollout("strategy", "Recreate", "25%", "25%")
OF_SETS = Rollout("updateStrategy", "OnDelete", 0, 1)
OF_STATEFUL_SETS = OF_SETS._replace(rolling=("maxUnavailable", "partition"))
