"""What a configuration has that is wrong, in the log: as ingress-nginx' controller writes its warnings (klog)."""

from __future__ import annotations

import time
from collections.abc import Iterable

from emulab.servers.accesslog import OWN
from emulab.servers.journal import Journal
from emulab.servers.l7.config import Notice


class Notices:
    """The notices in force. Each is written once as long as it stays: when it comes, or when its time has come, as soon
    as the log has room for it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._posted: dict[Notice, bool] = {}  # whether it has been written
        self._waiting = False

    def post(self, notices: Iterable[Notice]) -> None:
        """Takes the place of all that there were."""
        self._posted = {notice: self._posted.get(notice, False) for notice in notices}
        self._waiting = not all(self._posted.values())
        self.sweep()

    def sweep(self) -> None:
        """Writes what is due."""
        if not self._waiting:
            return
        now = time.time()
        for notice, written in self._posted.items():
            if written or not notice.since <= now or (notice.until and notice.until <= now):
                continue
            if not self._journal.room or not self._journal.takes(OWN):
                return
            self._posted[notice] = True
            self._journal.write(OWN, f"{_header(now)} {notice.text}")
        self._waiting = any(
            not written and (not one.until or now < one.until) for one, written in self._posted.items()
        )


def _header(now: float) -> str:
    """Severity, time and process as klog has them. Which line of the controller said it is nobody's here."""
    utc = time.gmtime(now)
    return f"W{time.strftime('%m%d %H:%M:%S', utc)}.{int(now % 1 * 1e6):06d}       7 controller.go]"
