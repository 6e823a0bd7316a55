"""YAML text as plain data, with the line of every field.

The parser's events are read one by one onto a stack of our own, never composed by recursion, because
libyaml's composer overruns the C stack on deeply nested input. So nesting is bounded here, and so is what
aliases expand to. An alias shares the data of its anchor; whoever walks the result pays for each use, which
is why uses are counted. Keys with a null value are left out, which is how Kubernetes reads them.

Line numbers stand beside the data, in a table by the container's identity: a line is looked up only for an
error, and the data stay ordinary dicts and lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from sys import intern
from typing import Any

import yaml
from yaml import events as ev

from emulab.dataclass import dataclass
from emulab.model.paths import FieldPath
from emulab.model.yaml_scalars import plain, tagged

MAX_DEPTH = 100
"""Mappings and lists inside each other. The deepest Kubernetes objects, CRDs, stay under 50."""

MAX_ALIASED = 100_000
"""Nodes that the aliases of one file may stand for, all together: a second's work to check."""

Lines = dict[int, dict[Any, int]]

_STANDARD_TAG = "tag:yaml.org,2002:"
_NO_KEY = object()
_BLANK: Callable[..., Any] = re.compile(r"\s*").match  # which matches everywhere


class PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """The parser where PyYAML has no libyaml: the same events, about ten times slower."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


PARSER: Callable[[str], Any] = PythonParser
with suppress(ImportError):
    from yaml._yaml import CParser

    PARSER = CParser


class MalformedYaml(Exception):
    """Text that is not YAML, or YAML that no manifest may be. `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its data, the line on which it begins, the lines of everything in it, and what was given twice."""

    data: Any
    line: int
    lines: Lines
    repeated: tuple[tuple[int, str], ...] = ()  # line and message of each key that its mapping has already

    def line_of(self, container: Any, path: FieldPath, default: int) -> int:
        """The line of `path` inside `container`, or of the nearest thing around it that is there."""
        line = default
        for step in path:
            line = self.lines.get(id(container), {}).get(step, line)
            try:
                container = container[step]
            except (KeyError, IndexError, TypeError):
                break
        return line


class _Frame:
    """A mapping or list that is being read."""

    __slots__ = ("anchor", "data", "height", "is_list", "key", "key_line", "line", "lines", "merged", "size")

    def __init__(self, data: Any, line: int, anchor: str | None, lines: dict[Any, int]) -> None:
        self.data = data
        self.is_list = type(data) is list
        self.line = line
        self.anchor = anchor
        self.lines = lines
        self.key: Any = _NO_KEY
        self.key_line = 0
        self.merged: list[dict[str, Any]] | None = None
        self.size = 1  # nodes, aliases expanded
        self.height = 1  # levels of containers


@dataclass(frozen=True, slots=True)
class _Anchor:
    data: Any
    size: int
    height: int


class _MergeKey:
    """What an unquoted `<<` stands for while its mapping is read."""


_MERGE = _MergeKey()


def documents(
    text: str, parser: Callable[[str], Any] = PARSER, *, last_wins: bool = False, as_written: bool = False
) -> Iterator[Document]:
    """The documents of a YAML stream, empty ones with `data` None.

    Raises MalformedYaml at the first thing that is wrong, after the documents before it. A key that is given twice is
    such a thing, or its last value counts, as it does for kubectl: sigs.k8s.io/yaml's `YAMLToJSON` isn't strict.
    JSON objects may follow each other without a separator (apimachinery's `YAMLOrJSONDecoder`), as jq writes them.
    `as_written`: numbers and booleans are the texts that stand there, to quote them.
    """
    text = _separated(text)
    try:
        yield from _Reader(parser(text), last_wins, as_written).read()
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, text) from None
    except yaml.reader.ReaderError as error:
        # the position counts characters in the Python parser and bytes of UTF-8 in libyaml
        before = text if parser is PythonParser else text.encode()
        newline: Any = "\n" if isinstance(before, str) else b"\n"
        line = before[: error.position].count(newline) + 1
        raise MalformedYaml(line, f"not YAML: {error.reason}") from None
    except (ValueError, OverflowError):  # lone surrogates; an escape beyond Unicode
        raise MalformedYaml(1, "not YAML: it is not valid Unicode") from None


def _separated(text: str) -> str:
    """JSON objects with the mark of a YAML document before each but the first; any other text as it is.

    A mark before what begins a line moves no line.
    """
    begin = _BLANK(text).end()
    if text[begin : begin + 1] != "{":
        return text
    from json import JSONDecoder  # here: manifests are YAML, as a rule

    decoder, end = JSONDecoder(), 0
    parts: list[str] = []
    while begin < len(text):
        between = text[end:begin]
        mark = ("--- " if "\n" in between else "\n--- ") if parts else ""
        try:
            until = decoder.raw_decode(text, begin)[1]
        except (ValueError, RecursionError):
            return text
        if text[begin] != "{":
            return text
        parts.append(f"{between}{mark}{text[begin:until]}")
        end, begin = until, _BLANK(text, until).end()
    return "".join(parts) if len(parts) > 1 else text


def _not_yaml(error: yaml.MarkedYAMLError, text: str) -> MalformedYaml:
    mark, begin = error.problem_mark or error.context_mark, error.context_mark
    # what is never closed is found to be so behind the last line, where libyaml puts its mark
    lines = text.splitlines()
    line = min(mark.line + 1, max(1, len(lines))) if mark else 1
    before = lines[line - 1][: mark.column + 1] if mark and lines else ""
    if before.endswith("\t") and before.isspace():
        return MalformedYaml(line, "not YAML: a tab indents this line, where YAML takes spaces alone")
    context = f" ({error.context}" if error.context else ""
    if context:
        context += f" from line {begin.line + 1})" if begin and begin.line + 1 < line else ")"
    return MalformedYaml(line, f"not YAML: {error.problem}{context}")


class _Reader:
    def __init__(self, parser: Any, last_wins: bool, as_written: bool) -> None:
        self.parser = parser
        self.last_wins = last_wins
        self.as_written = as_written
        self.repeated: list[tuple[int, str]] = []
        self.stack: list[_Frame] = []
        self.lines: Lines = {}
        self.anchors: dict[str, _Anchor | None] = {}
        self.aliased = 0
        self.root: Any = None
        self.root_line = 1
        self.known: dict[str, Any] = {}  # unquoted scalars seen so far: most of them repeat

    def read(self) -> Iterator[Document]:
        next_event, stack, known = self.parser.get_event, self.stack, self.known
        while True:
            event = next_event()
            kind = type(event)
            if kind is ev.ScalarEvent:
                value = _NO_KEY
                if event.implicit[0] and event.tag is None and event.anchor is None:
                    value = known.get(event.value, _NO_KEY)
                if value is _NO_KEY:
                    value = self.scalar(event)
                frame = stack[-1] if stack else None
                # Nearly everything is a key or a value of a mapping, so these two are dealt with here.
                if frame is None or frame.is_list or value is None or value is _MERGE:
                    self.add(value, event.start_mark.line + 1)
                elif frame.key is _NO_KEY and type(value) is str and value not in frame.lines:
                    frame.size += 1
                    frame.key, frame.key_line = value, event.start_mark.line + 1
                elif type(frame.key) is str:
                    frame.size += 1
                    frame.lines[frame.key] = frame.key_line
                    frame.data[frame.key] = value
                    frame.key = _NO_KEY
                else:
                    self.add(value, event.start_mark.line + 1)
            elif kind is ev.MappingStartEvent or kind is ev.SequenceStartEvent:
                self.open(event)
            elif kind is ev.MappingEndEvent or kind is ev.SequenceEndEvent:
                self.close()
            elif kind is ev.AliasEvent:
                self.alias(event)
            elif kind is ev.DocumentStartEvent:
                self.root, self.lines, self.anchors, self.repeated = None, {}, {}, []
            elif kind is ev.DocumentEndEvent:
                yield Document(self.root, self.root_line, self.lines, tuple(self.repeated))
            elif kind is ev.StreamEndEvent or event is None:
                return

    def add(self, value: Any, line: int, size: int = 1, height: int = 0) -> None:
        """A finished node: hand it to the container that it stands in."""
        if not self.stack:
            self.root, self.root_line = (None if value is _MERGE else value), line
            return
        frame = self.stack[-1]
        frame.size += size
        if height >= frame.height:
            frame.height = height + 1
        if frame.is_list:
            frame.lines[len(frame.data)] = line
            frame.data.append("<<" if value is _MERGE else value)
        elif frame.key is _NO_KEY:
            frame.key = value if value is _MERGE else _key(value, line)
            frame.key_line = line
            if frame.key in frame.lines:
                self.again(frame, line)
        else:
            key, frame.key = frame.key, _NO_KEY
            if key is _MERGE:
                frame.merged = (frame.merged or []) + _mergeable(value, line)
                return
            frame.lines[key] = frame.key_line
            if value is not None:
                frame.data[key] = "<<" if value is _MERGE else value

    def again(self, frame: _Frame, line: int) -> None:
        """A key that its mapping has already."""
        why = f'the key "{_brief(frame.key)}" was already given on line {frame.lines[frame.key]}'
        if not self.last_wins:
            joined = len(self.stack) == 1 and frame.key in ("apiVersion", "kind")  # as `cat` joins two files
            hint = "; is a line with --- missing before it?" if joined else "; kubectl takes the last"
            raise MalformedYaml(line, why + hint)
        self.repeated.append((line, f"{why}; the last counts"))
        frame.data.pop(frame.key, None)

    def scalar(self, event: Any) -> Any:
        tag, value = event.tag, event.value
        if tag is None and event.implicit[0]:
            value = _MERGE if value == "<<" else plain(value)
        elif tag is not None and tag != "!":
            value = _tagged(tag, value, event.start_mark.line + 1)
        if self.as_written and isinstance(value, bool | int | float):
            value = event.value
        if type(value) is str:
            value = intern(value)  # most texts repeat: keys, names, addresses
        if tag is None and event.implicit[0]:
            self.known[event.value] = value
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(value, 1, 0)
        return value

    def open(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if len(self.stack) >= MAX_DEPTH:
            raise MalformedYaml(line, f"nested more than {MAX_DEPTH} levels deep")
        is_list = type(event) is ev.SequenceStartEvent
        if event.tag is not None and event.tag not in ("!", _STANDARD_TAG + ("seq" if is_list else "map")):
            raise MalformedYaml(line, f"the tag {_short(event.tag)} is not supported")
        data: Any = [] if is_list else {}
        lines = self.lines[id(data)] = {}
        if event.anchor is not None:
            self.anchors[event.anchor] = None  # until it is closed: an alias to it would be a loop
        self.stack.append(_Frame(data, line, event.anchor, lines))

    def close(self) -> None:
        frame = self.stack.pop()
        for source in frame.merged or ():
            source_lines = self.lines.get(id(source), {})
            for key, value in source.items():
                if key not in frame.lines:  # the mapping's own keys win, and earlier sources over later ones
                    frame.data[key] = value
                    frame.lines[key] = source_lines.get(key, frame.line)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = _Anchor(frame.data, frame.size, frame.height)
        self.add(frame.data, frame.line, frame.size, frame.height)

    def alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise MalformedYaml(line, f"the alias *{event.anchor} has no anchor before it")
        anchor = self.anchors[event.anchor]
        if anchor is None:
            raise MalformedYaml(line, f"the alias *{event.anchor} stands inside its own anchor")
        self.aliased += anchor.size
        if self.aliased > MAX_ALIASED:
            raise MalformedYaml(line, f"the aliases expand to more than {MAX_ALIASED} values")
        if len(self.stack) + anchor.height > MAX_DEPTH:
            raise MalformedYaml(line, f"nested more than {MAX_DEPTH} levels deep")
        self.add(anchor.data, line, anchor.size, anchor.height)


def _key(value: Any, line: int) -> str:
    """A key as it is in JSON, where `80:` and `on:` are "80" and "true", as in kubectl."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise MalformedYaml(line, "a key must be a string")


def _mergeable(value: Any, line: int) -> list[dict[str, Any]]:
    sources: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise MalformedYaml(line, "<< merges mappings only")
    return sources


def _tagged(tag: str, text: str, line: int) -> Any:
    name = tag.removeprefix(_STANDARD_TAG)
    try:
        return tagged(name, text)
    except ValueError:
        raise MalformedYaml(line, f'"{_brief(text)}" does not fit the tag {_short(tag)}') from None
    except KeyError:
        raise MalformedYaml(line, f"the tag {_short(tag)} is not supported") from None


def _short(tag: str) -> str:
    return _brief("!!" + tag.removeprefix(_STANDARD_TAG) if tag.startswith(_STANDARD_TAG) else tag)


def _brief(text: Any) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in str(text)[:60])
    return shown if len(str(text)) <= 60 else shown[:59] + "…"
