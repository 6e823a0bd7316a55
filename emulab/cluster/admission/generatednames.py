"""Names of objects that have a `generateName` alone: the API server makes one up.

It draws five characters at random. Here they depend on what the name is for, as those of Pods do, and on how many such
objects came before: who gives a manifest again gives the objects that are there already.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from emulab.cluster.controllers.names import LONGEST_BASE, safe_hash


def asked_base(data: Any) -> str:
    """What the name of a manifest's object is to begin with; "" where it has one, or asks for none."""
    metadata = data.get("metadata") if type(data) is dict else None
    base = metadata.get("generateName") if type(metadata) is dict and not metadata.get("name") else None
    return base if type(base) is str else ""


class GeneratedNames:
    """The names of one batch of manifests."""

    def __init__(self) -> None:
        self._many: Counter[tuple[str, ...]] = Counter()

    def given(self, data: Any) -> Any:
        """The object with a name, if one is to be made up."""
        base = asked_base(data)
        if not base:
            return data
        metadata = data["metadata"]
        what = (str(data.get("kind")), str(metadata.get("namespace") or ""), base)
        self._many[what] += 1
        name = base[:LONGEST_BASE] + safe_hash(*what, self._many[what])
        return {**data, "metadata": {**metadata, "name": name}}
