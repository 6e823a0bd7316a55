"""Patches of conditions: what they may say, and what becomes of those that are there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulab.cluster.admission.patching import conditions_in, patched
from emulab.errors import UserError

GATE = {"type": "a.b/gate", "status": "True"}


def text(*conditions: Any, **more: Any) -> str:
    return json.dumps({"status": {"conditions": list(conditions), **more}})


def test_a_condition_goes_over_that_of_its_type() -> None:
    there = [{"type": "Ready", "status": "False", "reason": "X"}, {**GATE, "status": "False", "message": "m"}]
    new = {"type": "c.d/other", "status": "Unknown"}
    assert patched(there, conditions_in(text(GATE, new))) == [there[0], {**GATE, "message": "m"}, new]
    assert patched([], conditions_in(text(GATE))) == [GATE]


@pytest.mark.parametrize(
    "patch",
    [
        *("", "[]", "{}", "[" * 100_000, '{"status": {}}', '{"status": {"conditions": {}}}', '{"spec": {}}'),
        *(text(1), text({"type": "a"}), text({**GATE, "status": "Yes"}), text({**GATE, "x": "y"})),
        *(text({**GATE, "message": 1}), text(GATE, phase="Failed"), json.dumps({"status": {}, "spec": {}})),
    ],
)
def test_whatever_else_is_refused(patch: str) -> None:
    with pytest.raises(UserError):
        conditions_in(patch)
