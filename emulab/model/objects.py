"""An object as it was given: raw mapping, identity and position.

The raw mapping is kept whole, fields that nothing here reads included, because a Kubernetes-shaped API
is served from it. Treat `raw` as immutable: who changes an object makes a new one (`replace`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from emulab.dataclass import dataclass, field
from emulab.model.keys import GroupKind, Key, group_kind, group_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the manifests something stands; `line` counts from 1."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "(generated)"


NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class Object:
    """One Kubernetes-shaped object; `metadata.namespace` is filled in (`default`) where the kind has one."""

    raw: Mapping[str, Any]
    position: Position = field(default=NOWHERE, compare=False)
    _view: tuple[Any, Any] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """The kind's name, for people; what kind it is says `type`."""
        return str(self.raw["kind"])

    @property
    def type(self) -> GroupKind:
        return group_kind(self.raw["apiVersion"], self.raw["kind"])

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.raw.get("metadata") or {}

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace") or "")

    @property
    def key(self) -> Key:
        # Asked for more often than anything else, so without the detour over the properties.
        raw = self.raw
        metadata = raw["metadata"]
        return Key(
            group_of(raw["apiVersion"]), raw["kind"], metadata.get("namespace") or "", metadata["name"]
        )

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.get("annotations") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.raw.get("spec") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return self.raw.get("status") or {}

    def view(self, make: Callable[[Object], T]) -> T:
        """What `make` reads out of this object, which isn't read again as long as no other maker asks."""
        known = self._view
        if known is None or known[0] is not make:
            known = make, make(self)
            object.__setattr__(self, "_view", known)
        made: T = known[1]
        return made

    def replace(self, **fields: Any) -> Object:
        """The same object with top-level fields replaced: `o.replace(status={...})`."""
        return Object({**self.raw, **fields}, self.position)
