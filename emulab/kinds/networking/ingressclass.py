"""IngressClasses."""

from __future__ import annotations

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.following import kind_table, table
from emulab.kinds.registry import INGRESS_CLASS
from emulab.model.checks import dns_subdomain


def _cells(o: Raw, now: float) -> Cells:
    parameters = cells.spec(o).get("parameters") or {}
    text = f"{parameters.get('kind')}/{parameters.get('name')}" if parameters else NONE
    return [cells.name(o), str(cells.spec(o).get("controller") or NONE), text, cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(INGRESS_CLASS, dns_subdomain),
    fields=kind_table(spec=table("controller", ignored={"parameters": "the ingress has its own settings"})),
    columns=Columns(("NAME", "CONTROLLER", "PARAMETERS", "AGE"), (), _cells),
)
