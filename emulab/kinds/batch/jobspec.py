"""What a Job's `spec` may say, as batch/v1 validates it (pkg/apis/batch/validation)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from emulab.kinds.apps.workload import TEMPLATE
from emulab.kinds.batch.indexes import INDEXES, read
from emulab.kinds.checks import label_selector
from emulab.kinds.openapi.typed import typed
from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    at,
    boolean,
    count,
    integer,
    one_of,
    sequence,
    show,
    wrong,
)
from emulab.model.selectors import matches_selector

INDEXED, NON_INDEXED = "Indexed", "NonIndexed"
_MOST_AT_ONCE = 100_000  # of an Indexed Job's Pods
_MOST_RULES = 20
_MOST_CODES = 255
_LONGEST_LABEL = 63
_seconds = integer(0, (1 << 63) - 1)


def _ends(spec: dict[str, Any]) -> Problems:
    policy = (spec["template"].get("spec") or {}).get("restartPolicy", "Always")
    path = ("template", "spec", "restartPolicy")
    if policy == "Always":
        return wrong('is required: valid values: "OnFailure", "Never"', *path)
    if policy != "Never" and "podFailurePolicy" in spec:
        what = f'{show(policy)}: only "Never" is supported when podFailurePolicy is specified'
        return wrong(what, *path)
    return ()


def _by_index(spec: dict[str, Any]) -> Problems:
    """What goes with the completion mode Indexed, and only with it."""
    if spec.get("completionMode") == INDEXED:
        if spec.get("completions") is None:
            return wrong("is required when completion mode is Indexed", "completions")
        if spec.get("parallelism", 0) > _MOST_AT_ONCE:
            what = f"must be less than or equal to {_MOST_AT_ONCE} when completion mode is Indexed"
            return wrong(what, "parallelism")
        if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
            return wrong("is required when maxFailedIndexes is specified", "backoffLimitPerIndex")
        return ()
    needing = ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy")
    return [
        problem
        for field in needing
        if field in spec
        for problem in wrong("requires indexed completion mode", field)
    ]


def _replaces_what_failed(spec: dict[str, Any]) -> Problems:
    if "podFailurePolicy" in spec and spec.get("podReplacementPolicy", "Failed") != "Failed":
        what = f"{show(spec['podReplacementPolicy'])} is not Failed, as it must be beside podFailurePolicy"
        return wrong(what, "podReplacementPolicy")
    return ()


def _names_containers(spec: dict[str, Any]) -> Problems:
    pod = spec["template"].get("spec") or {}
    names = {c["name"] for field in ("containers", "initContainers") for c in pod.get(field) or ()}
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        name = (rule.get("onExitCodes") or {}).get("containerName")
        path = ("podFailurePolicy", "rules", index)
        if name is not None and name not in names:
            what = f"{show(name)}: must be one of the container or initContainer names"
            return wrong(what, *path, "onExitCodes", "containerName")
        if rule["action"] == "FailIndex" and "backoffLimitPerIndex" not in spec:
            return wrong('"FailIndex" requires the backoffLimitPerIndex to be set', *path, "action")
    return ()


def _selects_its_pods(spec: dict[str, Any]) -> Problems:
    if not spec.get("manualSelector"):
        return ()
    if not spec.get("selector"):
        return wrong("is required", "selector")
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if matches_selector(spec["selector"], labels):
        return ()
    return wrong("`selector` does not match template `labels`", "template", "metadata", "labels")


def _one_cause(rule: dict[str, Any]) -> Problems:
    if ("onExitCodes" in rule) == bool(rule.get("onPodConditions")):
        return wrong("needs exactly one of onExitCodes, onPodConditions")
    return ()


def _codes(requirement: dict[str, Any]) -> Problems:
    values = requirement["values"]
    if not values or len(values) > _MOST_CODES:
        return wrong(f"must have 1 to {_MOST_CODES} values", "values")
    if values != sorted(set(values)):
        return wrong("must be ordered, and none of them twice", "values")
    if requirement["operator"] == "In" and 0 in values:
        return wrong("0: must not be 0 for the In operator", "values", values.index(0))
    return ()


def _success(rule: dict[str, Any]) -> Problems:
    if "succeededCount" not in rule and "succeededIndexes" not in rule:
        return wrong("at least one of succeededCount or succeededIndexes must be specified")
    return ()


def _indexes_exist(spec: dict[str, Any]) -> Problems:
    if spec.get("completions") is None:  # which is told
        return ()
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        path = ("successPolicy", "rules", number)
        indexes = read(rule["succeededIndexes"]) if "succeededIndexes" in rule else None
        if indexes and max(indexes) >= spec["completions"]:
            return wrong(f"{show(rule['succeededIndexes'])}: too large index", *path, "succeededIndexes")
        most = spec["completions"] if indexes is None else len(indexes)
        if rule.get("succeededCount", 0) > most:
            return wrong(f"must be less than or equal to {most}", *path, "succeededCount")
    return ()


def _few(values: list[Any]) -> Problems:
    return wrong(f"must have at most {_MOST_RULES} items") if len(values) > _MOST_RULES else ()


def _indexes(value: Any) -> Problems:
    if type(value) is str and re.fullmatch(INDEXES, value):
        return ()
    return wrong(f"{show(value)} is not a list of indexes such as 1,3-5")


_failure_policy = typed(
    "batch.v1.PodFailurePolicy",
    {
        "rules": sequence(
            typed(
                "batch.v1.PodFailurePolicyRule",
                {
                    "action": one_of("Count", "FailIndex", "FailJob", "Ignore"),
                    "onExitCodes": typed(
                        "batch.v1.PodFailurePolicyOnExitCodesRequirement",
                        {"operator": one_of("In", "NotIn")},
                        rules=(_codes,),
                    ),
                    "onPodConditions": sequence(
                        typed(
                            "batch.v1.PodFailurePolicyOnPodConditionsPattern",
                            {"status": one_of("False", "True", "Unknown")},
                        ),
                        rules=(_few,),
                    ),
                },
                rules=(_one_cause,),
            ),
            rules=(_few,),
        )
    },
)

_success_policy = typed(
    "batch.v1.SuccessPolicy",
    {
        "rules": sequence(
            typed(
                "batch.v1.SuccessPolicyRule",
                {"succeededCount": integer(1), "succeededIndexes": _indexes},
                rules=(_success,),
            ),
            rules=(_few,),
            least=1,
        )
    },
)

_FIELDS: dict[str, Check] = {
    **dict.fromkeys(
        (
            *("backoffLimit", "backoffLimitPerIndex", "completions", "maxFailedIndexes", "parallelism"),
            "ttlSecondsAfterFinished",
        ),
        count,
    ),
    "activeDeadlineSeconds": _seconds,
    "completionMode": one_of(INDEXED, NON_INDEXED),
    "podFailurePolicy": _failure_policy,
    "podReplacementPolicy": one_of("Failed", "TerminatingOrFailed"),
    "selector": label_selector,
    "successPolicy": _success_policy,
    "suspend": boolean,
    "template": TEMPLATE,
}
_RULES: Sequence[Rule] = (
    *(_ends, _by_index, _replaces_what_failed, _names_containers, _selects_its_pods, _indexes_exist),
)
job_spec = typed("batch.v1.JobSpec", _FIELDS, required=("template",), rules=_RULES)


def _made_of_a_template(spec: dict[str, Any]) -> Problems:
    if spec.get("selector"):
        return wrong("`selector` will be auto-generated", "selector")
    if spec.get("manualSelector"):
        return wrong("true is not supported in a template", "manualSelector")
    return ()


template_spec = typed(
    "batch.v1.JobSpec", _FIELDS, required=("template",), rules=(*_RULES, _made_of_a_template)
)
"""What a Job's template may say."""


def fits_its_pods(raw: Mapping[str, Any]) -> Problems:
    """A Job's name is a label of its Pods, and an Indexed one's part of their host names."""
    name, spec = raw["metadata"]["name"], raw["spec"]
    if len(name) > _LONGEST_LABEL:
        return at("metadata", wrong(f"must be no more than {_LONGEST_LABEL} characters", "name"))
    completions = spec.get("completions")
    if spec.get("completionMode") == INDEXED and completions:
        last = f"{name}-{completions - 1}"
        if "." in last or len(last) > _LONGEST_LABEL:
            what = f"will not able to create pod with invalid DNS label: {last}"
            return at("metadata", wrong(what, "name"))
    return ()
