"""When following a log ends: with its container's end for good, or with its Pod, as with `kubectl logs -f`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from emulab.cli.kinds import Reference
from emulab.cli.selection import fetch
from emulab.errors import EmulabError
from emulab.kinds.cells import Raw
from emulab.kinds.registry import POD
from emulab.lab.client.client import LabClient

_LOOK = 1.0  # seconds between two looks at Pods


class ContainerOf(NamedTuple):
    """A container of one Pod."""

    pod: str
    uid: str
    container: str


class LogEnds:
    """Asks a lab now and then. A lab that doesn't answer is going down, and its logs with it."""

    def __init__(self, client: LabClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._next = 0.0

    def among(self, followed: Iterable[ContainerOf]) -> set[ContainerOf]:
        """Those that write nothing any more; whoever reads their logs then has all of it."""
        if time.monotonic() < self._next:
            return set()
        found: set[ContainerOf] = set()
        with suppress(EmulabError):
            for one in followed:
                pods = fetch(self._client, Reference(POD, one.pod), self._namespace)
                if not any(
                    pod["metadata"]["uid"] == one.uid and not _has_ended(pod, one.container) for pod in pods
                ):
                    found.add(one)
        self._next = time.monotonic() + _LOOK
        return found


def _has_ended(pod: Raw, container: str) -> bool:
    """Whether a container won't run again. While it waits for its next life it is said to wait."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    statuses = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return any(s["name"] == container and "terminated" in (s.get("state") or {}) for s in statuses)
