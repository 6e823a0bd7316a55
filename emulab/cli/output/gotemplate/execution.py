"""What a Go template makes of a value (text/template/exec.go)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emulab.cli.output.gotemplate.formatting import MISSING, Int64, plain, printed
from emulab.cli.output.gotemplate.functions import call, is_list, is_true
from emulab.cli.output.gotemplate.parsing import GoTrees
from emulab.cli.output.gotemplate.tree import (
    GoAction,
    GoBranch,
    GoCommand,
    GoFunction,
    GoInvocation,
    GoLeap,
    GoLiteral,
    GoNode,
    GoOperand,
    GoPath,
    GoPipeline,
    GoTemplateError,
    GoText,
)

_DEPTH = 100  # templates that invoke each other; Go lets a thousand times as many


def execute(template: GoTrees, value: Any, missing_allowed: bool = True) -> str:
    """The text that a template makes of a value out of JSON. Raises GoTemplateError.

    `missing_allowed`: whether a field that isn't there is `<no value>` (`missingkey=default`), and no error.
    """
    value = as_decoded(value)
    return "".join(_Execution(template, missing_allowed).walk(template.nodes, value, [("$", value)]))


def as_decoded(value: Any) -> Any:
    """A value as kubectl's printer has it: whole numbers are int64."""
    if isinstance(value, Mapping):
        return {name: as_decoded(member) for name, member in value.items()}
    if is_list(value):
        return [as_decoded(member) for member in value]
    return Int64(value) if type(value) is int else value


class _Break(Exception):
    """The loop is over."""


class _Continue(Exception):
    """This turn of the loop is over."""


_LEAPS = {"break": _Break, "continue": _Continue}
_Variables = list[tuple[str, Any]]


