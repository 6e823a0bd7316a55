"""Secrets, and the certificates that they carry."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import base64_map, small_enough, texts, whole
from emulab.kinds.core import immutable
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.registry import SECRET
from emulab.kinds.selectable import field
from emulab.model.checks import Problems, dns_subdomain, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emulab.model.objects import Object


_OPAQUE = "Opaque"  # the type of one that has none


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
    """The pair in a `kubernetes.io/tls` Secret; None where it has none."""
    parts = [pem(secret, name) for name in ("tls.crt", "tls.key")]
    return TLSPair(*parts) if all(parts) else None


def pem(secret: Object, name: str) -> str:
    """What a Secret has under a name; "" for nothing."""
    return text_of(secret, name) or ""


def _written(o: Object) -> Object:
    """`stringData` is for writing alone: what it has is in `data` then (pkg/apis/core/v1, conversion of a Secret)."""
    if "stringData" not in o.raw:
        return o
    texts_given = {k: b64encode(str(v).encode()).decode() for k, v in (o.raw["stringData"] or {}).items()}
    rest = {name: value for name, value in o.raw.items() if name != "stringData"}
    return replace(o, raw={**rest, "data": {**(o.raw.get("data") or {}), **texts_given}})


_kept = immutable.keep("data")


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    """Raises UserError for what an API server refuses to change (`ValidateSecretUpdate`)."""
    kept = old.raw.get("type") or _OPAQUE
    if (new.raw.get("type") or _OPAQUE) != kept:
        raise UserError(
            f"{new.position}: {new.key} type: can't be changed; it is {kept}; delete the Secret first"
        )
    return _kept(old, new, spec)


_NEEDED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
"""What a Secret has to have by its type (`ValidateSecret`)."""
_LOGIN = "kubernetes.io/basic-auth"
_TOKEN, _ACCOUNT = "kubernetes.io/service-account-token", "kubernetes.io/service-account.name"


def _has_what_its_type_needs(secret: dict[str, Any]) -> Problems:
    type_ = secret.get("type")
    given = {**(secret.get("data") or {}), **(secret.get("stringData") or {})}
    if type_ == _LOGIN and not given.keys() & {"username", "password"}:
        return wrong(f"username or password is required when type is {type_}", "data")
    if type_ == _TOKEN and not (secret["metadata"].get("annotations") or {}).get(_ACCOUNT):
        return wrong(f"is required when type is {type_}", "metadata", "annotations", _ACCOUNT)
    return [
        problem
        for name in _NEEDED.get(str(type_), ())
        if name not in given
        for problem in wrong(f"is required when type is {type_}", "data", name)
    ]


def _cells(o: Raw, now: float) -> Cells:
    keys = {*(o.get("data") or {}), *(o.get("stringData") or {})}
    return [cells.name(o), str(o.get("type") or _OPAQUE), str(len(keys)), cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    """As kubectl: sizes, not values."""
    sizes = {k: len(b64decode(v or "")) for k, v in (o.get("data") or {}).items()}
    sizes |= {k: len(str(v).encode()) for k, v in (o.get("stringData") or {}).items()}
    found = [f"{k}: {size} bytes" for k, size in sorted(sizes.items())]
    return [("Type", str(o.get("type") or _OPAQUE)), ("Data", found)]


DEFINITION = Definition(
    check=whole(
        SECRET,
        dns_subdomain,
        fields={"data": base64_map, "stringData": texts},
        rules=(_has_what_its_type_needs, small_enough("stringData", "data")),
    ),
    written=_written,
    merge=_merge,
    fields=kind_table() | table("data immutable stringData type"),
    columns=Columns(("NAME", "TYPE", "DATA", "AGE"), (), _cells),
    describe=_describe,
    selectable={"type": field("type", _OPAQUE)},
)
