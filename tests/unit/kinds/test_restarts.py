"""When a container is started again, and what may be said of that and of hooks."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import POD, accepted, described, patched, refused

from emulab.kinds.core.restarts import RestartPolicy


def policy(pod: str = "Always", init: bool = False, **container: Any) -> list[bool]:
    """Whether a container of these fields is started again after 0, 1 and 42."""
    own = RestartPolicy.of(container)
    whole = own.of_init(pod) if init else own.within(pod)
    return [whole.restarts(status) for status in (0, 1, 42)]


def rule(operator: str, *values: int) -> dict[str, Any]:
    return {"action": "Restart", "exitCodes": {"operator": operator, "values": list(values)}}


def test_a_container_has_its_pods_policy() -> None:
    assert policy("Always") == [True, True, True]
    assert policy("OnFailure") == [False, True, True]
    assert policy("Never") == [False, False, False]


def test_or_its_own() -> None:
    assert policy("Never", restartPolicy="OnFailure") == [False, True, True]
    assert policy("Always", restartPolicy="Never") == [False, False, False]


def test_rules_come_first() -> None:
    never: dict[str, Any] = {"restartPolicy": "Never"}
    assert policy(**never, restartPolicyRules=[rule("In", 42)]) == [False, False, True]
    assert policy(**never, restartPolicyRules=[rule("NotIn", 0, 1)]) == [False, False, True]
    assert policy(**never, restartPolicyRules=[rule("In", 42), rule("In", 0)]) == [True, False, True]
    always = {"restartPolicy": "Always", "restartPolicyRules": [rule("In", 42)]}
    assert policy(**always) == [True, True, True]


def test_an_init_container_that_has_ended_well_has() -> None:
    assert policy("Always", init=True) == policy("OnFailure", init=True) == [False, True, True]
    assert policy("Never", init=True) == [False, False, False]
    assert policy("Always", init=True, restartPolicy="Never") == [False, False, False]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"restartPolicyRules": [rule("In", 1)]},
            "restartPolicy: must specify restartPolicy when restart rules are used",
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]},
            "restartPolicyRules[0].exitCodes: is required",
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{**rule("In", 1), "action": "Stop"}]},
            'restartPolicyRules[0].action: "Stop" is not one of Restart',
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [rule("Equals", 1)]},
            'restartPolicyRules[0].exitCodes.operator: "Equals" is not one of In, NotIn',
        ),
        ({"restartPolicy": "Sometimes"}, 'restartPolicy: "Sometimes" is not one of Always, OnFailure, Never'),
    ],
)
def test_what_is_refused(fields: dict[str, Any], problem: str) -> None:
    spec = patched(POD, "containers.0", {"name": "c", "image": "x", **fields})
    (found,) = refused(described("Pod", spec))
    assert found == f"spec.containers[0].{problem}"


def test_a_hook_that_sleeps_fits_into_the_grace_period() -> None:
    def sleeping(seconds: int, **spec: Any) -> dict[str, Any]:
        lifecycle = {"preStop": {"sleep": {"seconds": seconds}}}
        return described("Pod", {"containers": [{"name": "c", "image": "x", "lifecycle": lifecycle}], **spec})

    assert accepted(sleeping(30)) and accepted(sleeping(60, terminationGracePeriodSeconds=60))
    at = "spec.containers[0].lifecycle.preStop.sleep"
    what = "must be non-negative and less than terminationGracePeriodSeconds"
    assert refused(sleeping(31)) == [f"{at}: {what} (30)"]
    assert refused(sleeping(1, terminationGracePeriodSeconds=0)) == [f"{at}: {what} (0)"]
