"""How long a Pod waits that takes the place of one that failed: pkg/controller/job/backoff_utils.go.

Failures that follow each other are counted on the Pods that are there, so that deleting those that failed is to begin
anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulab.cluster.controllers.batch.tracking import has_succeeded, is_over
from emulab.cluster.controllers.pods import condition, is_ending
from emulab.cluster.controllers.world import unix_time
from emulab.model.objects import Object

FIRST, LONGEST = 10.0, 600.0  # seconds


def ended_at(pod: Object) -> float:
    """When the last container of a Pod ended that has; 0 where that isn't known."""
    ends = [
        unix_time(((status.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for status in pod.status.get("containerStatuses") or ()
    ]
    known = [end for end in ends if end is not None]
    fallback = pod.metadata.get("deletionTimestamp") or condition(pod, "Ready").get("lastTransitionTime")
    return max(known) if known else unix_time(fallback) or 0.0


def next_try(pods: Iterable[Object]) -> float:
    """The Unix time at which the next Pod may be made; 0 for at once."""
    over = [pod for pod in pods if is_over(pod) or is_ending(pod)]
    ended = sorted(((ended_at(pod), has_succeeded(pod)) for pod in over), reverse=True)
    failures = 0
    for _, succeeded in ended:
        if succeeded:
            break
        failures += 1
    return ended[0][0] + after(failures) if failures else 0.0


def after(failures: int) -> float:
    """Seconds after so many failures in a row."""
    return min(LONGEST, FIRST * 2.0 ** min(failures - 1, 30)) if failures else 0.0
