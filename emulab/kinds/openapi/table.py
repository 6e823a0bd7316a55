"""Reads the lines of the table, each when it is first asked for: a manifest has to do with a few definitions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple


class ApiField(NamedTuple):
    """A field of a definition: its type, without suffixes, and how it is merged."""

    type: str
    required: bool
    merged: tuple[str, ...]

    @property
    def definition(self) -> str:
        """The definition that its value, or each one in it, is of; "" where that is a scalar."""
        name = self.type.strip("[]{}")
        return name if "." in name else ""


@cache
def _lines(file: str) -> dict[str, str]:
    """What stands behind each line's first word, by the word without its suffixes."""
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    parts = (line.partition(" ") for line in text.splitlines()[1:])
    return {word.partition(";")[0]: rest for word, _, rest in parts}


def definitions() -> list[str]:
    """The names of all definitions."""
    return list(_lines("structure.txt"))


@cache
def fields(definition: str) -> Mapping[str, ApiField]:
    """The fields of a definition by name."""
    found: dict[str, ApiField] = {}
    for word in _lines("structure.txt")[definition].split():
        name, _, given = word.partition(":")
        kind, *merged = given.split(";")
        found[name.removesuffix("!")] = ApiField(kind, name.endswith("!"), tuple(merged))
    return found


def resolve(name: str) -> str:
    """The definition itself, or after a colon that of the fields in it: `apps.v1.DeploymentSpec:strategy`."""
    definition, _, path = name.partition(":")
    for step in filter(None, path.split(".")):
        definition = fields(definition)[step].definition
    return definition


def described(definition: str, field: str = "") -> str:
    """The first sentence of what OpenAPI says of a definition, or of a field of it."""
    return _lines("descriptions.txt")[f"{definition}:{field}" if field else definition]
