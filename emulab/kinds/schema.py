"""What is wrong with one object by itself, whatever kind it says it is of.

The structure of Kubernetes' kinds is that of its OpenAPI (`emulab.kinds.openapi`); what it can't say, and all of
emulab's own kinds, is in the kinds' modules. Rules between objects are in `emulab.cluster.admission.conflicts`.
"""

from __future__ import annotations

from typing import Any

from emulab.kinds.registry import KINDS
from emulab.model.checks import Problems, Unknown, show, string, suggest, wrong
from emulab.model.findings import path_text
from emulab.model.keys import group_kind
from emulab.model.paths import FieldPath


def check_object(raw: Any) -> Problems:
    """Everything that is wrong with one object by itself."""
    if type(raw) is not dict:
        return wrong(f"{show(raw)} is not an object: a mapping with apiVersion, kind and metadata")
    found = [problem for field in ("apiVersion", "kind") for problem in _named(raw, field)]
    if found:
        return found
    name, version = raw["kind"], raw["apiVersion"]
    kind = KINDS.get(group_kind(version, name))
    if kind is None or kind.api_version != version or kind.definition.standing.name == "refused":
        return _not_taken(name, version)
    if "status" in raw:  # of whatever cluster a dump is: statuses are the lab's
        raw = {field: value for field, value in raw.items() if field != "status"}
    return kind.definition.check(raw)


def unknown_field(path: FieldPath, meant: Unknown) -> str:
    """The API server's words for a field that there isn't, and what may have been meant."""
    return f'unknown field "{path_text(path)}"' + (f"; {meant}" if meant else "")


def _not_taken(name: str, version: str) -> Problems:
    """Why no object of that kind and version is taken."""
    namesakes = [kind for kind in KINDS if kind.kind == name]
    if not namesakes:
        known = [kind.kind for kind in KINDS if kind.definition.standing.name != "refused"]
        return wrong(f"{show(name)} is not a kind that emulab knows; {suggest(name, known)}", "kind")
    for kind in namesakes:
        if kind.definition.standing.name == "refused":
            return wrong(f"{show(name)} {kind.definition.standing.why}", "kind")
    versions = " or ".join(kind.api_version for kind in namesakes)
    return wrong(f"{show(version)} is not that of {name}, which is {versions}", "apiVersion")


def _named(raw: dict[str, Any], field: str) -> Problems:
    if field not in raw:
        return wrong("is required", field)
    return [((field, *path), why) for path, why in string(raw[field])]
