"""`emulab explain`: what a kind or a field of it is, as Kubernetes' OpenAPI or emulab's own table describes it.

It needs no lab.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping

from emulab.cli.kinds import find
from emulab.cli.usage import UsageError
from emulab.errors import UserError
from emulab.kinds.emulab import described as own
from emulab.kinds.kind import Kind
from emulab.kinds.openapi import table
from emulab.kinds.openapi.table import ApiField

_WIDTH = 76
_SCALARS = {
    "any": "Object",
    "bytes": "string",
    "double": "number",
    "int-or-string": "IntOrString",
    "int32": "integer",
    "int64": "integer",
    "quantity": "Quantity",
    "time": "string",
}
"""Scalars of the table by what kubectl calls them, where that is another word."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="KIND[.FIELD…]", help="pods, deploy.spec.strategy, …")
    parser.add_argument("--recursive", action="store_true", help="all fields below, without what they are")


def run(options: argparse.Namespace) -> int:
    word, *path = options.what.rstrip(".").split(".")
    kind = find(word)
    print("\n".join(_explained(kind, path, options.recursive)))
    return 0


def _explained(kind: Kind, path: list[str], recursive: bool) -> Iterator[str]:
    """Raises UsageError where there is no such field."""
    definition = _definition(kind)
    field, text = None, _described(definition)
    for step in path:
        field = _fields(definition).get(step) if definition else None
        if field is None:
            raise UsageError(f'field "{step}" does not exist')
        text, definition = _described(definition, step), field.definition
    if kind.group:
        yield f"GROUP:      {kind.group}"
    yield f"KIND:       {kind.kind}"
    yield f"VERSION:    {kind.version}\n"
    if field is not None:
        yield f"FIELD: {path[-1]} <{_type(field)}>{_required(field)}\n"
    yield "DESCRIPTION:"
    yield from _wrapped(text)
    if definition and _fields(definition):
        yield "\nFIELDS:"
        yield from _tree(definition, (definition,), 2) if recursive else _list(definition)


def _definition(kind: Kind) -> str:
    """The definition of a kind's objects. Raises UserError where nothing describes them."""
    name = kind.structures[0] if kind.is_kubernetes else own.definition_of(kind)
    if not name:
        raise UserError(f"{kind.kind}: what its objects may say is its CustomResourceDefinition's alone")
    return name


def _fields(definition: str) -> Mapping[str, ApiField]:
    return own.fields(definition) if definition in own.FIELDS else table.fields(definition)


def _described(definition: str, field: str = "") -> str:
    return (own.described if definition in own.FIELDS else table.described)(definition, field)


def _list(definition: str) -> Iterator[str]:
    for name, field in sorted(_fields(definition).items()):
        yield f"  {name}\t<{_type(field)}>{_required(field)}"
        yield from _wrapped(_described(definition, name))
        yield ""


def _tree(definition: str, above: tuple[str, ...], indent: int) -> Iterator[str]:
    """All fields; a definition within itself (JSONSchemaProps) isn't opened again."""
    for name, field in sorted(_fields(definition).items()):
        yield f"{' ' * indent}{name}\t<{_type(field)}>{_required(field)}"
        inner = field.definition
        if inner and inner not in above:
            yield from _tree(inner, (*above, inner), indent + 2)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4, break_long_words=False
    )


def _required(field: ApiField) -> str:
    return " -required-" if field.required else ""


def _type(field: ApiField) -> str:
    """A type as kubectl writes it: `[]Container`, `map[string]string`."""
    text = field.type
    if text.startswith("["):
        return f"[]{_name(text[1:-1])}"
    return f"map[string]{_name(text[1:-1])}" if text.startswith("{") else _name(text)


def _name(text: str) -> str:
    return text.rpartition(".")[2] if "." in text else _SCALARS.get(text, text)
