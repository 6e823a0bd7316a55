"""A Pod's class, as `kubectl describe` shows it (pkg/apis/core/helper/qos)."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.kinds.core.qos import qos_class, resources_of, with_class

BOTH = {"cpu": "100m", "memory": "1Gi"}


def spec(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **more: Any) -> dict[str, Any]:
    made = [{"name": f"c{n}", "resources": given} for n, given in enumerate(containers)]
    return {
        "containers": made,
        "initContainers": [{"name": "i", "resources": given} for given in init],
        **more,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (spec({}), "BestEffort"),
        (spec({"limits": {"nvidia.com/gpu": 1}}), "BestEffort"),
        (spec({"requests": {"cpu": 0}}), "BestEffort"),
        (spec({"limits": BOTH}), "Guaranteed"),
        (spec({"limits": BOTH, "requests": {"cpu": "0.1", "memory": "1024Mi"}}), "Guaranteed"),
        (spec({"limits": BOTH}, {}), "Burstable"),
        (spec({"limits": BOTH}, init=({},)), "Burstable"),
        (spec({"limits": {"memory": "1Gi"}}), "Burstable"),
        (spec({"limits": BOTH, "requests": {"cpu": "50m"}}), "Burstable"),
        (spec({"requests": BOTH}), "Burstable"),
        (spec({}, resources={"limits": BOTH}), "Guaranteed"),
        (spec({"limits": BOTH}, resources={"requests": BOTH}), "Burstable"),
    ],
)
def test_the_class_is_kubernetes(given: dict[str, Any], expected: str) -> None:
    assert qos_class(given) == expected
    assert with_class({"spec": given, "status": {"phase": "Pending"}}) == {
        "phase": "Pending",
        "qosClass": expected,
    }


def test_what_a_container_asks_for_is_its_limit_where_it_does_not_say() -> None:
    given = {"resources": {"limits": {"cpu": 2}, "requests": {"memory": "1Gi"}}}
    assert resources_of(given) == {"limits": {"cpu": "2"}, "requests": {"cpu": "2", "memory": "1Gi"}}
    assert resources_of({}) == {}
