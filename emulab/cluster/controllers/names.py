"""Deterministic names, uids and owner references.

Kubernetes draws the last five characters of a generated name at random, from an alphabet without vowels and
look-alikes (apimachinery's `rand.SafeEncodeString`); here they are a hash over what the name stands for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from itertools import count
from typing import Any
from uuid import UUID, uuid5

from emulab.cluster.controllers.world import WorkingCopy
from emulab.model.keys import Key
from emulab.model.objects import Object

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX = 5
LONGEST_BASE = 63 - SUFFIX
"""Characters that the API server's name generator keeps of a base, so that a label can hold the name."""
_encode = json.JSONEncoder(sort_keys=True, default=str, separators=(",", ":")).encode
_UIDS = UUID("6f0c6ac7-51f4-4d6e-a1b6-3c1f0c9e7a52")  # any fixed namespace will do


def safe_hash(*parts: object, length: int = SUFFIX) -> str:
    """`length` characters of the safe alphabet that depend on `parts` alone."""
    number = int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest())
    characters = []
    for _ in range(length):
        number, index = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[index])
    return "".join(characters)


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """The pod-template-hash of a template: equal for equal content, whatever the order of its keys."""
    return safe_hash(_encode(template), *([collisions] if collisions else []), length=10)


def generated_name(world: WorkingCopy, key: Key, *parts: object, start: int = 0) -> tuple[str, int]:
    """The first free name `KEY.NAME-XXXXX` and the index it stands for, counted from `start`.

    Names of objects that are ending are not free, nor are those that Pods had who are gone: drawn at random,
    as in Kubernetes, they would not come back.
    """
    for index in count(start):
        suffix = safe_hash(key.namespace, key.name, *parts, index)
        name = f"{key.name}-"[:LONGEST_BASE] + suffix
        candidate = key._replace(name=name)
        if world.get(candidate) is None and candidate not in world.pods_ever:
            return name, index
    raise AssertionError("unreachable")


def new_uid(key: Key, owner: str) -> str:
    """The uid of a new object that belongs to the owner with that uid."""
    return str(uuid5(_UIDS, f"{key}/{owner}"))


def controller_reference(owner: Object) -> dict[str, Any]:
    """The `ownerReference` that makes `owner` the controller of an object."""
    return {
        "apiVersion": owner.raw.get("apiVersion", ""),
        "kind": owner.kind,
        "name": owner.name,
        "uid": str(owner.metadata.get("uid") or ""),
        "controller": True,
        "blockOwnerDeletion": True,
    }
