"""What a Corefile takes in: snippets, other files, and variables of the environment (Caddy's format). Pure.

The files are the ConfigMap's other keys. Those of the ConfigMap `coredns-custom`, which clouds mount as the folder
`custom`, are known by `custom/KEY`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from emulab.plan.coredns.lines import CorefileError, WordLine, lines_of

CUSTOM = "custom/"
FOLDER = "/etc/coredns/"
_MOST_LINES, _DEEPEST = 20_000, 10
_VARIABLE = re.compile(r"\{\$(\w+)\}|\{%(\w+)%\}")
_GLOB = re.compile(r"[*?\[]")

WarnLine = Callable[[int, str], None]


def path_of(path: str) -> str:
    """By which name a file is known that a Corefile names: it lies in CoreDNS' folder, or in one of its own."""
    folder, _, name = path.removeprefix(FOLDER).rpartition("/")
    return f"{CUSTOM}{name}" if "custom" in folder else name


def expanded(
    lines: list[WordLine], files: Mapping[str, str], warn: WarnLine, variables: Mapping[str, str]
) -> list[WordLine]:
    """The lines with what they import in its place, and without the snippets. Raises CorefileError."""
    made = _Expansion(files, warn, variables)
    made.take(lines, 0)
    return made.found


def taken_in(text: str, files: Mapping[str, str], variables: Mapping[str, str]) -> set[str]:
    """The files that a Corefile imports. Raises CorefileError."""
    made = _Expansion(files, lambda line, what: None, variables)
    made.take(lines_of(text), 0)
    return made.taken


class _Expansion:
    """An expansion under way."""

    def __init__(self, files: Mapping[str, str], warn: WarnLine, variables: Mapping[str, str]) -> None:
        self.found: list[WordLine] = []
        self.taken: set[str] = set()
        self._files, self._warn, self._variables = files, warn, variables
        self._snippets: dict[str, list[WordLine]] = {}
        self._depth = 0

    def take(self, lines: list[WordLine], deep: int) -> None:
        at = 0
        while at < len(lines):
            line = self._filled(lines[at])
            at += 1
            if self._depth == 0 and (name := _snippet(line, lines[at : at + 1])):
                at += 0 if line.words[-1] == "{" else 1
                if name in self._snippets:
                    raise CorefileError(line.number, f"snippet ({name}) is defined twice")
                self._snippets[name], at = _until_closed(lines, at, line)
            elif line.words[0] == "import":
                self._import(line, deep)
            else:
                self._depth += (line.words[-1] == "{") - (line.words == ("}",))
                self.found.append(line)
            if len(self.found) > _MOST_LINES:
                raise CorefileError(line.number, "imports without end")

    def _filled(self, line: WordLine) -> WordLine:
        """The line with the values of variables in their place."""
        for word in line.words:
            for variable in _VARIABLE.finditer(word):
                if (name := variable[1] or variable[2]) not in self._variables:
                    what = "is not set in CoreDNS' pods, so nothing stands in its place"
                    self._warn(line.number, f"{variable[0]}: {name} {what}")
        return line._replace(words=tuple(_VARIABLE.sub(self._value, word) for word in line.words))

    def _value(self, variable: re.Match[str]) -> str:
        return self._variables.get(variable[1] or variable[2], "")

    def _import(self, line: WordLine, deep: int) -> None:
        if len(line.words) != 2:
            raise CorefileError(line.number, "import: one snippet or file is needed")
        wanted = line.words[1]
        if deep >= _DEEPEST:
            raise CorefileError(line.number, f"import {wanted}: imports without end")
        if wanted in self._snippets:
            self.take(self._snippets[wanted], deep + 1)
            return
        pattern = path_of(wanted)
        names = sorted(name for name in self._files if name != "Corefile" and _matches(name, pattern))
        if not names and not _GLOB.search(wanted):
            where = "a key of that name in the ConfigMap is read for it"
            raise CorefileError(line.number, f"import {wanted}: there is no such snippet or file; {where}")
        self.taken.update(names)
        for name in names:
            self.take(lines_of(self._files[name], name), deep + 1)


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def _snippet(line: WordLine, after: list[WordLine]) -> str:
    """The name of a snippet that begins here, or ""."""
    opens = line.words[1:] == ("{",) or (len(line.words) == 1 and [one.words for one in after] == [("{",)])
    word = line.words[0]
    return word[1:-1] if opens and len(word) > 2 and word.startswith("(") and word.endswith(")") else ""


def _until_closed(lines: list[WordLine], at: int, opened: WordLine) -> tuple[list[WordLine], int]:
    found: list[WordLine] = []
    depth = 1
    while at < len(lines):
        line = lines[at]
        at += 1
        depth += (line.words[-1] == "{") - (line.words == ("}",))
        if depth == 0:
            return found, at
        found.append(line)
    raise CorefileError(opened.number, "a } is missing")
