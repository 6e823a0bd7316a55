"""Namespaces."""

from __future__ import annotations

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.registry import NAMESPACE
from emulab.model.checks import dns_label


def _cells(o: Raw, now: float) -> Cells:
    state = (
        "Terminating"
        if o["metadata"].get("deletionTimestamp")
        else str(cells.status(o).get("phase") or "Active")
    )
    return [cells.name(o), state, cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(NAMESPACE, dns_label),
    columns=Columns(("NAME", "STATUS", "AGE"), (), _cells),
)
