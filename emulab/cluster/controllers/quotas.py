"""What ResourceQuotas say is used of them: pkg/controller/resourcequota. What counts is loaded where there is one."""

from __future__ import annotations

from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.registry import RESOURCE_QUOTA


def report(world: WorkingCopy) -> None:
    """Writes every quota's status."""
    for o in world.kind(RESOURCE_QUOTA):
        from emulab.cluster.admission.resourcequota import status

        world.put(o.replace(status=status(world, o)))
