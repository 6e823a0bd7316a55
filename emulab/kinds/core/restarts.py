"""When a container that has ended is started again: `ContainerShouldRestart` of pkg/api/v1/pod, with KEP-5307. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class RestartRule:
    """A container that ends with one of these statuses, or with none of them, is started again whatever its policy."""

    among: bool
    statuses: frozenset[int]

    def matches(self, status: int) -> bool:
        return (status in self.statuses) is self.among


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`policy`: Always, OnFailure or Never; "" of a container that leaves it to its Pod, and has no rules then."""

    policy: str
    rules: tuple[RestartRule, ...] = ()

    @staticmethod
    def of(container: Mapping[str, Any]) -> RestartPolicy:
        rules = []
        for rule in container.get("restartPolicyRules") or ():
            codes = rule.get("exitCodes") or {}
            if rule.get("action") == "Restart" and codes:
                rules.append(RestartRule(codes.get("operator") == "In", frozenset(codes.get("values") or ())))
        return RestartPolicy(container.get("restartPolicy") or "", tuple(rules))

    def within(self, pod: str) -> RestartPolicy:
        """The policy of a container in a Pod of that policy."""
        return self if self.policy else RestartPolicy(pod)

    def of_init(self, pod: str) -> RestartPolicy:
        """That of an init container which isn't a sidecar: whoever has ended well has done what there was to do."""
        whole = self.within(pod)
        return RestartPolicy("OnFailure", whole.rules) if whole.policy == "Always" else whole

    def restarts(self, status: int) -> bool:
        """Whether a container that ended so is started again."""
        if any(rule.matches(status) for rule in self.rules):
            return True
        return self.policy == "Always" or (self.policy == "OnFailure" and status != 0)
