"""What is wrong with one object by itself, whatever kind it says it is of.

The structure of Kubernetes' kinds is that of its OpenAPI (`emulab.kinds.openapi`); what it can't say, and all of
emulab's own kinds, is in the kinds' modules. Rules between objects are in `emulab.cluster.admission.conflicts`.
"""

from __future__ import annotations

from typing import Any

from emulab.kinds.definition import CUSTOM, FOLLOWED
from emulab.kinds.registry import KINDS
from emulab.model.checks import Problems, Unknown, dns_1035_label, dns_subdomain, show, string, wrong
from emulab.model.findings import path_text
from emulab.model.keys import group_kind, group_of
from emulab.model.paths import FieldPath
from emulab.model.suggestions import suggest


def check_object(raw: Any) -> Problems:
    """Everything that is wrong with one object by itself."""
    if type(raw) is not dict:
        return wrong(f"{show(raw)} is not an object: a mapping with apiVersion, kind and metadata")
    found = [problem for field in ("apiVersion", "kind") for problem in _named(raw, field)]
    if found:
        return found
    name, version = raw["kind"], raw["apiVersion"]
    kind = KINDS.get(group_kind(version, name))
    if kind is None and _may_be_custom(name, version):
        kind = KINDS.adopt(version, name)
    custom = kind is not None and kind.definition.standing == CUSTOM
    if kind is None or not (custom or version in (kind.api_version, *kind.also)):
        return _not_taken(name, version)
    if kind.definition.standing.name == "refused":
        return wrong(f"{show(name)} is not given as an object; {kind.definition.standing.why}", "kind")
    if "status" in raw:  # of whatever cluster a dump is: statuses are the lab's
        raw = {field: value for field, value in raw.items() if field != "status"}
    return kind.definition.check(raw)


def unknown_field(path: FieldPath, meant: Unknown) -> str:
    """The API server's words for a field that there isn't, and what may have been meant."""
    return f'unknown field "{path_text(path)}"' + (f"; {meant}" if meant else "")


def _may_be_custom(name: str, version: str) -> bool:
    """Whether a CustomResourceDefinition could say that there is such a kind (`ValidateCustomResourceDefinition`)."""
    group = group_of(version)
    words = (name.lower(), version.removeprefix(f"{group}/"))
    return not (KINDS.is_own(group) or dns_subdomain(group) or any(map(dns_1035_label, words)))


def _not_taken(name: str, version: str) -> Problems:
    """Why no object of that kind and version is taken, in kubectl's words where there is such a kind."""
    if namesakes := [kind for kind in KINDS if kind.kind == name]:
        versions = " or ".join(v for kind in namesakes for v in (kind.api_version, *kind.also))
        return wrong(
            f"no matches for kind {show(name)} in version {show(version)}; write {versions}", "apiVersion"
        )
    group = group_of(version)
    meant = suggest(name, [kind.kind for kind in KINDS if kind.group == group], listed=())
    if not meant:
        taken = [kind.kind for kind in KINDS if kind.definition.standing == FOLLOWED]
        meant = suggest(name, [kind.kind for kind in KINDS], listed=taken)
    return wrong(f"{show(name)} is not a kind that emulab knows; {meant}", "kind")


def _named(raw: dict[str, Any], field: str) -> Problems:
    if field not in raw:
        return wrong("is required", field)
    return [((field, *path), why) for path, why in string(raw[field])]
