"""What a container may say of its environment, as core/v1 validates it."""

from __future__ import annotations

from typing import Any

from emulab.kinds.core.downwardschema import field_of_pod, resource_field
from emulab.kinds.openapi.typed import typed
from emulab.model.checks import Check, Problems, exactly_one, maybe_empty, pattern, sequence, wrong

_name = pattern(r"[^=\x00]+", "the name of an environment variable")


def _reference(definition: str) -> Check:
    return typed(definition, required=("name",))


def _value_once(value: dict[str, Any]) -> Problems:
    both = value.get("value") and "valueFrom" in value
    return wrong("may not be given beside value", "valueFrom") if both else ()


_variable = typed(
    "core.v1.EnvVar",
    {
        "name": _name,
        "valueFrom": typed(
            "core.v1.EnvVarSource",
            {
                "fieldRef": field_of_pod(),
                "resourceFieldRef": resource_field(),
                "configMapKeyRef": _reference("core.v1.ConfigMapKeySelector"),
                "secretKeyRef": _reference("core.v1.SecretKeySelector"),
            },
            rules=(
                exactly_one("fieldRef", "configMapKeyRef", "secretKeyRef", "resourceFieldRef", "fileKeyRef"),
            ),
        ),
    },
    rules=(_value_once,),
)
environment = sequence(_variable)

environment_from = sequence(
    typed(
        "core.v1.EnvFromSource",
        {
            "prefix": maybe_empty(_name),
            "configMapRef": _reference("core.v1.ConfigMapEnvSource"),
            "secretRef": _reference("core.v1.SecretEnvSource"),
        },
        rules=(exactly_one("configMapRef", "secretRef"),),
    )
)
