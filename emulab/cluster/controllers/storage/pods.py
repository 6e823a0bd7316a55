"""What Pods have to do with claims."""

from __future__ import annotations

from emulab.kinds.core.volumespec import CLAIM, EPHEMERAL, Volume
from emulab.model.objects import Object


def claims_of(pod: Object) -> tuple[str, ...] | None:
    """The names of the claims that a Pod's volumes are behind, None of one that has none."""
    found = (
        Volume.of(v).claim(pod.name) for v in pod.spec.get("volumes") or () if CLAIM in v or EPHEMERAL in v
    )
    return tuple(dict.fromkeys(found)) or None
