"""A made-up kind, whole: what somebody writes who adds one, beside its line in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.lookup import Lookup
from emulab.kinds.registry import KINDS, POD
from emulab.model.checks import dns_label, integer, mapping, string
from emulab.model.findings import Finding
from emulab.model.keys import GroupKind
from emulab.model.objects import Object

WIDGET = KINDS[GroupKind("example.dev", "Widget")]


class Widget(NamedTuple):
    name: str
    size: int
    pod: str

    @staticmethod
    def of(o: Object) -> Widget:
        return Widget(o.name, o.spec["size"], o.spec.get("pod") or "")


_spec = mapping(
    {"size": integer(1, 9, "a size"), "colour": string, "pod": dns_label}, required=("size",), closed=True
)


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> dict[str, Any]:
    if Widget.of(old).size != Widget.of(new).size:
        raise UserError(f"{new.position}: {new.key} spec.size: can't be changed; delete the Widget first")
    return {**({"colour": old.spec["colour"]} if "colour" in old.spec else {}), **spec}


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    pod = Widget.of(o).pod
    if pod and not world.has(POD.key(o.namespace, pod)):
        yield Finding(o, ("spec", "pod"), f"there is no Pod {pod}")


def _cells(o: Raw, now: float) -> Cells:
    return [cells.name(o), str(cells.spec(o)["size"])], [str(cells.spec(o).get("colour") or cells.NONE)]


def _describe(o: Raw, _: Slices) -> Fields:
    return [("Size", f"{cells.spec(o)['size']} of 9")]


DEFINITION = Definition(
    check=whole(WIDGET, dns_label, _spec),
    merge=_merge,
    outdated=lambda _old, _new: ("address",),
    annotations=("example.dev/",),
    warnings=_warnings,
    columns=Columns(("NAME", "SIZE"), ("COLOUR",), _cells),
    describe=_describe,
)
