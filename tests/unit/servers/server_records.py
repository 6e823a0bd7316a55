"""A listener for what servers tell."""

from __future__ import annotations

from typing import Any


class Told(list[dict[str, Any]]):
    """Takes the place of the hosting process: every record, in the order in which they were told."""

    wanted = True

    def __call__(self, record: dict[str, Any], /) -> None:
        self.append(record)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self if record["event"] == event]
