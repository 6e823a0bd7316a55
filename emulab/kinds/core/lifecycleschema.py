"""What a container may say of its hooks and of when it is started again, as pkg/apis/core/validation has it."""

from __future__ import annotations

import re
from signal import Signals
from typing import Any

from emulab.kinds.openapi.typed import typed
from emulab.model.checks import Check, Problems, integer, maybe_empty, one_of, pattern, sequence, wrong
from emulab.model.paths import FieldPath

_MOST_RULES, _MOST_CODES = 20, 255


def _few_codes(values: list[Any]) -> Problems:
    return wrong(f"must have at most {_MOST_CODES} items") if len(values) > _MOST_CODES else ()


def _few_rules(values: list[Any]) -> Problems:
    return wrong(f"must have at most {_MOST_RULES} items") if len(values) > _MOST_RULES else ()


_rule = typed(
    "core.v1.ContainerRestartRule",
    {
        "action": one_of("Restart"),
        "exitCodes": typed(
            "core.v1.ContainerRestartRuleOnExitCodes",
            {"operator": one_of("In", "NotIn"), "values": sequence(integer(0, 255), rules=(_few_codes,))},
        ),
    },
    required=("exitCodes",),
)

RESTARTING: dict[str, Check] = {
    "restartPolicy": one_of("Always", "OnFailure", "Never"),
    "restartPolicyRules": sequence(_rule, rules=(_few_rules,)),
}
"""The fields of a container that say when it is started again (KEP-753, KEP-5307)."""


signal_name = maybe_empty(
    pattern(
        "|".join(
            (*map(re.escape, Signals.__members__), r"SIGRTMIN\+([1-9]|1[0-5])", r"SIGRTMAX-([1-9]|1[0-4])")
        ),
        "the name of a signal, such as SIGQUIT or SIGRTMIN+3",
    )
)


def only_of_sidecars(container: dict[str, Any]) -> Problems:
    """Of an init container: what another one waits for is asked nothing, and ends by itself."""
    if container.get("restartPolicy") == "Always":
        return ()
    return [
        problem
        for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
        if field in container
        for problem in wrong("may not be set for init containers without restartPolicy=Always", field)
    ]


def rules_beside_a_policy(container: dict[str, Any]) -> Problems:
    if container.get("restartPolicyRules") and not container.get("restartPolicy"):
        return wrong("must specify restartPolicy when restart rules are used", "restartPolicy")
    return ()


def sleeps_fit(spec: dict[str, Any]) -> Problems:
    """A hook that only sleeps has to be over before the Pod's grace period is."""
    grace = spec.get("terminationGracePeriodSeconds")
    grace = 30 if grace is None else grace
    found: list[tuple[FieldPath, str]] = []
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            for hook, handler in (container.get("lifecycle") or {}).items():
                seconds = (handler.get("sleep") or {}).get("seconds") if isinstance(handler, dict) else None
                if seconds is not None and seconds > grace:
                    what = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    found += wrong(what, field, index, "lifecycle", hook, "sleep")
    return found
