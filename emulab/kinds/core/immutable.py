"""ConfigMaps and Secrets that are `immutable`: nobody changes what they have until they are deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError

if TYPE_CHECKING:
    from emulab.model.objects import Object


def keep(*contents: str) -> Callable[[Object, Object, dict[str, Any]], Mapping[str, Any]]:
    """A `merge` that keeps these fields as they are of what is immutable (`ValidateConfigMapUpdate`)."""

    def merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
        if not old.raw.get("immutable"):
            return spec
        changed = [field for field in contents if (old.raw.get(field) or {}) != (new.raw.get(field) or {})]
        if not new.raw.get("immutable"):
            changed.insert(0, "immutable")
        if changed:
            raise UserError(
                f"{new.position}: {new.key} {changed[0]}: field is immutable when `immutable` is set;"
                f" delete the {new.kind} first"
            )
        return spec

    return merge
