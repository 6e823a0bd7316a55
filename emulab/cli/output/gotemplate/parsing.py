"""Makes a tree of a Go template (text/template/parse/parse.go)."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emulab.cli.output.gotemplate.functions import FUNCTIONS
from emulab.cli.output.gotemplate.scanning import GoWord, failure, words
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

_KEYWORDS = ("if", "with", "range", "else", "end", "break", "continue", "define", "template", "block")
_CONSTANTS = {"true": True, "false": False, "nil": None}


class GoTrees(NamedTuple):
    """A template, with those that it defines."""

    text: str
    nodes: Sequence[GoNode]
    defined: Mapping[str, Sequence[GoNode]]


def parse(template: str) -> GoTrees:
    """Raises GoTemplateError."""
    parser = _Parser(template)
    nodes, end = parser.nodes()
    if end is not None:
        raise failure(template, end.at, f"unexpected {{{{{end.text}}}}}")
    return GoTrees(template, nodes, parser.defined)


class _Parser:
    def __init__(self, template: str) -> None:
        self._template = template
        self._words = list(words(template))
        self._next = 0
        self._variables = ["$"]
        self._loops = 0
        self.defined: dict[str, Sequence[GoNode]] = {}

    # words

    def _peek(self) -> GoWord:
        if self._next < len(self._words):
            return self._words[self._next]
        return GoWord("end", "", len(self._template))

    def _take(self) -> GoWord:
        word = self._peek()
        self._next += 1
        return word

    def _spaceless(self) -> GoWord:
        """The next word that is no space, not yet taken."""
        while self._peek().kind == "space":
            self._next += 1
        return self._peek()

    def _fail(self, why: str) -> GoTemplateError:
        return failure(self._template, self._peek().at, why)

    def _close(self, where: str) -> None:
        word = self._spaceless()
        if word.kind != "close":
            raise self._fail(f"unexpected {_shown(word)} in {where}")
        self._take()

    # nodes

    def nodes(self) -> tuple[list[GoNode], GoWord | None]:
        """Nodes up to an `end` or `else`, which is the second part, or to the end of the template."""
        found: list[GoNode] = []
        while (word := self._take()).kind != "end":
            if word.kind == "text":
                found.append(GoText(word.text))
                continue
            first = self._spaceless()
            if first.kind != "name" or first.text not in _KEYWORDS:
                pipeline = self._pipeline("command")
                self._close("command")
                found.append(GoAction(pipeline))
                continue
            self._take()
            if first.text in ("end", "else"):
                if first.text == "end":
                    self._close("end")
                return found, first
            found += self._keyword(first)
        return found, None

    def _keyword(self, word: GoWord) -> Sequence[GoNode]:
        if word.text in ("break", "continue"):
            if not self._loops:
                raise self._fail(f"{{{{{word.text}}}}} outside {{{{range}}}}")
            self._close(word.text)
            return [GoLeap(word.text)]
        if word.text in ("define", "block"):
            return self._definition(word)
        if word.text == "template":
            at = self._spaceless().at
            name = self._name("template clause")
            empty = self._spaceless().kind == "close"
            pipeline = None if empty else self._pipeline("template clause")
            self._close("template clause")
            return [GoInvocation(at, name, pipeline)]
        return [self._branch(word.text)]

    def _definition(self, word: GoWord) -> Sequence[GoNode]:
        name = self._name(f"{word.text} clause")
        pipeline = self._pipeline("block clause") if word.text == "block" else None
        self._close(f"{word.text} clause")
        variables, self._variables = self._variables, ["$"]
        body = self._body(("end",))[0]
        self._variables = variables
        self.defined[name] = body
        return [GoInvocation(word.at, name, pipeline)] if pipeline else []

    def _name(self, where: str) -> str:
        word = self._spaceless()
        if word.kind != "string":
            raise self._fail(f"unexpected {_shown(word)} in {where}")
        self._take()
        return str(self._constant(word).value)

    def _branch(self, keyword: str) -> GoBranch:
        known = len(self._variables)
        pipeline = self._pipeline(keyword)
        self._close(keyword)
        self._loops += keyword == "range"
        body, ended = self._body(("end", "else"))
        self._loops -= keyword == "range"
        otherwise: list[GoNode] = []
        if ended.text == "else":
            follows = self._spaceless()
            if follows.kind == "name" and follows.text == keyword and keyword != "range":
                self._take()
                otherwise = [self._branch(keyword)]  # its `end` is that of the whole
            else:
                self._close("else")
                otherwise = self._body(("end",))[0]
        del self._variables[known:]
        return GoBranch(keyword, pipeline, body, otherwise)

    def _body(self, ends: Sequence[str]) -> tuple[list[GoNode], GoWord]:
        nodes, ended = self.nodes()
        if ended is None:
            raise failure(self._template, len(self._template), "unexpected EOF")
        if ended.text not in ends:
            raise self._fail(f"expected end; found {{{{{ended.text}}}}}")
        return nodes, ended

    # pipelines

    def _pipeline(self, where: str) -> GoPipeline:
        at = self._spaceless().at
        variables, assigns = self._declared(where)
        commands: list[GoCommand] = []
        while True:
            word = self._spaceless()
            if word.kind == "close" or word.text == ")":
                if not commands:
                    raise self._fail(f"missing value for {where}")
                break
            if commands:
                if word.text != "|":
                    raise self._fail(f"unexpected {_shown(word)} in {where}")
                self._take()
            commands.append(self._command(where))
        for variable in () if assigns else variables:
            self._variables.append(variable)
        return GoPipeline(at, commands, variables, assigns)

    def _declared(self, where: str) -> tuple[list[str], bool]:
        """The variables in front of `:=` or `=`."""
        start = self._next
        found: list[str] = []
        while (word := self._spaceless()).kind == "variable":
            found.append(self._take().text)
            follows = self._spaceless()
            if follows.kind == "assign":
                self._take()
                if follows.text == "=":
                    for name in found:
                        self._known(name, word)
                return found, follows.text == "="
            if follows.text != "," or where != "range" or len(found) == 2:
                break
            self._take()
        self._next = start
        return [], False

    def _command(self, where: str) -> GoCommand:
        at, operands = self._spaceless().at, []
        while True:
            word = self._spaceless()
            if word.kind == "close" or word.text in ("|", ")"):
                break
            operands.append(self._operand(where))
            if self._peek().kind not in ("space", "close") and self._peek().text not in ("|", ")"):
                raise self._fail(f"unexpected {_shown(self._peek())} in operand")
        if not operands:
            what = (
                f"unexpected {_shown(word)} in {where}" if word.text == "|" else f"missing value for {where}"
            )
            raise self._fail(what)
        return GoCommand(at, operands)

    def _operand(self, where: str) -> GoOperand:
        word = self._take()
        if word.kind == "name":
            if word.text in _CONSTANTS:
                return GoLiteral(word.at, word.text, _CONSTANTS[word.text])
            if word.text not in FUNCTIONS:
                raise failure(self._template, word.at, f'function "{word.text}" not defined')
            return GoFunction(word.at, word.text)
        if word.kind in ("string", "char", "number"):
            return self._constant(word)
        if word.kind == "field":
            return self._path(word.at, "", [word.text[1:]])
        if word.kind == "dot":
            if self._peek().kind == "field":
                raise failure(self._template, word.at, 'unexpected "." in operand')
            return GoPath(word.at, "")
        if word.kind == "variable":
            self._known(word.text, word)
            return self._path(word.at, word.text, [])
        if word.text == "(":
            inner = self._pipeline("parenthesized pipeline")
            if self._spaceless().text != ")":
                raise self._fail("unclosed left paren")
            self._take()
            return self._path(word.at, inner, [])
        raise failure(self._template, word.at, f"unexpected {_shown(word)} in {where}")

    def _path(self, at: int, base: str | GoPipeline, fields: list[str]) -> GoPath:
        """Fields follow their base without a space. A path of more than one stands where its second part does."""
        if self._peek().kind == "field":
            at = self._peek().at
        while self._peek().kind == "field":
            fields.append(self._take().text[1:])
        return GoPath(at, base, fields)

    def _known(self, name: str, word: GoWord) -> None:
        if name not in self._variables:
            raise failure(self._template, word.at, f'undefined variable "{name}"')

    def _constant(self, word: GoWord) -> GoLiteral:
        text = word.text
        try:
            if word.kind == "number":
                return GoLiteral(word.at, text, _number(text))
            if text.startswith("`"):
                return GoLiteral(word.at, text, text[1:-1].replace("\r", ""))
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise failure(self._template, word.at, f"bad constant: {text}") from None
        return GoLiteral(word.at, text, ord(value) if word.kind == "char" and len(value) == 1 else value)


def _number(text: str) -> int | float:
    if re.search(r"[.eE]", text) and not re.match(r"[+-]?0[xX]", text):
        return float(text)
    return int(text, 0) if re.match(r"[+-]?0[xXoObB]", text) else int(text)


def _shown(word: GoWord) -> str:
    """A word as text/template names what it didn't expect."""
    if word.kind == "end":
        return "EOF"
    if word.kind == "name" and word.text in _KEYWORDS:
        return f"<{word.text}>"
    return f'"{word.text[:10]}"...' if len(word.text) > 10 else f'"{word.text}"'
