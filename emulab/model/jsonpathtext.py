"""Reads JSONPath templates in kubectl's dialect (client-go's util/jsonpath/parser.go). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emulab.model.jsonpath import (
    DescentStep,
    ExpressionPart,
    FieldStep,
    FilterStep,
    JSONPathError,
    LiteralStep,
    PathStep,
    PathSteps,
    RangePart,
    SliceStep,
    Template,
    TemplatePart,
    UnionStep,
    UnknownWord,
    WildcardStep,
)

_NUMBER = re.compile(r"[+-]?[0-9.]+")
_WORD = re.compile(r"[A-Za-z0-9_]+")
_NAME = re.compile(r"(?:\\.|[^\\\s.,\[\]$@{}])*")
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1).)*)\1""")
_KEY = re.compile(r"'([^']*)'")
_SLICE = re.compile(r"(-?\d*)(:-?\d*)?(:-?\d*)?")
_COMPARISON = re.compile(r"([^!<>=]+)([!<>=]+)(.+)")
_RELAXED = re.compile(r"\{\.?([^{}]+)\}|\.?([^{}]+)")

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}

_RANGE, _END = "range", "end"
_KEYWORDS = {"true": True, "false": False}


def template(text: str) -> Template:
    """The template that a text says. Raises JSONPathError."""
    opened: list[tuple[PathSteps, list[TemplatePart]]] = []
    parts: list[TemplatePart] = []
    for words, steps in _pieces(text):
        if words == _RANGE:
            opened.append((steps, parts))
            parts = []
        elif words == _END:
            if not opened:
                raise JSONPathError("not in range, nothing to end")
            parts = _closed(*opened.pop(), parts)
        else:
            parts.append(ExpressionPart(steps))
    while opened:  # what is not closed ends with the template
        parts = _closed(*opened.pop(), parts)
    return Template(text, tuple(parts))


def relaxed(text: str) -> Template:
    """The template of one path, which may lack the braces or the first dot: `{.a.b}`, `.a.b` and `a.b` are the same.

    Raises JSONPathError.
    """
    match = _RELAXED.fullmatch(text)
    if match is None:
        raise JSONPathError(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or "
            "'{.name1.name2}'"
        )
    return template("{." + (match[1] or match[2]) + "}")


def _closed(over: PathSteps, outer: list[TemplatePart], body: list[TemplatePart]) -> list[TemplatePart]:
    return [*outer, RangePart(over, tuple(body))]


def _pieces(text: str) -> Iterator[tuple[str, PathSteps]]:
    """Texts and expressions; the first word where that is `range` or `end`."""
    position = 0
    while position < len(text):
        brace = text.find("{", position)
        end = len(text) if brace < 0 else brace
        if end > position:
            yield "", (LiteralStep(text[position:end]),)
        if brace < 0:
            return
        reader = _Reader(text, brace + 1)
        steps = reader.steps(closing=True)
        yield reader.keyword, steps
        position = reader.position


