"""`-o custom-columns=HEADER:PATH,…`: a table of whatever fields, as kubectl prints it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emulab.cli.usage import UsageError
from emulab.kinds.cells import NONE, Raw
from emulab.model.jsonpath import JSONPathError, Template
from emulab.model.jsonpathtext import relaxed


class CustomColumns(NamedTuple):
    headers: Sequence[str]
    paths: Sequence[Template]

    @classmethod
    def of_spec(cls, spec: str) -> CustomColumns:
        """Columns as `-o` has them. Raises UsageError."""
        if not spec:
            raise UsageError("custom-columns format specified but no custom columns given")
        pairs = []
        for part in spec.split(","):
            header, colon, path = part.partition(":")
            if not colon:
                raise UsageError(
                    f"unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                )
            pairs.append((header, path))
        return cls._of_pairs(pairs)

    @classmethod
    def of_file(cls, text: str) -> CustomColumns:
        """Columns as a file has them: a line of headers, and one of paths. Raises UsageError."""
        lines = text.splitlines()
        headers, paths = (lines[number].split() if len(lines) > number else [] for number in (0, 1))
        if not headers or len(headers) != len(paths):
            raise UsageError(
                f"number of headers ({len(headers)}) and field specifications ({len(paths)}) don't match"
            )
        return cls._of_pairs(list(zip(headers, paths, strict=True)))

    @classmethod
    def _of_pairs(cls, pairs: Sequence[tuple[str, str]]) -> CustomColumns:
        try:
            return cls([header for header, _ in pairs], [relaxed(path) for _, path in pairs])
        except JSONPathError as error:
            raise UsageError(str(error)) from None

    def row(self, o: Raw) -> list[str]:
        return [_cell(path, o) for path in self.paths]


def _cell(path: Template, o: Raw) -> str:
    try:
        values = path.values(o)
    except JSONPathError:
        return NONE
    return ",".join(_text(value) for value in values) or NONE


def _text(value: Any) -> str:
    """A value as Go prints it (`%v`)."""
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{name}:{_text(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_text, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
