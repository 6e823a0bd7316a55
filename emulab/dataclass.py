"""`dataclass` of the standard library, whose methods are made when they are first called.

The standard one compiles six methods for each class at its definition (CPython 3.11: 0.7 ms), which for our hundred
classes was a tenth of all that starting a lab takes; most of them are never called. Here the standard one finds the
fields, and so `fields`, `replace`, `asdict` and `is_dataclass` work; the methods behave as its own do. Type checkers
are shown the standard one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import MISSING, FrozenInstanceError, field
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]


def _make_dataclass(cls: Any = None, /, *, frozen: bool = False, slots: bool = False, eq: bool = True) -> Any:
    """A dataclass as `dataclasses.dataclass` makes it, with those of its options that we use."""
    if cls is None:
        return lambda given: _make_dataclass(given, frozen=frozen, slots=slots, eq=eq)
    cls.__doc__ = cls.__doc__ or cls.__name__  # else its signature, which takes as long to find as all else
    cls = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=slots)
    _later(cls, "__init__", lambda: _init(cls, frozen, slots))
    _give(cls, "__repr__", _repr)
    if eq:
        _later(cls, "__eq__", lambda: _eq(cls))
        if frozen:
            _later(cls, "__hash__", lambda: _hash(cls))
        elif "__hash__" not in vars(cls) or vars(cls)["__hash__"] is None:
            cls.__hash__ = None
    if frozen:
        cls.__setattr__, cls.__delattr__ = _refuse_to_set, _refuse_to_delete
        if slots:
            _give(cls, "__getstate__", _getstate)
            _give(cls, "__setstate__", _setstate)
    return cls


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _make_dataclass


def _give(cls: Any, name: str, method: Callable[..., Any]) -> None:
    """Gives the class a method, unless it has its own. (One that has its own `__eq__` has `__hash__`: None.)"""
    if vars(cls).get(name) is None:
        setattr(cls, name, method)


def _later(cls: Any, name: str, make: Callable[[], Callable[..., Any]]) -> None:
    """Gives the class a method that is made when it is first called, unless it has its own."""

    def first(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = make()
        method.__qualname__, method.__module__ = f"{cls.__qualname__}.{name}", cls.__module__
        setattr(cls, name, method)
        return method(self, *args, **kwargs)

    _give(cls, name, first)


# --- methods that are made for a class ----------------------------------------------------------------------


def _init(cls: Any, frozen: bool, slots: bool) -> Callable[..., Any]:
    names: dict[str, Any] = {"_missing": MISSING}
    parameters, body = [], []
    for number, one in enumerate(dataclasses.fields(cls)):
        value = one.name
        if one.default_factory is not MISSING:
            names[f"_make{number}"] = one.default_factory
            value = f"_make{number}()"
            if one.init:
                parameters.append(f"{one.name}=_missing")
                value = f"{value} if {one.name} is _missing else {one.name}"
        elif one.default is not MISSING:
            names[f"_default{number}"] = one.default
            if one.init:
                parameters.append(f"{one.name}=_default{number}")
            else:
                value = f"_default{number}"
        elif one.init:
            parameters.append(one.name)
        else:
            continue  # for __post_init__ to set
        if frozen and slots:
            names[f"_set{number}"] = getattr(cls, one.name).__set__
            body.append(f"_set{number}(self, {value})")
        elif frozen:
            body.append(f"self.__dict__[{one.name!r}] = {value}")
        else:
            body.append(f"self.{one.name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    return _compiled(f"__init__({', '.join(['self', *parameters])})", body or ["pass"], names)


def _eq(cls: Any) -> Callable[..., Any]:
    ours, theirs = _compared(cls, "self"), _compared(cls, "other")
    body = [f"return {ours} == {theirs} if other.__class__ is self.__class__ else NotImplemented"]
    return _compiled("__eq__(self, other)", body, {})


def _hash(cls: Any) -> Callable[..., Any]:
    return _compiled("__hash__(self)", [f"return hash({_compared(cls, 'self')})"], {})


def _compared(cls: Any, of: str) -> str:
    """The tuple of the fields by which two are compared, of which `hash=None` is the only kind that we have."""
    return f"({''.join(f'{of}.{one.name}, ' for one in dataclasses.fields(cls) if one.compare)})"


def _compiled(head: str, body: Sequence[str], names: dict[str, Any]) -> Callable[..., Any]:
    exec("\n ".join([f"def {head}:", *body]), names)
    method: Callable[..., Any] = names[head.partition("(")[0]]
    return method


# --- methods that are the same for all ----------------------------------------------------------------------


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse_to_set(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for one, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)