class _Execution:
    def __init__(self, template: GoTrees, missing_allowed: bool) -> None:
        self._template = template
        self._missing_allowed = missing_allowed
        self._depth = 0

    def walk(self, nodes: Sequence[GoNode], dot: Any, variables: _Variables) -> Iterator[str]:
        for node in nodes:
            match node:
                case GoText(text):
                    yield text
                case GoAction(pipeline):
                    value = self._pipeline(pipeline, dot, variables)
                    if not pipeline.variables:
                        yield printed(value)
                case GoBranch():
                    known = len(variables)
                    yield from self._branch(node, dot, variables)
                    del variables[known:]
                case GoLeap(keyword):
                    raise _LEAPS[keyword]
                case GoInvocation():
                    yield from self._invoked(node, dot, variables)

    def _branch(self, node: GoBranch, dot: Any, variables: _Variables) -> Iterator[str]:
        if node.keyword == "range":
            yield from self._range(node, dot, variables)
            return
        value = self._pipeline(node.pipeline, dot, variables)
        if is_true(value):
            yield from self.walk(node.body, value if node.keyword == "with" else dot, variables)
        else:
            yield from self.walk(node.otherwise, dot, variables)

    def _range(self, node: GoBranch, dot: Any, variables: _Variables) -> Iterator[str]:
        told = node.pipeline
        plain_pipeline = GoPipeline(told.at, told.commands)
        value = self._pipeline(plain_pipeline, dot, variables)
        members = _members(value)
        if members is None:
            operand = told.commands[-1].operands[0]
            raise self._failed(operand, f"range can't iterate over {plain(value)}")
        if not members:
            yield from self.walk(node.otherwise, dot, variables)
            return
        known = len(variables)
        for key, member in members:
            for name, its in zip(told.variables, (key, member)[-len(told.variables) :], strict=False):
                _tell(variables, name, its, told.assigns)
            parts: list[str] = []
            try:
                for part in self.walk(node.body, member, variables):
                    parts.append(part)
            except _Continue:
                pass
            except _Break:
                yield from parts
                break
            finally:
                del variables[known:]
            yield from parts

    def _invoked(self, node: GoInvocation, dot: Any, variables: _Variables) -> Iterator[str]:
        body = self._template.defined.get(node.name)
        if body is None:
            raise self._failed(node, f'template "{node.name}" not defined')
        if self._depth >= _DEPTH:
            raise GoTemplateError("template: output: exceeded maximum template depth")
        value = self._pipeline(node.pipeline, dot, variables) if node.pipeline else MISSING
        self._depth += 1
        yield from self.walk(body, value, [("$", value)])
        self._depth -= 1

    def _pipeline(self, pipeline: GoPipeline, dot: Any, variables: _Variables) -> Any:
        final: list[Any] = []
        for command in pipeline.commands:
            final = [self._command(command, dot, variables, final)]
        for name in pipeline.variables:
            _tell(variables, name, final[0], pipeline.assigns)
        return final[0]

    def _command(self, command: GoCommand, dot: Any, variables: _Variables, final: Sequence[Any]) -> Any:
        first, *arguments = command.operands
        if isinstance(first, GoFunction):
            return self._called(command, first, arguments, dot, variables, final)
        if arguments or final:
            if isinstance(first, GoPath) and first.fields:
                raise self._failed(first, f"{first.fields[-1]} is not a method but has arguments")
            raise self._failed(first, f"can't give argument to non-function {first.text}")
        if isinstance(first, GoLiteral) and first.text == "nil":
            raise self._failed(first, "nil is not a command")
        return self._operand(first, dot, variables)

    def _called(
        self,
        command: GoCommand,
        function: GoFunction,
        arguments: Sequence[GoOperand],
        dot: Any,
        variables: _Variables,
        final: Sequence[Any],
    ) -> Any:
        if function.text in ("and", "or") and (arguments or final):
            value: Any = MISSING
            for argument in arguments:
                value = self._operand(argument, dot, variables)
                if is_true(value) == (function.text == "or"):
                    return value
            return final[0] if final else value
        values = [*(self._operand(argument, dot, variables) for argument in arguments), *final]
        try:
            return call(function.text, values)
        except GoTemplateError as error:
            why = str(error)
            if why.startswith("wrong number of args"):
                raise self._failed(function, why) from None
            if "expected string" in why and arguments:
                if isinstance(arguments[0], GoLiteral):
                    why = f"expected string; found {arguments[0].text}"
                raise self._failed(arguments[0], why) from None
            at = command if arguments else function
            raise self._failed(at, f"error calling {function.text}: {why}") from None

    def _operand(self, operand: GoOperand, dot: Any, variables: _Variables) -> Any:
        match operand:
            case GoLiteral():
                return operand.value
            case GoFunction():
                return self._called(GoCommand(operand.at, [operand]), operand, [], dot, variables, [])
            case GoPath(base=GoPipeline() as inner):
                value = self._pipeline(inner, dot, variables)
            case GoPath(base=""):
                value = dot
            case GoPath(base=name):
                value = next(its for known, its in reversed(variables) if known == name)
        for field in operand.fields:
            value = self._field(operand, value, field)
        return value

    def _field(self, operand: GoPath, value: Any, field: str) -> Any:
        if value is MISSING:
            return MISSING
        if value is None:
            raise self._failed(operand, f"nil pointer evaluating interface {{}}.{field}")
        if not isinstance(value, Mapping):
            raise self._failed(operand, f"can't evaluate field {field} in type interface {{}}")
        if field not in value and not self._missing_allowed:
            raise self._failed(operand, f'map has no entry for key "{field}"')
        return value.get(field, MISSING)

    def _failed(self, node: GoOperand | GoCommand | GoInvocation, why: str) -> GoTemplateError:
        before = self._template.text[: node.at]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1)
        return GoTemplateError(
            f'template: output:{line}:{column}: executing "output" at <{node.text}>: {why}'
        )


def _tell(variables: _Variables, name: str, value: Any, assigns: bool) -> None:
    """Declares a variable, or gives one that is there another value."""
    if assigns:
        at = max(number for number, (known, _) in enumerate(variables) if known == name)
        variables[at] = (name, value)
    else:
        variables.append((name, value))


def _members(value: Any) -> Sequence[tuple[Any, Any]] | None:
    """What `range` goes over, each with its key; None for what has no members."""
    if value is MISSING or value is None:
        return ()
    if isinstance(value, Mapping):
        return [(name, value[name]) for name in sorted(value)]
    if is_list(value):
        return list(enumerate(value))
    return (
        [(number, number) for number in range(value)]
        if isinstance(value, int) and not isinstance(value, bool)
        else None
    )
