"""Pods that search more domains for a name than they need. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from emulab.kinds.faults.effects import Searching
from emulab.plan.state import Place

_SEARCH = "search "


def searching(places: Mapping[str, Place], effects: Sequence[Searching]) -> Mapping[str, Place]:
    """The places, of which pods of these nodes have a longer search list, as the kubelet hands its node's on."""
    more = {e.node: " ".join(f"region{n}.internal" for n in range(1, e.domains + 1)) for e in effects}
    found = dict(places)
    for name, place in places.items() if more else ():
        if place.node in more and _SEARCH in place.resolv_conf:
            lines = [
                f"{line} {more[place.node]}" if line.startswith(_SEARCH) else line
                for line in place.resolv_conf.splitlines(keepends=False)
            ]
            found[name] = replace(place, resolv_conf="\n".join([*lines, ""]))
    return found
