"""Values of configurations as JSON, each by itself: what `configuration.json_bytes` makes of one, made for its type.

There may be twenty thousand of a type, which takes half of the time so: a function for each type is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from emulab.servers.configuration import Variant, json_bytes

WriteText = Callable[[Any], str]


class _Template(NamedTuple):
    """A text with places for what the expressions are."""

    text: str
    expressions: tuple[str, ...]

    @property
    def filled(self) -> str:
        """The expression that is the text with all in its place."""
        return f"{self.text!r} % ({', '.join(self.expressions)},)"


@cache
def text_writer(kind: Any) -> WriteText:
    """What writes values of a type, in one line. Raises BadConfiguration or TypeError for what JSON has no word for."""
    names: dict[str, Any] = {"quote": encode_basestring_ascii, "other": _other, "words": ("false", "true")}
    exec(f"def write(value):\n return {_template(kind, 'value', names).filled}", names)
    write: WriteText = names["write"]
    return write


def _other(value: Any) -> str:
    return json_bytes(value).decode()


def _template(kind: Any, value: str, names: dict[str, Any]) -> _Template:
    """The JSON of what an expression is."""
    if kind is str:
        return _Template("%s", (f"quote({value})",))
    if kind is bool:
        return _Template("%s", (f"words[{value}]",))
    if kind is int:
        return _Template("%d", (value,))
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        return _Template("[%s]", (_list(get_args(kind)[0], value, names),))
    if isinstance(kind, type) and issubclass(kind, tuple):
        return _row(kind, [f"{value}[{n}]" for n in range(len(get_type_hints(kind)))], names)
    if is_dataclass(kind) and isinstance(kind, type) and not issubclass(kind, Variant):
        return _object(kind, value, names)
    return _Template("%s", (f"other({value})",))


def _row(kind: Any, values: list[str], names: dict[str, Any]) -> _Template:
    hints = get_type_hints(kind).values()
    each = [_template(hint, value, names) for hint, value in zip(hints, values, strict=True)]
    return _Template(f"[{','.join(one.text for one in each)}]", _all_of(each))


def _list(kind: Any, value: str, names: dict[str, Any]) -> str:
    """The expression that is what stands between the brackets. Rows are taken apart at once."""
    name = f"one{len(names)}"
    names[name] = None
    if isinstance(kind, type) and issubclass(kind, tuple):
        parts = [f"{name}_{n}" for n in range(len(get_type_hints(kind)))]
        inner, name = _row(kind, parts, names), ", ".join(parts) + ","
    else:
        inner = _template(kind, name, names)
    return f"','.join([{inner.filled} for {name} in {value}])"


def _object(kind: Any, value: str, names: dict[str, Any]) -> _Template:
    """A field that is as its default isn't written."""
    hints, always, sometimes = get_type_hints(kind), [], []
    for one in fields(kind):
        inside = f"{value}.{one.name}"
        text, expressions = _template(hints[one.name], inside, names)
        written = _Template(f'"{one.name}":{text}', expressions)
        if one.default is MISSING and one.default_factory is MISSING:
            always.append(written)
            continue
        default = f"default{len(names)}"
        names[default] = one.default if one.default_factory is MISSING else one.default_factory()
        filled = _Template(f",{written.text}", expressions).filled
        sometimes.append(_Template("%s", (f"'' if {inside} == {default} else {filled}",)))
    if not always:  # before which there is a comma, or not
        return _Template("%s", (f"other({value})",))
    text = ",".join(one.text for one in always) + "%s" * len(sometimes)
    return _Template(f"{{{text}}}", _all_of([*always, *sometimes]))


def _all_of(templates: list[_Template]) -> tuple[str, ...]:
    return tuple(expression for one in templates for expression in one.expressions)
