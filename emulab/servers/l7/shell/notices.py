"""What a configuration has that is wrong, in the log: as ingress-nginx' controller writes its warnings (klog)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from math import inf

from emulab.servers.accesslog import OWN
from emulab.servers.journal import TURN, Journal
from emulab.servers.l7.config import ANY_HOST, Certificate, Notice

_LOOK = 3600.0
"""Seconds after which is looked at the latest: the clock may have been set."""


class Notices:
    """The notices in force. Each is written once as long as it stays: when it comes, or when its time has come, as soon
    as the log has room for it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._hosts: dict[Notice, Sequence[str]] = {}  # of which each is so
        self._written: set[tuple[Notice, str]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def post(self, notices: Iterable[Notice], certificates: Iterable[Certificate]) -> None:
        """Takes the place of all that there were."""
        hosts = {one.secret: one.hosts for one in certificates}
        self._hosts = {one: hosts.get(one.secret, ()) if one.secret else ("",) for one in notices}
        self._written = {(one, host) for one, host in self._written if host in self._hosts.get(one, ())}
        self._sweep()

    def close(self) -> None:
        """Nothing is written any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        """Writes what is due, and comes back for what will be."""
        self.close()
        now, later = time.time(), inf
        for notice, hosts in self._hosts.items():
            if notice.since > now:
                later = min(later, notice.since)
            elif (not notice.until or now < notice.until) and not self._write(notice, hosts, now):
                later = now
                break
        if later < inf:
            pause = min(_LOOK, max(TURN, later - now))
            self._timer = asyncio.get_running_loop().call_later(pause, self._sweep)

    def _write(self, notice: Notice, hosts: Sequence[str], now: float) -> bool:
        """Whether the log has room for all of it."""
        for host in hosts:
            if (notice, host) in self._written or host == ANY_HOST:
                continue
            if not self._journal.room or not self._journal.takes(OWN):
                return False
            self._written.add((notice, host))
            self._journal.write(OWN, f"{_header(now)} {notice.text.replace('{host}', host)}")
        return True


def _header(now: float) -> str:
    """Severity, time and process as klog has them. Which line of the controller said it is nobody's here."""
    utc = time.gmtime(now)
    return f"W{time.strftime('%m%d %H:%M:%S', utc)}.{int(now % 1 * 1e6):06d}       7 controller.go]"
