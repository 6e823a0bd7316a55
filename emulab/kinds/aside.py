"""Kinds of Kubernetes that have no bearing on packets or programs: checked by their structure, kept and shown."""

from __future__ import annotations

from functools import cache
from typing import Any

from emulab.kinds.checks import metadata_of
from emulab.kinds.definition import ASIDE, Definition
from emulab.kinds.kind import Kind
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import CLUSTER_ROLE_BINDING, KINDS, ROLE_BINDING
from emulab.model.checks import Check, Problems, pattern
from emulab.model.keys import group_kind

# apimachinery's `IsValidPathSegmentName`, which is all that some of these kinds ask for.
_segment = pattern(r"(?!\.\.?$)[^/%]+", "a name: it may not be '.' or '..', nor have '/' or '%' in it", 253)


def check(raw: dict[str, Any]) -> Problems:
    """What is wrong with an object by its structure and metadata."""
    return _check_of(KINDS[group_kind(raw["apiVersion"], raw["kind"])], raw["apiVersion"])(raw)


_role = typed("rbac.v1.RoleRef", optional=("apiGroup",))
"""The API server knows which group a role is of (pkg/apis/rbac/v1/defaults.go)."""


@cache
def _check_of(kind: Kind, api_version: str) -> Check:
    structure = kind.structures[(kind.api_version, *kind.also).index(api_version)]
    own = {"metadata": metadata_of(kind, _segment)}
    if kind in (ROLE_BINDING, CLUSTER_ROLE_BINDING):
        own["roleRef"] = _role
    return typed(structure, own, required=("metadata",))


DEFINITION = Definition(check=check, standing=ASIDE)
