"""Cuts a Go template into texts and the words of its actions (text/template/parse/lex.go)."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

from emulab.cli.output.gotemplate.tree import GoTemplateError

_SPACE = " \t\r\n"
_COMMENT = re.compile(r"\{\{(- )?/\*.*?\*/( -)?\}\}", re.DOTALL)
_WORD = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)
    |(?P<char>'(?:\\.|[^'\\\n])+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(?![A-Za-z0-9_]))
    |(?P<field>\.[A-Za-z_]\w*)
    |(?P<dot>\.)
    |(?P<variable>\$\w*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<assign>:=|=)
    |(?P<mark>[|(),])""",
    re.VERBOSE,
)


class GoWord(NamedTuple):
    """`kind` is "text" for what stands between actions, "open" and "close" for an action's braces, or a word's."""

    kind: str
    text: str
    at: int


def words(template: str) -> Iterator[GoWord]:
    """Raises GoTemplateError."""
    position, trimmed = 0, False
    while True:
        brace = template.find("{{", position)
        text = template[position:] if brace < 0 else template[position:brace]
        begun = text.lstrip(_SPACE) if trimmed else text
        trims = (
            brace >= 0 and template[brace + 2 : brace + 3] == "-" and template[brace + 3 : brace + 4] in _ANY
        )
        shown = begun.rstrip(_SPACE) if trims else begun
        if shown:
            yield GoWord("text", shown, position)
        if brace < 0:
            return
        if comment := _COMMENT.match(template, brace):
            position, trimmed = comment.end(), bool(comment[2])
            continue
        inside = brace + (3 if trims else 2)
        if template[inside:].lstrip(_SPACE).startswith("/*"):
            raise failure(template, brace, "unclosed comment")
        yield GoWord("open", "{{", brace)
        position, trimmed = yield from _action(template, inside)


_ANY = tuple(_SPACE)


def _action(template: str, position: int) -> Generator[GoWord, None, tuple[int, bool]]:
    """The words of an action; returns where the text behind it begins, and whether that is trimmed."""
    opened = 0
    while True:
        rest = template[position : position + 4]
        if rest.startswith("}}") and opened <= 0:
            yield GoWord("close", "}}", position)
            return position + 2, False
        if rest[:1] in _ANY and template[position:].lstrip(_SPACE).startswith("-}}"):
            closing = template.index("-}}", position)
            yield GoWord("close", "}}", closing)
            return closing + 3, True
        word = _WORD.match(template, position)
        if word is None or not rest:
            raise _refused(template, position)
        kind = str(word.lastgroup)
        if kind != "space":
            yield GoWord(kind, word[0], position)
        else:
            yield GoWord("space", " ", position)
        opened += {"(": 1, ")": -1}.get(word[0], 0)
        if opened < 0:
            raise failure(template, position, "unexpected right paren")
        position = word.end()


def _refused(template: str, position: int) -> GoTemplateError:
    letter = template[position : position + 1]
    if letter == "" or (letter == "}" and not template.startswith("}}", position)):
        return failure(template, position, "unclosed action" if not letter else 'unexpected "}" in operand')
    if letter == "}":
        return failure(template, position, "unclosed left paren")
    if letter in "\"`'":
        what = {'"': "quoted string", "`": "raw quoted string", "'": "character constant"}[letter]
        return failure(template, position, f"unterminated {what}")
    if letter.isdigit() or letter in "+-":
        found = re.match(r"[\w.+-]+", template[position:])
        return failure(template, position, f'bad number syntax: "{found[0] if found else letter}"')
    return failure(template, position, f"unrecognized character in action: U+{ord(letter):04X} '{letter}'")


def failure(template: str, position: int, why: str) -> GoTemplateError:
    """What text/template says of a template that it can't read."""
    return GoTemplateError(f"template: output:{template.count(chr(10), 0, position) + 1}: {why}")
