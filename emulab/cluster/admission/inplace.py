"""Changes of a Pod that the API server takes, and that nobody follows while the Pod runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emulab.kinds.core.updates import changed_images
from emulab.kinds.registry import POD
from emulab.model.collection import Objects
from emulab.model.findings import one_line
from emulab.model.objects import Object

_AGAIN = "delete the Pod and apply it again"


def unfollowed_changes(before: Objects, given: Iterable[Object]) -> Iterator[str]:
    """A line for each such change of `given`, as against what there is."""
    for o in given:
        old = before.get(o.key) if o.type == POD else None
        if old is None or not old.status.get("startTime"):
            continue
        for path in changed_images(old.spec, o.spec):
            why = f"isn't followed in a Pod that runs: its container goes on with the old one; {_AGAIN}"
            yield one_line(o.position, o.raw, ("spec", *path), why)
        field = "activeDeadlineSeconds"
        if old.spec.get(field) != o.spec.get(field):
            why = f"isn't followed in a Pod that runs: it ends as it was to when it began; {_AGAIN}"
            yield one_line(o.position, o.raw, ("spec", field), why)
