"""`get --subresource`: what an API server has of an object beside itself.

Of all but `scale` it answers with the whole object: such a subresource is a door for changes of a part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emulab.cli.usage import ServerRefusal
from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.definition import Definition
from emulab.kinds.kind import SCALABLE, Kind
from emulab.kinds.registry import POD
from emulab.model.checks import anything

SCALE, STATUS = "scale", "status"
OF_PODS = ("resize", "ephemeralcontainers")
SUBRESOURCES = (SCALE, STATUS, *OF_PODS)


class Subresource(NamedTuple):
    """A subresource of a kind: the kind of what stands for it, and that of an object."""

    kind: Kind
    of: Callable[[Raw], Raw]


def part_of(kind: Kind, name: str | None) -> Subresource:
    """The subresource of that name; the object itself where none is named. Raises ServerRefusal where there is none."""
    if name == SCALE and SCALABLE in kind.categories:
        return Subresource(_KIND, _scale)
    if name is None or name == STATUS or (name in OF_PODS and kind == POD):
        return Subresource(kind, _itself)
    raise ServerRefusal("Error from server (NotFound): the server could not find the requested resource")


def _itself(o: Raw) -> Raw:
    return o


def _scale(o: Raw) -> Raw:
    """A workload's Scale, as `ScaleFromDeployment` and its like make it."""
    told = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {field: o["metadata"][field] for field in told if field in o["metadata"]}
    spec, status = cells.spec(o), cells.status(o)
    selector = spec.get("selector")
    plain = selector if o["apiVersion"] == "v1" else None  # a ReplicationController's is a mapping alone
    return {
        "apiVersion": _KIND.api_version,
        "kind": _KIND.kind,
        "metadata": metadata,
        "spec": {"replicas": cells.number(spec, "replicas", 1)},
        "status": {
            "replicas": cells.number(status, "replicas"),
            "selector": cells.selector_text({"matchLabels": plain} if plain else selector),
        },
    }


def _cells(o: Raw, now: float) -> Cells:
    desired, available = (str(cells.number(part(o), "replicas")) for part in (cells.spec, cells.status))
    return [cells.name(o), desired, available, cells.age(o, now)], []


DEFINITION = Definition(check=anything, columns=Columns(("NAME", "DESIRED", "AVAILABLE", "AGE"), (), _cells))
_KIND = Kind("autoscaling/v1", "Scale", "scales", home=__name__)
