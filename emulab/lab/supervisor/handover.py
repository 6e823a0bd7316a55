"""Network namespaces that others have made and hand over to a lab, each for a Pod that says so (`FOREIGN`)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from emulab.errors import UserError
from emulab.kernel.names import is_network_namespace
from emulab.lab.supervisor.arguments import NAME, Arguments, takes
from emulab.lab.supervisor.reconciler import Reconciler
from emulab.lab.supervisor.surroundings import Surroundings


class Handover:
    def __init__(self, around: Surroundings, reconciler: Reconciler) -> None:
        self._around = around
        self._reconciler = reconciler

    @takes(name=NAME)
    async def give(self, arguments: Arguments, descriptors: Sequence[int]) -> None:
        """`name`: what the Pod's annotation says. Takes the namespace whose descriptor came with the request; without
        one, what was handed over by that name is given back, unless a Pod has it by now.
        """
        given, name = self._reconciler.given, arguments["name"]
        if (old := given.pop(name, None)) is not None:
            os.close(old)
        if not descriptors:
            return
        own = {os.fstat(handle.fd).st_ino for handle in [*self._around.handles.values()]}
        if not is_network_namespace(descriptors[0]):
            raise UserError(f"{name}: what was handed over is no network namespace")
        if os.fstat(descriptors[0]).st_ino in own:
            raise UserError(f"{name}: that network namespace is one of this lab already")
        given[name] = os.dup(descriptors[0])
