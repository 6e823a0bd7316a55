"""The tree of a Go template (text/template/parse/node.go): what an action says, and what it repeats or chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import UserError


class GoTemplateError(UserError):
    """A template that can't be read, or can't be made of a value."""


@dataclass(frozen=True, slots=True)
class GoLiteral:
    """A string, number, boolean or nil, with its text as it is written."""

    at: int
    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class GoPath:
    """Fields below the dot, below a variable, or below the result of a pipeline in parentheses."""

    at: int
    base: str | GoPipeline  # "" for the dot, the name of a variable with its `$`
    fields: Sequence[str] = ()

    @property
    def text(self) -> str:
        fields = "".join(f".{field}" for field in self.fields)
        if isinstance(self.base, GoPipeline):
            return f"({self.base.text}){fields}"
        return f"{self.base}{fields}" or "."


@dataclass(frozen=True, slots=True)
class GoFunction:
    at: int
    text: str


GoOperand = GoLiteral | GoPath | GoFunction


@dataclass(frozen=True, slots=True)
class GoCommand:
    """A function with its arguments, or a value."""

    at: int
    operands: Sequence[GoOperand]

    @property
    def text(self) -> str:
        return " ".join(operand.text for operand in self.operands)


@dataclass(frozen=True, slots=True)
class GoPipeline:
    """Commands of which each gets the result of the one before as its last argument, and who is told the last one."""

    at: int
    commands: Sequence[GoCommand]
    variables: Sequence[str] = ()
    assigns: bool = False  # to variables that are there

    @property
    def text(self) -> str:
        told = ", ".join(self.variables) + (" = " if self.assigns else " := ") if self.variables else ""
        return told + " | ".join(command.text for command in self.commands)


@dataclass(frozen=True, slots=True)
class GoText:
    text: str


@dataclass(frozen=True, slots=True)
class GoAction:
    pipeline: GoPipeline


@dataclass(frozen=True, slots=True)
class GoBranch:
    """`if`, `with` or `range`."""

    keyword: str
    pipeline: GoPipeline
    body: Sequence[GoNode]
    otherwise: Sequence[GoNode] = ()


@dataclass(frozen=True, slots=True)
class GoLeap:
    """`break` or `continue`."""

    keyword: str


@dataclass(frozen=True, slots=True)
class GoInvocation:
    """`{{template "NAME" PIPELINE}}`."""

    at: int
    name: str
    pipeline: GoPipeline | None

    @property
    def text(self) -> str:
        given = f" {self.pipeline.text}" if self.pipeline else ""
        return f'{{{{template "{self.name}"{given}}}}}'


GoNode = GoText | GoAction | GoBranch | GoLeap | GoInvocation
