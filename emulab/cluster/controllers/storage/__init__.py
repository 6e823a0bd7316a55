"""Claims and the volumes that they are bound to: pkg/controller/volume.

* `ephemeral`: claims of Pods' own; `templates`: those of StatefulSets
* `binding`: claims get a volume that there is, or a new one of their class
* `protection`: what is in use stays until it isn't
* `scheduling`: what volumes say of a Pod's node
"""

from __future__ import annotations

from emulab.cluster.controllers.storage import binding, ephemeral, protection
from emulab.cluster.controllers.world import WorkingCopy


def claim(world: WorkingCopy) -> None:
    """Before the scheduler: Pods get their own claims, and those that need not wait for a Pod's node are bound."""
    ephemeral.make(world)
    binding.bind(world)
    protection.protect(world)


def provide(world: WorkingCopy) -> None:
    """Behind the scheduler: claims are bound that waited for a Pod's node."""
    binding.bind_for_pods(world)
