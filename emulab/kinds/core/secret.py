"""Secrets, and the certificates that they carry."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import base64_map, texts, whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.registry import SECRET
from emulab.kinds.selectable import field
from emulab.model.checks import Problems, dns_subdomain, wrong

if TYPE_CHECKING:
    from emulab.model.objects import Object


class TLSPair(NamedTuple):
    """A certificate chain and its key, PEM."""

    certificate: str
    key: str


def texts_of(secret: Object) -> dict[str, str]:
    """All that a Secret has, by key; `stringData` wins over `data`, as on write to the API server."""
    data = secret.raw.get("data") or {}
    found = {key: b64decode(value or "").decode(errors="replace") for key, value in data.items()}
    return found | {key: str(value) for key, value in (secret.raw.get("stringData") or {}).items()}


def text_of(secret: Object, key: str) -> str | None:
    """What a Secret has under a key."""
    return texts_of(secret).get(key)


def tls_pair(secret: Object) -> TLSPair | None:
    """The pair in a `kubernetes.io/tls` Secret (`data` base64, or `stringData`); None where it has none."""
    text = secret.raw.get("stringData") or {}
    data = secret.raw.get("data") or {}
    # stringData wins over data, as on write to the API server
    parts = [
        text[name] if name in text else b64decode(data.get(name) or "").decode(errors="replace")
        for name in ("tls.crt", "tls.key")
    ]
    return TLSPair(*parts) if all(parts) else None


def pem(secret: Object, name: str) -> str:
    """What a Secret has under a name, as text (`data` base64, or `stringData`, which wins); "" for nothing."""
    text = secret.raw.get("stringData") or {}
    if name in text:
        return str(text[name])
    return b64decode((secret.raw.get("data") or {}).get(name) or "").decode(errors="replace")


def _written(o: Object) -> Object:
    """`stringData` is for writing alone: what it has is in `data` then (pkg/apis/core/v1, conversion of a Secret)."""
    if "stringData" not in o.raw:
        return o
    texts_given = {k: b64encode(str(v).encode()).decode() for k, v in (o.raw["stringData"] or {}).items()}
    rest = {name: value for name, value in o.raw.items() if name != "stringData"}
    return replace(o, raw={**rest, "data": {**(o.raw.get("data") or {}), **texts_given}})


def _has_pair(secret: dict[str, Any]) -> Problems:
    if secret.get("type") != "kubernetes.io/tls":
        return ()
    given = {**secret.get("data", {}), **secret.get("stringData", {})}
    return [
        problem
        for name in ("tls.crt", "tls.key")
        if name not in given
        for problem in wrong("is required when type is kubernetes.io/tls", "data", name)
    ]


def _cells(o: Raw, now: float) -> Cells:
    keys = {*(o.get("data") or {}), *(o.get("stringData") or {})}
    return [cells.name(o), str(o.get("type") or "Opaque"), str(len(keys)), cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    """As kubectl: sizes, not values."""
    sizes = {k: len(b64decode(v or "")) for k, v in (o.get("data") or {}).items()}
    sizes |= {k: len(str(v).encode()) for k, v in (o.get("stringData") or {}).items()}
    found = [f"{k}: {size} bytes" for k, size in sorted(sizes.items())]
    return [("Type", str(o.get("type") or "Opaque")), ("Data", found)]


DEFINITION = Definition(
    check=whole(
        SECRET,
        dns_subdomain,
        fields={"data": base64_map, "stringData": texts},
        rules=(_has_pair,),
    ),
    written=_written,
    fields=kind_table() | table("data stringData type", kept="immutable"),
    columns=Columns(("NAME", "TYPE", "DATA", "AGE"), (), _cells),
    describe=_describe,
    selectable={"type": field("type", "Opaque")},
)
