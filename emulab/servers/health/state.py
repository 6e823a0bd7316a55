"""What checks have come to: pure, time is an argument."""

from __future__ import annotations

from typing import NamedTuple

from emulab.servers.health.config import HealthPolicy


class Health:
    """The health of one target. It is healthy until checks say otherwise, as HAProxy's servers start UP.

    Where it is `unproven`, its first check alone decides: of one that was never well nobody waits for `fall` failures
    (HAProxy: "up, but will fall down at first failure"; a target of AWS' gets nothing until it has passed).
    """

    __slots__ = ("_begun", "_fell", "_streak", "_unproven", "due", "healthy")

    def __init__(self, now: float = 0.0, *, unproven: bool = False) -> None:
        self._unproven = unproven
        self.healthy = True
        self.due = now  # when the next check is to begin; the first one at once
        self._streak = 0  # results in a row that contradict `healthy`
        self._begun = now  # the last check
        self._fell = now  # when the check began by which it wasn't healthy any more

    def begin(self, policy: HealthPolicy, now: float) -> None:
        """A check begins: the next is due an interval after this one's beginning, whatever it takes."""
        interval = policy.interval
        if not self.healthy and policy.down_interval is not None:
            interval = max(policy.down_interval, min(interval, (now - self._fell) / 10))
        self._begun, self.due = now, now + interval

    def record(self, policy: HealthPolicy, passed: bool) -> bool:
        """Takes a check's result; True if the target's health has flipped by it."""
        unproven, self._unproven = self._unproven, False
        if passed is self.healthy:
            self._streak = 0
            return False
        self._streak += 1
        if not unproven and self._streak < (policy.rise if passed else policy.fall):
            return False
        self.healthy, self._streak = passed, 0
        if not passed:
            self._fell = self._begun
            if policy.down_interval is not None:
                self.due = self._begun + policy.down_interval
        return True


class CheckResult(NamedTuple):
    """What came of a check: HAProxy's word for it (L4OK, L7STS, …), more of it, and the seconds that it took."""

    passed: bool
    word: str
    detail: str = ""
    seconds: float = 0.0
