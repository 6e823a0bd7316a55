"""ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import base64_map, small_enough, texts, whole
from emulab.kinds.core import immutable
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.registry import CONFIG_MAP
from emulab.model.checks import Problems, dns_subdomain, wrong
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object


def _keys_once(config: dict[str, Any]) -> Problems:
    return [
        problem
        for key in config.get("binaryData") or {}
        if key in (config.get("data") or {})
        for problem in wrong("duplicate of key present in data", "binaryData", key)
    ]


def _cells(o: Raw, now: float) -> Cells:
    return [
        cells.name(o),
        str(len(o.get("data") or {}) + len(o.get("binaryData") or {})),
        cells.age(o, now),
    ], []


def _describe(o: Raw, _: Slices) -> Fields:
    data: Fields = [(str(k), str(v).splitlines() or [""]) for k, v in sorted((o.get("data") or {}).items())]
    return [("Data", data or NONE)]


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    from emulab.kinds.core.agentsettings import oddities  # of who has a ConfigMap

    return oddities(o, world)


DEFINITION = Definition(
    check=whole(
        CONFIG_MAP,
        dns_subdomain,
        fields={"data": texts, "binaryData": base64_map},
        rules=(_keys_once, small_enough("data", "binaryData")),
    ),
    merge=immutable.keep("data", "binaryData"),
    warnings=_warnings,
    fields=kind_table() | table("binaryData data immutable"),
    columns=Columns(("NAME", "DATA", "AGE"), (), _cells),
    describe=_describe,
)
