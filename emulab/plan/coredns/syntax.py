"""The text of a Corefile: server blocks, plug-ins and what is in their braces (Caddy's format). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from emulab.plan.coredns.imports import WarnLine, expanded
from emulab.plan.coredns.lines import CorefileError, WordLine, lines_of

_DEEPEST = 20


class Directive(NamedTuple):
    """A plug-in, or an option of one: its words, and what is in its braces."""

    name: str
    words: tuple[str, ...]
    line: int
    inside: tuple[Directive, ...] = ()


class ServerBlock(NamedTuple):
    """Zones with their ports, and the plug-ins for them."""

    keys: tuple[str, ...]
    plugins: tuple[Directive, ...]
    line: int


def parse(
    text: str,
    files: Mapping[str, str] = MappingProxyType({}),
    warn: WarnLine = lambda line, what: None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> tuple[ServerBlock, ...]:
    """The server blocks. `files` are what may be imported. Raises CorefileError."""
    lines = expanded(lines_of(text), files, warn, variables)
    blocks: list[ServerBlock] = []
    at = 0
    while at < len(lines):
        first, keys = lines[at], list[str]()
        while at < len(lines) and lines[at].words[-1] != "{" and (not keys or keys[-1].endswith(",")):
            keys += lines[at].words
            at += 1
        if at < len(lines) and (lines[at].words == ("{",) or _opens(lines[at], keys)):
            keys += lines[at].words[:-1]
            inside, at = _inside(lines, at + 1, 0)
        elif not blocks:  # a file with one server block needs no braces
            inside, at = _directives(lines, at, 0)
            if at < len(lines):
                raise CorefileError(lines[at].number, "a } without its {")
        else:
            raise CorefileError(first.number, f"no {{ after {' '.join(first.words)}")
        names = tuple(key for word in keys for key in word.split(",") if key)
        if any(mark in key for key in names for mark in "{}"):
            raise CorefileError(first.number, f"{' '.join(first.words)}: no name of a server block")
        if not names:
            raise CorefileError(first.number, "a server block without a name")
        blocks.append(ServerBlock(names, inside, first.number))
    return tuple(blocks)


def _opens(line: WordLine, keys: list[str]) -> bool:
    """Whether the line ends the names of a server block, of which the former ones are `keys`."""
    return line.words[-1] == "{" and (not keys or keys[-1].endswith(","))


def _inside(lines: list[WordLine], at: int, depth: int) -> tuple[tuple[Directive, ...], int]:
    """What is in braces, and where the text goes on behind them."""
    if depth > _DEEPEST:
        raise CorefileError(lines[at - 1].number, "braces in braces without end")
    found, at = _directives(lines, at, depth)
    if at >= len(lines):
        raise CorefileError(lines[-1].number, "a } is missing")
    return found, at + 1


def _directives(lines: list[WordLine], at: int, depth: int) -> tuple[tuple[Directive, ...], int]:
    found: list[Directive] = []
    while at < len(lines) and lines[at].words != ("}",):
        number, words = lines[at]
        inside: tuple[Directive, ...] = ()
        at += 1
        if words[-1] == "{":
            words = words[:-1]
            inside, at = _inside(lines, at, depth + 1)
        if not words or "}" in words or "{" in words:
            raise CorefileError(number, "braces stand at the end of a line, or on a line of their own")
        found.append(Directive(words[0], words[1:], number, inside))
    return tuple(found), at
