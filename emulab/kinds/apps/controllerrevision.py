"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, which its controller keeps."""

from __future__ import annotations

from emulab.kinds import aside, cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.fields import Fields, Slices
from emulab.model.keys import group_kind


def controller(o: Raw) -> str:
    """The owner as kubectl names it: `statefulset.apps/db`."""
    for owner in o["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group, kind = group_kind(str(owner.get("apiVersion", "")), str(owner.get("kind", "")))
            return f"{kind.lower()}{'.' if group else ''}{group}/{owner.get('name')}"
    return NONE


def _cells(o: Raw, now: float) -> Cells:
    return [cells.name(o), controller(o), str(cells.number(o, "revision")), cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    return [("Revision", str(cells.number(o, "revision")))]


DEFINITION = aside.DEFINITION._replace(
    columns=Columns(("NAME", "CONTROLLER", "REVISION", "AGE"), (), _cells), describe=_describe
)
