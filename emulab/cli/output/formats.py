"""What `-o` may say where objects are printed, and what it makes of them. The words of errors are kubectl's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emulab.cli.output.customcolumns import CustomColumns
from emulab.cli.usage import UsageError
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.model.jsonpath import JSONPathError, Template, text_of
from emulab.model.jsonpathtext import template
from emulab.observe.telling.escapes import as_json, visible

Write = Callable[[Any], str]
"""The text of one object or List, with the end of its last line where it has one."""


class Format(NamedTuple):
    """How objects are printed: as values, by `write`; else in `columns`, by `names` or in their kinds' tables."""

    write: Write | None = None
    columns: CustomColumns | None = None
    names: bool = False
    wide: bool = False


def parse_format(text: str) -> Format:
    """What `-o` says. Raises UsageError."""
    name, equals, argument = text.partition("=")
    if not equals and ":" in text:  # `-o jsonpath:{…}`, which kubectl understands, too
        name, _, argument = text.partition(":")
    make = FORMATS.get(name)
    if make is None:
        raise UsageError(
            f'unable to match a printer suitable for the output format "{text}", allowed formats are: '
            + ",".join(sorted(filter(None, FORMATS)))
        )
    return make(argument)


def _values(write: Write) -> Callable[[str], Format]:
    return lambda _: Format(write)


def _jsonpath(argument: str) -> Format:
    found = _template(argument)
    return Format(lambda value: "".join(" ".join(map(text_of, values)) for values in _find(found, value)))


def _jsonpath_as_json(argument: str) -> Format:
    found = _template(argument)
    return Format(lambda value: "".join(f"{as_json(values, indent=4)}\n" for values in _find(found, value)))


def _go_template(text: str) -> Format:
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
            return execute(template, value)
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


def _find(found: Template, value: Any) -> list[list[Any]]:
    try:
        return found.find(value)
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


def as_list(objects: Sequence[Raw]) -> dict[str, Any]:
    return {"apiVersion": "v1", "items": list(objects), "kind": "List", "metadata": {"resourceVersion": ""}}


FORMATS: dict[str, Callable[[str], Format]] = {
    "": lambda _: Format(),
    "wide": lambda _: Format(wide=True),
    "name": lambda _: Format(names=True),
    "json": _values(lambda value: f"{document(value, 'json')}\n"),
    "yaml": _values(lambda value: f"{document(value, 'yaml')}\n"),
    "jsonpath": _jsonpath,
    "jsonpath-as-json": _jsonpath_as_json,
    "jsonpath-file": lambda path: _jsonpath(_read(path)),
    "go-template": _go_template,
    "go-template-file": lambda path: _go_template(_read(path)),
    "template": _go_template,
    "templatefile": lambda path: _go_template(_read(path)),
    "custom-columns": lambda spec: Format(columns=CustomColumns.of_spec(spec)),
    "custom-columns-file": lambda path: Format(columns=CustomColumns.of_file(_read(path))),
}
