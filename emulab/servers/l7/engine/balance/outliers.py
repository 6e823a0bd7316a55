"""Who of an upstream's servers is left out for a while: Envoy's outlier detection, as a DestinationRule asks for it.

A server is left out as soon as it has failed so many times in a row, unless too many are already. It is for the base
time, times the number of times that this happened of late; who may come back does so at the next of the regular looks,
and is counted anew. A count that was reached begins anew, whether the server was left out or not, but the other one
goes on; nothing that a server answers while it is left out counts (Envoy's
source/common/upstream/outlier_detection_impl.cc).

Where failures that come from here are counted by themselves, connecting begins their count anew, whatever comes of the
request: a server that takes connections and hangs up is left out by a count of one alone
(`putResultWithLocalExternalSplit`).
"""

from __future__ import annotations

from math import ceil, floor, inf

from emulab.servers.l7.config import OutlierDetection

GATEWAY_ERRORS = frozenset({502, 503, 504})
UNANSWERED, UNREACHED = 0, -1
"""In the place of a status: nothing came over the connection, or there was none to be had."""


class FailureCount:
    """What is known of one server."""

    __slots__ = ("errors", "gateway_errors", "local_failures", "times", "until")

    def __init__(self) -> None:
        self.errors = self.gateway_errors = self.local_failures = 0  # in a row
        self.until = 0.0  # when it comes back, or came
        self.times = 0  # that it was left out, of late


class Outliers:
    """The servers of one upstream that are watched. What is known of them is one for all who watch them in turn."""

    def __init__(self, wanted: OutlierDetection, servers: tuple[str, ...]) -> None:
        self._wanted = wanted
        self._errors = frozenset({*wanted.error_codes, UNANSWERED, UNREACHED})
        self._servers = servers
        self._known: dict[str, FailureCount] = {}
        self._looks_since: float | None = None
        self.next_change = inf  # when somebody comes back

    def inherit(self, old: Outliers) -> None:
        self._known = {server: old._known[server] for server in self._servers if server in old._known}
        self._looks_since = old._looks_since
        self.next_change = 0.0  # whoever is left out has to be found

    def available(self, now: float) -> tuple[str, ...]:
        """Who may be asked. With too few of them all are, which is a proxy's panic."""
        out = {server for server in self._servers if self.is_out(server, now)}
        self.next_change = min((self._known[server].until for server in out), default=inf)
        left = tuple(server for server in self._servers if server not in out)
        share = 100 * len(left) / len(self._servers) if self._servers else 100
        return self._servers if share < self._wanted.min_health_percent else left

    def is_out(self, server: str, now: float) -> bool:
        """Whether a server is left out now."""
        health = self._known.get(server)
        return health is not None and health.until > now

    def _is_well(self, status: int) -> bool:
        """Whether an answer is a success."""
        return 0 < status < 500 if not self._wanted.error_codes else status not in self._errors

    def matters(self, server: str, status: int, now: float) -> bool:
        """Whether an answer changes what is known of a server: a failure, or the first success after some."""
        health = self._known.get(server)
        if not self._is_well(status):
            return health is None or health.until <= now
        return health is not None and bool(health.errors or health.gateway_errors or health.local_failures)

    def told(self, server: str, status: int, now: float) -> bool:
        """A server has answered so, or `UNANSWERED`, or is `UNREACHED`. Whether it is left out from now on."""
        health, well = self._known.get(server), self._is_well(status)
        if health is None:
            if well:
                return False
            health = self._known[server] = FailureCount()
        if well:
            health.errors = health.gateway_errors = health.local_failures = 0
            return False
        if health.until > now:
            return False
        local = status <= 0 and self._wanted.consecutive_local_failures > 0
        if (
            self._fails_locally(server, health, status, now)
            if local
            else self._errs(server, health, status, now)
        ):
            health.errors = health.gateway_errors = health.local_failures = 0
            return True
        return False

    def _fails_locally(self, server: str, health: FailureCount, status: int, now: float) -> bool:
        health.local_failures = health.local_failures + 1 if status == UNREACHED else 1
        if health.local_failures < self._wanted.consecutive_local_failures:
            return False
        health.local_failures = 0
        return self._leave_out(server, health, now)

    def _errs(self, server: str, health: FailureCount, status: int, now: float) -> bool:
        wanted = self._wanted
        health.local_failures = 0
        health.errors += 1
        health.gateway_errors = health.gateway_errors + 1 if status <= 0 or status in GATEWAY_ERRORS else 0
        left_out = False
        if 0 < wanted.consecutive_gateway_errors <= health.gateway_errors:
            health.gateway_errors = 0
            left_out = self._leave_out(server, health, now)
        if 0 < wanted.consecutive_5xx <= health.errors:
            health.errors = 0
            left_out = left_out or self._leave_out(server, health, now)
        return left_out

    def _leave_out(self, server: str, health: FailureCount, now: float) -> bool:
        wanted = self._wanted
        out = sum(self.is_out(one, now) for one in self._servers)
        if 100 * (out + 1) / len(self._servers) > wanted.max_ejection_percent:
            return False
        if health.times:  # each look at which it was there and well has taken one off
            health.times = max(0, health.times - floor((now - health.until) / wanted.interval))
        longest = max(wanted.base_ejection_time, wanted.max_ejection_time)
        if health.times * wanted.base_ejection_time < longest + wanted.base_ejection_time:
            health.times += 1
        due = now + min(wanted.base_ejection_time * health.times, longest)
        health.until = self._look_after(due, now)
        self.next_change = min(self.next_change, health.until)
        return True

    def _look_after(self, due: float, now: float) -> float:
        if self._looks_since is None:
            self._looks_since = now
        looks = ceil((due - self._looks_since) / self._wanted.interval)
        return self._looks_since + looks * self._wanted.interval
