"""`emulab explain`: what a kind or a field of it is, as Kubernetes' OpenAPI describes it. It needs no lab."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from emulab.cli.kinds import find
from emulab.cli.usage import UsageError
from emulab.errors import UserError
from emulab.kinds.kind import Kind
from emulab.kinds.openapi.table import ApiField, described, fields

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
    if not kind.is_kubernetes:
        raise UserError(f"{kind.kind} is emulab's own; what its objects may say is in the README")
    print("\n".join(_explained(kind, path, options.recursive)))
    return 0


def _explained(kind: Kind, path: list[str], recursive: bool) -> Iterator[str]:
    """Raises UsageError where there is no such field."""
    definition = kind.structures[0]
    field, text = None, described(definition)
    for step in path:
        field = fields(definition).get(step) if definition else None
        if field is None:
            raise UsageError(f'field "{step}" does not exist')
        text, definition = described(definition, step), field.definition
    if kind.group:
        yield f"GROUP:      {kind.group}"
    yield f"KIND:       {kind.kind}"
    yield f"VERSION:    {kind.version}\n"
    if field is not None:
        yield f"FIELD: {path[-1]} <{_type(field)}>{_required(field)}\n"
    yield "DESCRIPTION:"
    yield from _wrapped(text)
    if definition and fields(definition):
        yield "\nFIELDS:"
        yield from _tree(definition, (definition,), 2) if recursive else _fields(definition)


def _fields(definition: str) -> Iterator[str]:
    for name, field in sorted(fields(definition).items()):
        yield f"  {name}\t<{_type(field)}>{_required(field)}"
        yield from _wrapped(described(definition, name))
        yield ""


def _tree(definition: str, above: tuple[str, ...], indent: int) -> Iterator[str]:
    """All fields; a definition within itself (JSONSchemaProps) isn't opened again."""
    for name, field in sorted(fields(definition).items()):
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
