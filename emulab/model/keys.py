"""What identifies kinds and objects."""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import NamedTuple


@lru_cache(256)
def group_of(api_version: str) -> str:
    """The group in an apiVersion: "apps" of "apps/v1", "" of "v1". It is one and the same string each time."""
    return intern(api_version.rpartition("/")[0])


class GroupKind(NamedTuple):
    """A kind and the API group that it is of, "" for the core one (apimachinery's `schema.GroupKind`).

    Kinds of one name in different groups are different kinds. Those that there are come from `emulab.kinds.registry`.
    """

    group: str
    kind: str

    def key(self, namespace: str, name: str) -> Key:
        """The key of an object of this kind; `namespace` is empty where the kind is in none."""
        return Key(self[0], self[1], namespace, name)


@lru_cache(256)
def group_kind(api_version: str, kind: str) -> GroupKind:
    """What an object says that it is."""
    return GroupKind(group_of(api_version), kind)


class Key(NamedTuple):
    """What identifies an object in a lab. `namespace` is empty for cluster-scoped kinds."""

    group: str
    kind: str
    namespace: str
    name: str

    @property
    def type(self) -> GroupKind:
        return GroupKind(self[0], self[1])

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"
