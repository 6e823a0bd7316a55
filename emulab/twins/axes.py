"""What labs that are compared differ in: a line of the table for each option of `compare`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from emulab.kinds.emulab.balancing import BALANCER_ENGINES, OWN_ENGINE
from emulab.kinds.emulab.cluster import MODES as SETTINGS
from emulab.kinds.images import ENGINES
from emulab.plan.proxy.modes import MODES


class Axis(NamedTuple):
    """One field of a Cluster, whose values are compared."""

    option: str  # of the command line, without --
    word: str  # for one value, in sentences
    path: tuple[str, str]  # of the field in a Cluster's spec
    values: tuple[str, ...]
    differences: Mapping[str, Collection[str]]  # the names of the known ones, by value (`differences.KNOWN`)
    asks: frozenset[str] = frozenset()  # what of the requests that manifests suggest; none: all
    rules: bool = False  # whether nodes' rules are counted

    def set(self, spec: Mapping[str, Any], value: str) -> dict[str, Any]:
        """A Cluster's spec with this value."""
        section, field = self.path
        return {**spec, section: {**(spec.get(section) or {}), field: value}}


PROXY = Axis(
    "proxy",
    "mode",
    ("proxy", "mode"),
    tuple(SETTINGS["proxy.mode"]),
    {name: mode.differences for name, mode in MODES.items()},
    rules=True,
)
INGRESS = Axis(
    "ingress",
    "engine",
    ("ingress", "engine"),
    tuple(ENGINES),
    {"haproxy": ("no connection has one status",)},
    frozenset({"ingress"}),
)
BALANCER = Axis(
    "balancer",
    "engine",
    ("balancers", "engine"),
    tuple(BALANCER_ENGINES),
    {name: ("no datagrams",) for name in BALANCER_ENGINES if name != OWN_ENGINE},
    frozenset({"balancer", "ingress"}),
)
AXES = (PROXY, INGRESS, BALANCER)


def _by_value() -> Mapping[str, Collection[str]]:
    found: dict[str, tuple[str, ...]] = {}
    for axis in AXES:
        for name, own in axis.differences.items():
            found[name] = (*found.get(name, ()), *own)
    return found


BY_VALUE = _by_value()
"""The names of the known differences of each value, whatever the axis."""
