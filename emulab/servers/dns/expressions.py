"""Regular expressions as Go's `regexp` has them, by RE2, which that package follows.

They take time in proportion to a name's length whatever they say, so no Corefile holds up its server. Looking ahead and
behind and references back to a group, which can't be had at that price, are errors as they are in Go.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol, cast


class GroupsFound(Protocol):
    """Where an expression finds something; groups that take no part are None."""

    def group(self, number: int, /) -> str: ...

    def groups(self) -> tuple[str | None, ...]: ...

    def groupdict(self) -> Mapping[str, str | None]: ...


class Expression(Protocol):
    @property
    def groups(self) -> int:
        """How many there are."""
        ...

    def search(self, text: str, /) -> GroupsFound | None: ...


@lru_cache(maxsize=1)
def _library() -> tuple[Any, Any]:
    """RE2, and how it is asked: its own log is no place for what a user is told. Loaded where something needs it."""
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2, options


def expression(text: str) -> Expression:
    """A regular expression. Raises ValueError."""
    library, options = _library()
    try:
        return cast(Expression, library.compile(text, options))
    except library.error as error:
        reason = error.args[0].decode(errors="replace") if error.args else "it can't be read"
        raise ValueError(f"{text!r} is no regular expression: {reason}") from None
