"""What a Pod may say of the nodes it wants: node selectors, affinities and tolerations, as core/v1 validates them."""

from __future__ import annotations

from typing import Any

from emulab.kinds.checks import label_selector
from emulab.kinds.openapi.typed import typed
from emulab.model.checks import (
    Check,
    Problems,
    dns_label,
    integer,
    label_key,
    label_value,
    maybe_empty,
    one_of,
    sequence,
    unique,
    wrong,
)

_VALUES = {
    "In": (1, None),
    "NotIn": (1, None),
    "Exists": (0, 0),
    "DoesNotExist": (0, 0),
    "Gt": (1, 1),
    "Lt": (1, 1),
}
"""How many values each operator takes at the least and at the most (`ValidateNodeSelectorRequirement`)."""


def _as_many_as_it_takes(requirement: dict[str, Any]) -> Problems:
    operator = requirement["operator"]
    given, (least, most) = len(requirement.get("values") or ()), _VALUES[operator]
    if given >= least and (most is None or given <= most):
        return ()
    many = "not be given" if most == 0 else "be given" if most is None else "be a single value"
    return wrong(f"must {many} with operator {operator}", "values")


def _requirements(key: Check, operators: tuple[str, ...], value: Check) -> Check:
    checks = {"key": key, "operator": one_of(*operators), "values": sequence(value)}
    return sequence(typed("core.v1.NodeSelectorRequirement", checks, rules=(_as_many_as_it_takes,)))


def _one_name(requirements: list[dict[str, Any]]) -> Problems:
    """A node has one name (`ValidateNodeFieldSelectorRequirement`)."""
    for index, requirement in enumerate(requirements):
        if len(requirement.get("values") or ()) > 1:
            return wrong("must be only one value", index, "values")
    return ()


_by_name = _requirements(one_of("metadata.name"), ("In", "NotIn"), label_value)


def _fields(value: Any) -> Problems:
    return _by_name(value) or _one_name(value)


_node_term = typed(
    "core.v1.NodeSelectorTerm",
    {"matchExpressions": _requirements(label_key, tuple(_VALUES), label_value), "matchFields": _fields},
)
node_selector = typed("core.v1.NodeSelector", {"nodeSelectorTerms": sequence(_node_term, least=1)})
_weight = integer(1, 100, "a weight")
_pod_term = typed(
    "core.v1.PodAffinityTerm",
    {
        "labelSelector": label_selector,
        "namespaceSelector": label_selector,
        "namespaces": sequence(dns_label),
        "topologyKey": label_key,
    },
)
_pod_affinity = {
    "requiredDuringSchedulingIgnoredDuringExecution": sequence(_pod_term),
    "preferredDuringSchedulingIgnoredDuringExecution": sequence(
        typed("core.v1.WeightedPodAffinityTerm", {"weight": _weight, "podAffinityTerm": _pod_term})
    ),
}

affinity = typed(
    "core.v1.Affinity",
    {
        "nodeAffinity": typed(
            "core.v1.NodeAffinity",
            {
                "requiredDuringSchedulingIgnoredDuringExecution": node_selector,
                "preferredDuringSchedulingIgnoredDuringExecution": sequence(
                    typed("core.v1.PreferredSchedulingTerm", {"weight": _weight, "preference": _node_term})
                ),
            },
        ),
        "podAffinity": typed("core.v1.PodAffinity", _pod_affinity),
        "podAntiAffinity": typed("core.v1.PodAntiAffinity", _pod_affinity),
    },
)


def _goes_together(toleration: dict[str, Any]) -> Problems:
    """`ValidateTolerations`."""
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key") and not exists:
        return wrong("must be Exists when key is empty, which means all values and all keys", "operator")
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        return wrong("must be NoExecute when tolerationSeconds is set", "effect")
    if toleration.get("value") and exists:
        return wrong("must be empty when operator is Exists", "value")
    return ()


def _domains_of_what_is_required(constraint: dict[str, Any]) -> Problems:
    if constraint.get("minDomains") is not None and constraint["whenUnsatisfiable"] != "DoNotSchedule":
        what = "can only use minDomains if whenUnsatisfiable=DoNotSchedule"
        return wrong(what, "minDomains")
    return ()


spread_constraints = sequence(
    typed(
        "core.v1.TopologySpreadConstraint",
        {
            "maxSkew": integer(1),
            "minDomains": integer(1),
            "topologyKey": label_key,
            "whenUnsatisfiable": one_of("DoNotSchedule", "ScheduleAnyway"),
            "labelSelector": label_selector,
            "nodeAffinityPolicy": one_of("Honor", "Ignore"),
            "nodeTaintsPolicy": one_of("Honor", "Ignore"),
        },
        rules=(_domains_of_what_is_required,),
    ),
    rules=(unique("topologyKey", "whenUnsatisfiable"),),
)

scheduling_gates = sequence(typed("core.v1.PodSchedulingGate", {"name": label_key}), rules=(unique("name"),))


def placed_without_gates(spec: dict[str, Any]) -> Problems:
    """KEP-3521."""
    if spec.get("nodeName") and spec.get("schedulingGates"):
        return wrong("cannot be set until all schedulingGates have been cleared", "nodeName")
    return ()


tolerations = sequence(
    typed(
        "core.v1.Toleration",
        {
            "key": maybe_empty(label_key),
            "operator": maybe_empty(one_of("Equal", "Exists")),
            "value": label_value,
            "effect": maybe_empty(one_of("NoSchedule", "PreferNoSchedule", "NoExecute")),
        },
        rules=(_goes_together,),
    )
)
