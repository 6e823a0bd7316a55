"""The lines of a Corefile in words (Caddy's lexer). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

_TOKEN = re.compile(r'"((?:\\.|[^"\\])*)"|(#[^\n]*)|([^\s"#][^\s#]*)(?:#\S*)?', re.DOTALL)


class LineNumber(int):
    """A line, and of which file where that isn't the Corefile itself."""

    file: str

    def __new__(cls, number: int, file: str = "") -> Self:
        made = super().__new__(cls, number)
        made.file = file
        return made

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) + (f" of {self.file}" if self.file else "")


class CorefileError(ValueError):
    """What CoreDNS doesn't start with."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


def is_number(text: str) -> bool:
    """Whether a text is digits as Go reads them, of which Unicode has others."""
    return text.isascii() and text.isdigit()


def is_port(text: str) -> bool:
    return is_number(text) and 0 < int(text[:6]) < 1 << 16


class WordLine(NamedTuple):
    number: LineNumber
    words: tuple[str, ...]


def lines_of(text: str, file: str = "") -> list[WordLine]:
    """The lines that say something, in words; quoted ones may go over several lines. Raises CorefileError."""
    found: list[WordLine] = []
    words: list[str] = []
    at = 0
    number, begun = 1, 1
    for token in _TOKEN.finditer(text):
        gap = text[at : token.start()]
        if '"' in gap:
            raise CorefileError(LineNumber(number, file), "a quotation that doesn't end")
        if "\n" in gap and words:
            found.append(WordLine(LineNumber(begun, file), tuple(words)))
            words = []
        number += gap.count("\n")
        if not words:
            begun = number
        if token[1] is not None:
            words.append(token[1].replace('\\"', '"'))
        elif token[3] is not None:  # a # in a word hides what of the word follows
            words.append(token[3])
        number += token[0].count("\n")
        at = token.end()
    if '"' in text[at:]:
        raise CorefileError(LineNumber(number, file), "a quotation that doesn't end")
    if words:
        found.append(WordLine(LineNumber(begun, file), tuple(words)))
    return found
