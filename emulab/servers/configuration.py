"""Configurations as values and as plain data: what plans a server makes a value, its process gets it back from JSON.

The `config` module of a server's package has the dataclasses, all of them frozen, which are the one thing of a server
that others know. Both directions follow from their fields:

    a dataclass        an object; a field that is as its default isn't written and needn't be there
    a NamedTuple       a list, for what there may be ten thousand of; all of its fields are there
    tuple[X, ...]      a list
    Mapping[str, X]    an object, or what is `late`
    X | None           null, or X
    X | Y              `Variant`s: an object, whose field `type` says which of them it is
    str, int, float, bool

Whoever reads is strict. A field that isn't known, one that is missing and a value of another type are a
`BadConfiguration`, which names the path: `config.frontends[2].targets: unknown field "x"`. Whoever writes has had
mypy look at the values' types; what even JSON has no word for is refused here in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.servers.late import Late, Unread

Plain = Any
"""Data as `json.loads` returns it."""
Value = TypeVar("Value")


class BadConfiguration(UserError, ValueError):
    """A configuration that no server can follow."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What every server's configuration says: the keys of the sockets that shall be open (see `base`)."""

    listen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several things that a field may be. Its plain data tells the name of its class, as `type`."""


def json_bytes(config: Any) -> bytes:
    """A configuration as JSON. Raises BadConfiguration."""
    try:
        return _encoder.encode(config).encode()
    except TypeError:
        to_json(config)  # knows where
        raise


def to_json(value: Any, path: str = "config") -> Plain:
    """A configuration, or a part of it, as plain data. Raises BadConfiguration."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(one, f"{path}.{name}") for name, one in _object_of(value).items()}
    if isinstance(value, Mapping):
        return {key: to_json(one, f"{path}.{key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one, f"{path}[{index}]") for index, one in enumerate(value)]
    if value is None or isinstance(value, str | int | float):
        return value
    raise BadConfiguration(f"{path}: {value!r} is nothing that a configuration can say")


def from_json(kind: type[Value], data: Plain, path: str = "config") -> Value:
    """The value of this type that plain data describes. Raises BadConfiguration."""
    hashable: Any = kind
    try:
        value: Value = _reader(hashable)(data)
    except _Wrong as wrong:
        raise BadConfiguration(f"{path}{wrong.path}: {wrong.reason}") from None
    return value


# --- writing ------------------------------------------------------------------------------------------------


Writer = Callable[[Any], dict[str, Any]]
_writers: dict[type, Writer] = {}


def _object_of(value: Any) -> dict[str, Any]:
    """What is written of a dataclass, or a mapping that is no dict. Raises TypeError for anything else."""
    kind = type(value)
    write = _writers.get(kind)
    if write is None:
        write = _writers[kind] = _writer(kind)
    return write(value)


def _writer(kind: Any) -> Writer:
    """A function that is compiled once: there may be tens of thousands of values of a type."""
    if issubclass(kind, Mapping):
        return dict
    names: dict[str, Any] = {}
    always, sometimes = [], []
    if issubclass(kind, Variant):
        always.append(f"'type': {kind.__name__!r}")
    for number, one in enumerate(fields(kind)):
        if not _has_default(one):
            always.append(f"{one.name!r}: value.{one.name}")
            continue
        names[f"default{number}"] = _default(one)
        sometimes.append(f"if value.{one.name} != default{number}: data[{one.name!r}] = value.{one.name}")
    data = f"data = {{{', '.join(always)}}}"
    return _function("write(value)", data, *sometimes, "return data", names=names)


_encoder = json.JSONEncoder(default=_object_of, check_circular=False)


# --- both ---------------------------------------------------------------------------------------------------


def _has_default(one: Field[Any]) -> bool:
    return one.default is not MISSING or one.default_factory is not MISSING


def _default(one: Field[Any]) -> Any:
    """The value of a field that isn't said: one for all, as nobody changes it."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def _function(head: str, *body: str, names: dict[str, Any]) -> Callable[..., Any]:
    exec("\n ".join([f"def {head}:", *body]), names)
    function: Callable[..., Any] = names[head.partition("(")[0]]
    return function


# --- reading ------------------------------------------------------------------------------------------------

ReadValue = Callable[[Plain], Any]


class _Wrong(Exception):
    """Something that isn't as its type says. Whoever reads what is around it adds to the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""

    def at(self, step: str) -> _Wrong:
        self.path = step + self.path
        return self


@cache
def _reader(kind: Any) -> ReadValue:
    """What reads values of a type."""
    if kind in _SCALARS:
        return _scalar(kind)
    if is_dataclass(kind):
        return _variant((kind,)) if isinstance(kind, type) and issubclass(kind, Variant) else _object(kind)
    if isinstance(kind, type) and issubclass(kind, tuple):
        return _row(kind)
    arguments = get_args(kind)
    if get_origin(kind) is tuple and arguments[1:] == (...,):
        return _list(_reader(arguments[0]))
    if get_origin(kind) is Mapping and arguments[0] is str:
        return _mapping(_reader(arguments[1]))
    if isinstance(kind, UnionType):
        kinds = tuple(one for one in arguments if one is not NoneType)
        inner = _reader(kinds[0]) if len(kinds) == 1 else _variant(kinds)
        return inner if kinds == arguments else _optional(inner)
    raise TypeError(f"a configuration can't have a field of type {kind}")


_SCALARS: dict[Any, tuple[str, frozenset[type]]] = {
    str: ("a string", frozenset({str})),
    int: ("an integer", frozenset({int})),
    float: ("a number", frozenset({int, float})),
    bool: ("true or false", frozenset({bool})),
}


def _scalar(kind: Any) -> ReadValue:
    words, types = _SCALARS[kind]

    def read(data: Plain) -> Any:
        if type(data) in types:
            return data
        raise _unlike(words, data)

    return read


def _optional(inner: ReadValue) -> ReadValue:
    return lambda data: None if data is None else inner(data)


def _list(item: ReadValue) -> ReadValue:
    def read(data: Plain) -> Any:
        given, values = _of(list, "a list", data), list[Any]()
        try:
            for one in given:
                values.append(item(one))
        except _Wrong as wrong:
            raise wrong.at(f"[{len(values)}]") from None
        return tuple(values)

    return read


def _mapping(item: ReadValue) -> ReadValue:
    def read_late(key: str, text: str) -> Any:
        try:
            return item(json.loads(text))
        except _Wrong as wrong:
            raise BadConfiguration(f"config….{key}{wrong.path}: {wrong.reason}") from None

    def read(data: Plain) -> Any:
        if type(data) is Unread:
            return Late(data, read_late)
        values: dict[str, Any] = {}
        for key, one in _of(dict, "an object", data).items():
            try:
                values[key] = item(one)
            except _Wrong as wrong:
                raise wrong.at(f".{key}") from None
        return values

    return read


def _object(kind: Any) -> ReadValue:
    hints = get_type_hints(kind)
    readers = {one.name: _reader(hints[one.name]) for one in fields(kind)}
    needed = [one.name for one in fields(kind) if not _has_default(one)]

    def explain(data: Plain) -> NoReturn:
        for name, one in _of(dict, "an object", data).items():
            if name not in readers:
                raise _Wrong(f"unknown field {json.dumps(name)}")
            try:
                readers[name](one)
            except _Wrong as wrong:
                raise wrong.at(f".{name}") from None
        (missing, *_) = (name for name in needed if name not in data)
        raise _Wrong(f"missing field {json.dumps(missing)}")

    scalars = {name: _SCALARS[hint][1] for name, hint in hints.items() if hint in _SCALARS}
    return _compiled(kind, readers, scalars, explain)


def _variant(kinds: tuple[Any, ...]) -> ReadValue:
    if not all(isinstance(kind, type) and issubclass(kind, Variant) for kind in kinds):
        raise TypeError(f"nothing says which of {kinds} a value would be")
    readers = {kind.__name__: _object(kind) for kind in kinds}

    def read(data: Plain) -> Any:
        rest = dict(_of(dict, "an object", data))
        if "type" not in rest:
            raise _Wrong('missing field "type"')
        kind = rest.pop("type")
        if not isinstance(kind, str) or kind not in readers:
            raise _Wrong(f"{json.dumps(kind)} is not one of {', '.join(readers)}").at(".type")
        return readers[kind](rest)

    return read


def _compiled(
    kind: Any,
    readers: Mapping[str, ReadValue],
    scalars: Mapping[str, frozenset[type]],
    explain: Callable[[Plain], NoReturn],
) -> ReadValue:
    """A function that makes a value of plain data, which `explain` looks at where it isn't in order."""
    names: dict[str, Any] = {"make": kind, "explain": explain, "Wrong": _Wrong}
    body, checks, count = [], ["count == len(data)"], 0
    for number, one in enumerate(fields(kind)):
        names[f"read{number}"] = readers[one.name]
        if one.name in scalars and not _has_default(one):  # looked at here, without a call
            names[f"types{number}"] = scalars[one.name]
            body.append(f"value{number} = data[{one.name!r}]")
            checks.append(f"type(value{number}) in types{number}")
            count += 1
            continue
        if _has_default(one):
            names[f"default{number}"] = _default(one)
            body.append(f"value{number} = default{number}")
            body.append(
                f"if {one.name!r} in data: value{number} = read{number}(data[{one.name!r}]); count += 1"
            )
        else:
            body.append(f"value{number} = read{number}(data[{one.name!r}])")
            count += 1
    values = ", ".join(f"value{number}" for number in range(len(fields(kind))))
    return _function(
        "read(data)",
        "if type(data) is not dict: explain(data)",
        "try:",
        f" count = {count}",
        *(f" {line}" for line in body),
        f" if {' and '.join(checks)}: return make({values})",
        "except (KeyError, Wrong): pass",
        "explain(data)",
        names=names,
    )


def _row(kind: Any) -> ReadValue:
    hints = get_type_hints(kind)
    names = kind._fields
    readers = [_reader(hints[name]) for name in names]
    usual = [hints[name] for name in names]
    new = tuple.__new__  # what `_make` does, which looks at the length once more

    def read(data: Plain) -> Any:
        if type(data) is list and [*map(type, data)] == usual:
            return new(kind, data)
        if len(_of(list, "a list", data)) != len(names):
            raise _Wrong(f"{len(names)} values are expected ({', '.join(names)}), not {len(data)}")
        values = []
        for name, item, one in zip(names, readers, data, strict=True):
            try:
                values.append(item(one))
            except _Wrong as wrong:
                raise wrong.at(f".{name}") from None
        return new(kind, values)

    return read


def _of(kind: type, words: str, data: Plain) -> Any:
    if type(data) is not kind:
        raise _unlike(words, data)
    return data


def _unlike(words: str, data: Plain) -> _Wrong:
    shown = json.dumps(data)
    return _Wrong(f"{words} is expected, not {shown if len(shown) <= 40 else shown[:40] + '…'}")
