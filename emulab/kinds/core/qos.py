"""A Pod's class of quality of service, and what its containers' statuses say of resources (KEP-1287, KEP-2837)."""

from __future__ import annotations

from typing import Any

from emulab.kinds.cells import Raw

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_COUNTED = ("cpu", "memory")


def qos_class(spec: Raw) -> str:
    """What an API server makes of a Pod's resources (`ComputePodQOS`): of the Pod's own where it has some."""
    asked = (
        [spec]
        if spec.get("resources")
        else [*spec.get("containers", ()), *(spec.get("initContainers") or ())]
    )
    given = [own for container in asked if (own := container.get("resources"))]
    if not given:
        return BEST_EFFORT
    from emulab.kinds.core.resources import limits, requests  # exact arithmetic, which few need

    guaranteed, anything = True, False
    sums: dict[str, list[Any]] = {}
    for container in asked:
        limit, request = limits(container), requests(container)
        for name in _COUNTED:
            most = limit[name].value if name in limit else 0
            least = request[name].value if name in request else 0
            anything = anything or bool(most or least)
            guaranteed = guaranteed and bool(most)
            both = sums.setdefault(name, [0, 0])
            both[0] += least
            both[1] += most
    if not anything:
        return BEST_EFFORT
    return GUARANTEED if guaranteed and all(a == b for a, b in sums.values()) else BURSTABLE


def with_class(pod: Raw) -> dict[str, Any]:
    """The status of a new Pod, with its class."""
    return {**(pod.get("status") or {}), "qosClass": qos_class(pod["spec"])}


def resources_of(container: Raw) -> dict[str, Any]:
    """What a container is given, as its status has it: what it asks for is its limit where it doesn't say."""
    given = container.get("resources") or {}
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    both = {"limits": dict(limits), "requests": {**limits, **requests}}
    return {
        which: {name: str(value) for name, value in amounts.items()}
        for which, amounts in both.items()
        if amounts
    }
