"""What the schemas of several kinds have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.kinds.kind import Kind
from emulab.kinds.openapi.typed import typed
from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    annotation_map,
    anything,
    base64,
    config_key,
    dns_label,
    dns_subdomain,
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
    string,
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
    optional: Sequence[str] = (),
) -> Check:
    """The check of a whole object: its metadata, with that of its name, `spec`, and `fields` that stand beside it."""
    body: dict[str, Check] = {"metadata": metadata_of(kind, name), **(fields or {})}
    needed: tuple[str, ...] = ("metadata", *required)
    if spec:
        body["spec"] = spec
        needed = needed if optional_spec else (*needed, "spec")
    if kind.is_kubernetes:
        return typed(kind.structures[0], body, needed, rules, optional)
    return mapping({"apiVersion": string, "kind": string, **body}, needed, rules, closed=True)


SERVER_METADATA = (
    *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"),
    *("deletionGracePeriodSeconds", "managedFields", "ownerReferences", "selfLink"),
)
"""Metadata that the API server (or, of owners, a controller) writes; from a user it means nothing here."""


def object_meta(required: Sequence[str] = (), **fields: Check) -> Check:
    """An object's metadata, or a template's, as ObjectMeta has it; `fields` are checked besides."""
    given = {"labels": label_map, "annotations": annotation_map, **fields}
    return typed("meta.v1.ObjectMeta", {**given, **dict.fromkeys(SERVER_METADATA, anything)}, required)


def metadata_of(kind: Kind, name: Check) -> Check:
    """An object's metadata, with the check of its name. A namespace that a kind has no room for is taken off it."""
    namespace = maybe_empty(dns_label) if kind.namespaced else string
    finalizers = sequence(label_key)  # qualified names (ValidateFinalizerName)
    return object_meta(("name",), name=name, namespace=namespace, finalizers=finalizers)


custom_metadata = object_meta(
    ("name",), name=dns_subdomain, namespace=maybe_empty(dns_label), finalizers=sequence(label_key)
)

protocol = one_of("TCP", "UDP", "SCTP")

port_or_name = either(int, port, port_name)


def _expression(value: dict[str, Any]) -> Problems:
    needs = value["operator"] in ("In", "NotIn")
    if needs == bool(value.get("values")):
        return ()
    return wrong(f"must {'' if needs else 'not '}be given with operator {value['operator']}", "values")


label_selector = typed(
    "meta.v1.LabelSelector",
    {
        "matchLabels": label_map,
        "matchExpressions": sequence(
            typed(
                "meta.v1.LabelSelectorRequirement",
                {
                    "key": label_key,
                    "operator": one_of("In", "NotIn", "Exists", "DoesNotExist"),
                    "values": sequence(label_value),
                },
                rules=(_expression,),
            )
        ),
    },
)


_LARGEST = 1 << 20
"""Bytes of all that a ConfigMap or a Secret holds (`MaxSecretSize`)."""


def small_enough(plain: str, encoded: str) -> Rule:
    """A rule of an object that holds texts in one field, and bytes in base64 in the other."""

    def rule(value: dict[str, Any]) -> Problems:
        said = value.get(plain) or {}  # which an API server takes for what is in both of a Secret's fields
        bytes_ = sum(len(text.encode()) for text in said.values())
        for key, text in (value.get(encoded) or {}).items():
            letters = len(text) - sum(map(text.count, "\r\n="))
            bytes_ += 0 if key in said else letters * 3 // 4
        return (
            wrong(f"may not hold more than {_LARGEST} bytes; these are {bytes_}") if bytes_ > _LARGEST else ()
        )

    return rule


def base64_map(value: Any) -> Problems:
    return string_map(config_key, base64)(value)


texts = string_map(config_key)
