"""Label selectors, as `metav1.LabelSelector` and Service selectors mean them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches_labels(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every pair of `selector` is among `labels`. An empty selector matches all."""
    return all(labels.get(key) == value for key, value in selector.items())


def matches_selector(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether `labels` satisfy a LabelSelector (`matchLabels` and `matchExpressions`)."""
    if not matches_labels(selector.get("matchLabels") or {}, labels):
        return False
    return all(_matches_expression(e, labels) for e in selector.get("matchExpressions") or ())


def _matches_expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:  # DoesNotExist
            return key not in labels


def label_selector_of(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The LabelSelector of a workload's spec. A ReplicationController's selector is a plain mapping of labels."""
    selector: Mapping[str, Any] = spec.get("selector") or {}
    if any(isinstance(value, str) for value in selector.values()):
        return {"matchLabels": selector}
    return selector
