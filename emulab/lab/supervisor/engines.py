"""Whether the programs are here that a Cluster has serve in the place of emulab's own servers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import CLUSTER
from emulab.model.objects import Object

_OWN = "builtin"


def refuse_missing(given: Sequence[Object]) -> None:
    """Raises UserError when the engine that a Cluster asks for isn't installed."""
    for o in given:
        if (
            o.type == CLUSTER
            and (name := Cluster.of(o).ingress_engine) != _OWN
            and shutil.which(name) is None
        ):
            raise UserError(
                f"{o.position}: {o.key} spec.ingress.engine: there is no {name} on this host; install it, for example "
                f"with apt install {name}"
            )
