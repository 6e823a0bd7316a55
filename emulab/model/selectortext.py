"""Label selectors and field selectors as they are written on a command line. Pure.

The grammar and the words of errors are those of apimachinery's `labels.Parse` and `fields.ParseSelector`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from emulab.errors import UserError

_TOKEN = re.compile(r"\s*(==|!=|[=(),!<>]|[^\s=(),!<>]+|$)")
_SYMBOLS = frozenset(("==", "!=", "=", "(", ")", ",", "!", "<", ">", ""))
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_PREFIX_MAX = 253
_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_OPERATORS = "in, notin, =, ==, !=, gt, lt"


class Requirement(NamedTuple):
    """What one part of a selector asks of a label: `operator` is one of in, notin, exists, !, gt, lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not re.fullmatch(r"[+-]?\d+", value):
            return False
        bound = int(self.values[0])
        return int(value) > bound if self.operator == "gt" else int(value) < bound


class FieldRequirement(NamedTuple):
    field: str
    equal: bool
    value: str


def label_requirements(text: str) -> tuple[Requirement, ...]:
    """What a label selector asks for; nothing, if it is empty. Raises UserError."""
    return tuple(_Parser(text).requirements())


def field_requirements(text: str) -> tuple[FieldRequirement, ...]:
    """What a field selector asks for: `a.b=c,d!=e`. Raises UserError."""
    found = []
    for part in filter(None, re.split(r"(?<!\\),", text)):
        match = re.fullmatch(r"((?:\\.|[^=!\\])*)(==|!=|=)(.*)", part)
        if match is None:
            raise UserError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = re.sub(r"\\([\\,=])", r"\1", match[3])
        found.append(FieldRequirement(match[1], match[2] != "!=", value))
    return tuple(found)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [m[1] for m in _TOKEN.finditer(text)]
        if not self._tokens or self._tokens[-1]:
            self._tokens.append("")
        self._at = 0

    def _look(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        if self._look() == "":
            return found
        while True:
            if self._look() in _SYMBOLS - {"!"}:
                raise self._wrong(self._look(), "!, identifier, or 'end of string'")
            found.append(self._requirement())
            token = self._next()
            if token == "":
                return found
            if token != ",":
                raise self._wrong(token, "',' or 'end of string'")
            if self._look() != "!" and self._look() in _SYMBOLS:
                raise self._wrong(self._look(), "identifier after ','")

    def _requirement(self) -> Requirement:
        absent = self._look() == "!"
        if absent:
            self._next()
        key = self._next()
        if key in _SYMBOLS:
            raise self._wrong(key, "identifier")
        if why := _no_label(key):
            raise UserError(f'unable to parse requirement: <nil>: Invalid value: "{key}": {why}')
        if self._look() in ("", ","):
            return Requirement(key, "!" if absent else "exists")
        if absent:
            raise self._wrong(self._look(), "',' or 'end of string'")
        return self._comparison(key)

    def _comparison(self, key: str) -> Requirement:
        match self._next():
            case "=" | "==":
                return Requirement(key, "in", (self._value(key),))
            case "!=":
                return Requirement(key, "notin", (self._value(key),))
            case ("in" | "notin") as word:
                return Requirement(key, word, self._values(key))
            case ("<" | ">") as sign:
                bound = self._value(key)
                if not re.fullmatch(r"[+-]?\d+", bound):
                    raise UserError(
                        f"unable to parse requirement: values[0][{key}]: Invalid value: \"{bound}\": for 'Gt', 'Lt' "
                        "operators, the value must be an integer"
                    )
                return Requirement(key, "gt" if sign == ">" else "lt", (bound,))
            case other:
                raise self._wrong(other, _OPERATORS)

    def _value(self, key: str) -> str:
        if self._look() in ("", ","):
            return ""
        return self._checked(key, self._next(), "identifier")

    def _values(self, key: str) -> tuple[str, ...]:
        if (token := self._next()) != "(":
            raise self._wrong(token, "'('")
        values = []
        while True:
            value = (
                ""
                if self._look() in (",", ")")
                else self._checked(key, self._next(), "',', ')' or identifier")
            )
            values.append(value)
            token = self._next()
            if token == ")":
                return tuple(values)
            if token != ",":
                raise self._wrong(token, "',' or ')'")

    def _checked(self, key: str, value: str, expected: str) -> str:
        if value in _SYMBOLS:
            raise self._wrong(value, expected)
        if not _VALUE.fullmatch(value):
            raise UserError(
                f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": a valid label must be an '
                "empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character"
            )
        return value

    @staticmethod
    def _wrong(found: str, expected: str) -> UserError:
        return UserError(f"unable to parse requirement: found '{found}', expected: {expected}")


def _no_label(key: str) -> str:
    """Why no label has this key (`validation.IsQualifiedName`); "" for one that may be."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= _PREFIX_MAX and _PREFIX.fullmatch(prefix)):
        return (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
            "'.', and must start and end with an alphanumeric character"
        )
    if not _WORD.fullmatch(name):
        return (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character"
        )
    return ""
