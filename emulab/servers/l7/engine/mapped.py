"""The values that a `map` of nginx has: texts, whatever their case, and expressions after `~`, or `~*` for any case.

Pure. A text that begins with `~` has a backslash before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from emulab.servers.l7.engine.conditions import pattern


class MappedValues:
    """What a key of the configuration says of values: which of them are meant."""

    __slots__ = ("_expressions", "_texts")

    def __init__(self, said: Iterable[str]) -> None:
        self._texts: set[str] = set()
        self._expressions: list[re.Pattern[str]] = []
        for one in said:
            if one.startswith("~"):
                anyhow = one.startswith("~*")
                self._expressions.append(pattern(one[2 if anyhow else 1 :], re.IGNORECASE if anyhow else 0))
            else:
                self._texts.add(one.lower().removeprefix("\\"))

    def __len__(self) -> int:
        return len(self._texts) + len(self._expressions)

    def __contains__(self, value: str) -> bool:
        return value.lower() in self._texts or any(one.search(value) for one in self._expressions)