class _Reader:
    """Reads the steps of one expression."""

    def __init__(self, text: str, position: int = 0) -> None:
        self._text = text
        self.position = position
        self.keyword = ""

    def steps(self, closing: bool) -> PathSteps:
        """PathSteps up to the closing brace, or to the end of the text. Raises JSONPathError."""
        found: list[PathStep] = []
        while True:
            rest = self._text[self.position :]
            if not rest or rest[0] == "\n":
                if closing:
                    raise JSONPathError("unclosed action")
                return tuple(found)
            if closing and rest[0] == "}":
                self.position += 1
                return tuple(found)
            if rest[0] in " \t$@":
                self.position += 1
                continue
            found += self._step(rest)

    def _step(self, rest: str) -> list[PathStep]:
        if rest.startswith("[?("):
            return [self._filter()]
        if rest.startswith(".."):
            self.position += 2
            if _NAME.match(rest, 2)[0]:  # type: ignore[index]  # it matches the empty text, too
                self.position -= 1  # a name follows as if it had a dot of its own
                return [DescentStep(), *self._field()]
            return [DescentStep()]
        match rest[0]:
            case "[":
                return self._array()
            case ".":
                return self._field()
            case '"' | "'":
                return [self._quoted(rest)]
        if rest[0] in "+-" or rest[0].isdigit():
            return [self._number(rest)]
        if word := _WORD.match(rest):
            self.position += len(word[0])
            return self._identifier(word[0])
        raise JSONPathError(f"unrecognized character in action: U+{ord(rest[0]):04X} '{rest[0]}'")

    def _identifier(self, word: str) -> list[PathStep]:
        if word in _KEYWORDS:
            return [LiteralStep(_KEYWORDS[word])]
        if word in (_RANGE, _END) and not self.keyword:
            self.keyword = word
            return []
        return [UnknownWord(word)]

    def _number(self, rest: str) -> PathStep:
        match = _NUMBER.match(rest)
        try:
            text = match[0] if match else rest[0]
            number: int | float = float(text) if "." in text else int(text)
        except ValueError:
            raise JSONPathError(f"cannot parse number {text}") from None
        self.position += len(text)
        return LiteralStep(number)

    def _quoted(self, rest: str) -> PathStep:
        match = _QUOTED.match(rest)
        if match is None:
            raise JSONPathError("unterminated quoted string")
        self.position += len(match[0])
        return LiteralStep(_unquoted(match[2]))

    def _field(self) -> list[PathStep]:
        match = _NAME.match(self._text, self.position + 1)
        name = match[0] if match else ""
        self.position += 1 + len(name)
        return [WildcardStep() if name == "*" else FieldStep(re.sub(r"\\(.)", r"\1", name))]

    def _array(self) -> list[PathStep]:
        end = self._text.find("]", self.position)
        if end < 0:
            raise JSONPathError("unterminated array")
        inside = self._text[self.position + 1 : end]
        self.position = end + 1
        members = inside.split(",")
        if len(members) > 1:
            return [
                UnionStep(tuple(_Reader(f"[{member.strip()}]").steps(closing=False) for member in members))
            ]
        if key := _KEY.fullmatch(inside):
            return list(_Reader(f".{key[1]}").steps(closing=False))
        bounds = _SLICE.fullmatch(":" if inside == "*" else inside)
        if bounds is None:
            raise JSONPathError(f"invalid array index {inside}")
        return [_slice(*bounds.groups())]

    def _filter(self) -> PathStep:
        """The filter here. Quotes on its right side may hold what would end it."""
        position, quote = self.position + 3, ""
        while True:
            letter = self._text[position : position + 1]
            if letter in ("", "\n"):
                raise JSONPathError("unterminated filter")
            if letter in "\"'" and self._text[position - 1] != "\\":
                quote = "" if letter == quote else quote or letter
            elif letter == ")" and not quote:
                break
            position += 1
        inside = self._text[self.position + 3 : position]
        if self._text[position + 1 : position + 2] != "]":
            raise JSONPathError("unclosed array expect ]")
        self.position = position + 2
        match = _COMPARISON.fullmatch(inside)
        if match is None:
            return FilterStep(_Reader(inside).steps(closing=False))
        left, right = (_Reader(match[side]).steps(closing=False) for side in (1, 3))
        return FilterStep(left, match[2], right)


def _slice(start: str, end: str | None, step: str | None) -> SliceStep:
    first = int(start) if start not in ("", "-") else None
    if not end:
        return SliceStep(first or 0, (first or 0) + 1, single=True)
    return SliceStep(first, _bound(end), _bound(step))


def _bound(text: str | None) -> int | None:
    return int(text[1:]) if text and text[1:] not in ("", "-") else None


def _unquoted(text: str) -> str:
    """A quoted text with Go's escapes resolved (strconv.Unquote)."""
    return re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))",
        lambda m: _ESCAPES.get(m[3], m[3]) if m[3] else chr(int(m[1] or m[2], 16)),
        text,
    )
