"""What `-o` may say where objects are printed, and what it makes of them. The words of errors are kubectl's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from emulab.cli.output.customcolumns import CustomColumns
from emulab.cli.output.objecttables import Layout, ObjectTables, named
from emulab.cli.usage import UsageError
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.kinds.registry import KINDS
from emulab.model.jsonpath import JSONPathError, Template, text_of
from emulab.model.jsonpathtext import template
from emulab.model.keys import group_kind
from emulab.observe.telling.escapes import as_json, visible

Write = Callable[[Any], str]
"""The text of one object or List, with the end of its last line where it has one."""


class Format(NamedTuple):
    """How objects are printed: as values, by `write`; else in `columns`, by `names` or in their kinds' tables."""

    write: Write | None = None
    columns: CustomColumns | None = None
    names: bool = False
    wide: bool = False

    @property
    def is_table(self) -> bool:
        """Whether objects are printed for people to read, in the columns of their kinds."""
        return self.write is None and self.columns is None and not self.names


def parse_format(text: str, template: str = "", missing_allowed: bool = True) -> Format:
    """What `-o` says, and `--template` where that has no argument of its own. Raises UsageError.

    `missing_allowed`: whether what isn't there is nothing for a template, and no error.
    """
    text = text or ("go-template" if template else "")
    name, equals, argument = text.partition("=")
    if not equals and ":" in text:  # `-o jsonpath:{…}`, which kubectl understands, too
        name, _, argument = text.partition(":")
    make = FORMATS.get(name)
    templated = TEMPLATES.get(name)
    if templated is not None:
        return templated(argument or template, missing_allowed)
    if make is None:
        raise UsageError(
            f'unable to match a printer suitable for the output format "{text}", allowed formats are: '
            + ",".join(sorted(filter(None, [*FORMATS, *TEMPLATES])))
        )
    return make(argument)


def _values(write: Write) -> Callable[[str], Format]:
    return lambda _: Format(write)


def _jsonpath(argument: str, missing_allowed: bool) -> Format:
    found = _template(argument)

    def write(value: Any) -> str:
        return "".join(" ".join(map(text_of, values)) for values in _find(found, value, missing_allowed))

    return Format(write)


def _jsonpath_as_json(argument: str, missing_allowed: bool) -> Format:
    found = _template(argument)

    def write(value: Any) -> str:
        return "".join(f"{as_json(values, indent=4)}\n" for values in _find(found, value, missing_allowed))

    return Format(write)


def _go_template(text: str, missing_allowed: bool) -> Format:
    """A template of Go, which is loaded for who uses one."""
    from emulab.cli.output.gotemplate.execution import execute
    from emulab.cli.output.gotemplate.parsing import parse
    from emulab.cli.output.gotemplate.tree import GoTemplateError

    if not text:
        raise UsageError("template format specified but no template given")
    try:
        template = parse(text)
    except GoTemplateError as error:
        raise UsageError(f"error parsing template {text}, {error}") from None

    def write(value: Any) -> str:
        try:
            return execute(template, value, missing_allowed)
        except GoTemplateError as error:
            raise UserError(f"error executing template {as_json(text)}: {error}") from None

    return Format(write)


def _template(text: str) -> Template:
    if not text:
        raise UsageError("template format specified but no template given")
    try:
        return template(text)
    except JSONPathError as error:
        raise UsageError(f"error parsing jsonpath {text}, {error}") from None


def _find(found: Template, value: Any, missing_allowed: bool) -> list[list[Any]]:
    try:
        return found.find(value, missing_allowed)
    except JSONPathError as error:
        raise UserError(
            f"error executing jsonpath {as_json(found.text)}: Error executing template: {error}"
        ) from None


def _read(path: str) -> str:
    if not path:
        raise UsageError("template format specified but no template given")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"error reading template {path}, {getattr(error, 'strerror', None) or error}"
        ) from None


def document(value: Any, form: str) -> str:
    """A value as one JSON or YAML document."""
    if form == "json":
        return as_json(value, indent=4)
    import yaml

    text = str(yaml.safe_dump(value, default_flow_style=False, allow_unicode=True)).rstrip()
    if text != visible(text):  # some are escaped only where all that isn't ASCII is
        text = str(yaml.safe_dump(value, default_flow_style=False, allow_unicode=False)).rstrip()
    return text


def printed(objects: Sequence[Raw], output: Format) -> str:
    """Objects that a command has changed: one by itself, several as a List."""
    if output.write is not None:
        return output.write(objects[0] if len(objects) == 1 else as_list(objects))
    kinds = [KINDS[group_kind(o["apiVersion"], o["kind"])] for o in objects]
    if output.names:
        return "".join(f"{named(kind, o)}\n" for kind, o in zip(kinds, objects, strict=True))
    tables = ObjectTables(Layout(output.wide, custom=output.columns))
    return tables.text(list(zip(kinds, objects, strict=True)), time())


def as_list(objects: Sequence[Raw]) -> dict[str, Any]:
    return {"apiVersion": "v1", "items": list(objects), "kind": "List", "metadata": {"resourceVersion": ""}}


FORMATS: dict[str, Callable[[str], Format]] = {
    "": lambda _: Format(),
    "wide": lambda _: Format(wide=True),
    "name": lambda _: Format(names=True),
    "json": _values(lambda value: f"{document(value, 'json')}\n"),
    "yaml": _values(lambda value: f"{document(value, 'yaml')}\n"),
    "custom-columns": lambda spec: Format(columns=CustomColumns.of_spec(spec)),
    "custom-columns-file": lambda path: Format(columns=CustomColumns.of_file(_read(path))),
}

TEMPLATES: dict[str, Callable[[str, bool], Format]] = {
    "jsonpath": _jsonpath,
    "jsonpath-as-json": _jsonpath_as_json,
    "jsonpath-file": lambda path, missing_allowed: _jsonpath(_read(path), missing_allowed),
    "go-template": _go_template,
    "go-template-file": lambda path, missing_allowed: _go_template(_read(path), missing_allowed),
    "template": _go_template,
    "templatefile": lambda path, missing_allowed: _go_template(_read(path), missing_allowed),
}
"""Formats of a template, by what makes one of it and of whether it may ask for what isn't there."""
