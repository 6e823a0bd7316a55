"""Paths that regular expressions match: the expressions of an Ingress' paths are asked by what they take. Pure.

The path is drawn from the expression as it is parsed: of alternatives the first, of what may repeat one, so that groups
have something in them, and of characters a plain one. What can't be drawn so (looking ahead, say) is left out, and the
expression itself says whether the path will do.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from emulab.servers.l7.config.patterns import as_python

_PLAIN = f"{string.ascii_lowercase}{string.digits}{string.ascii_uppercase}-_.~/"
"""What may stand in a path as it is, the best first."""
_DRAWN_AT_MOST = 200


def path_of_pattern(text: str) -> str | None:
    """A path that this expression takes, as nginx asks for it; None where none is found."""
    expression = as_python(text.encode()).decode()
    try:
        compiled = re.compile(f"^{expression}", re.IGNORECASE)
        drawn = _Drawing().of(parser.parse(expression))
    except (re.error, OverflowError, RecursionError):
        return None
    for path in (text, drawn if drawn.startswith("/") else f"/{drawn}"):
        if path and set(path) <= set(_PLAIN) and compiled.search(path):
            return path
    return None


class _Drawing:
    def __init__(self) -> None:
        self._groups: dict[int, str] = {}

    def of(self, parsed: Iterable[tuple[Any, Any]]) -> str:
        """What the parts of an expression take, one after the other."""
        return "".join(self._part(code, argument) for code, argument in parsed)

    def _part(self, code: Any, argument: Any) -> str:
        if code is codes.LITERAL:
            return chr(argument)
        if code is codes.BRANCH:
            return self.of(argument[1][0])
        if code is codes.SUBPATTERN:
            number: int | None = argument[0]
            drawn = self.of(argument[-1])
            if number is not None:
                self._groups[number] = drawn
            return drawn
        if code is codes.GROUPREF:
            return str(self._groups.get(argument, ""))
        if code is codes.ATOMIC_GROUP:
            return self.of(argument)
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            least, most, repeated = argument
            times: int = min(max(least, 1), most)
            one = self.of(repeated)
            return one * min(times, _DRAWN_AT_MOST // max(len(one), 1) + 1)  # what repeats may repeat others
        return next(filter(_taking(code, argument), _PLAIN), "")


def _taking(code: Any, argument: Any) -> Callable[[str], bool]:
    """Whether one part of an expression takes a character."""
    if code is codes.ANY:
        return lambda _: True
    if code is codes.NOT_LITERAL:
        return lambda one: bool(ord(one) != argument)
    if code is not codes.IN:
        return lambda _: False
    negated = argument[0][0] is codes.NEGATE
    return lambda one: any(_is_in(one, *member) for member in argument[negated:]) is not negated


_CATEGORIES: Mapping[Any, Callable[[str], bool]] = {
    codes.CATEGORY_DIGIT: str.isdigit,
    codes.CATEGORY_WORD: lambda one: one.isalnum() or one == "_",
    codes.CATEGORY_SPACE: str.isspace,
    codes.CATEGORY_NOT_DIGIT: lambda one: not one.isdigit(),
    codes.CATEGORY_NOT_WORD: lambda one: not (one.isalnum() or one == "_"),
    codes.CATEGORY_NOT_SPACE: lambda one: not one.isspace(),
}


def _is_in(one: str, code: Any, argument: Any) -> bool:
    """Whether a character is of one member of a class."""
    if code is codes.LITERAL:
        return bool(ord(one) == argument)
    if code is codes.RANGE:
        return bool(argument[0] <= ord(one) <= argument[1])
    return _CATEGORIES[argument](one)
