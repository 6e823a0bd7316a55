"""What the schemas of several kinds have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.kinds.kind import Kind
from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    annotation_map,
    base64,
    config_key,
    dns_label,
    either,
    label_key,
    label_map,
    label_value,
    mapping,
    maybe_empty,
    one_of,
    port,
    port_name,
    sequence,
    string_map,
    wrong,
)


def whole(
    kind: Kind,
    name: Check,
    spec: Check | None = None,
    *,
    optional_spec: bool = False,
    fields: Mapping[str, Check] | None = None,
    required: Sequence[str] = (),
    rules: Sequence[Rule] = (),
) -> Check:
    """The check of a whole object: its metadata, with that of its name, `spec`, and `fields` that stand beside it."""
    body: dict[str, Check] = {"metadata": _metadata(kind, name), **(fields or {})}
    needed: tuple[str, ...] = ("metadata", *required)
    if spec:
        body["spec"] = spec
        needed = needed if optional_spec else (*needed, "spec")
    return mapping(body, needed, rules)


def _metadata(kind: Kind, name: Check) -> Check:
    def none(_value: Any) -> Problems:
        return wrong(f"may not be set: a {kind.kind} is in no namespace")

    namespace = maybe_empty(dns_label if kind.namespaced else none)
    fields = {
        "name": name,
        "namespace": namespace,
        "labels": label_map,
        "annotations": annotation_map,
        "finalizers": sequence(label_key),  # qualified names (ValidateFinalizerName)
    }
    return mapping(fields, required=("name",))


protocol = one_of("TCP", "UDP", "SCTP")

port_or_name = either(int, port, port_name)


def _expression(value: dict[str, Any]) -> Problems:
    needs = value["operator"] in ("In", "NotIn")
    if needs == bool(value.get("values")):
        return ()
    return wrong(f"must {'' if needs else 'not '}be given with operator {value['operator']}", "values")


label_selector = mapping(
    {
        "matchLabels": label_map,
        "matchExpressions": sequence(
            mapping(
                {
                    "key": label_key,
                    "operator": one_of("In", "NotIn", "Exists", "DoesNotExist"),
                    "values": sequence(label_value),
                },
                required=("key", "operator"),
                rules=(_expression,),
            )
        ),
    }
)


def base64_map(value: Any) -> Problems:
    return string_map(config_key, base64)(value)


texts = string_map(config_key)
