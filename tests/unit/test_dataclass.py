"""Our `dataclass` is the standard one, made later: everything that is asked of both has one answer."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from emulab import dataclass as ours

Maker = Callable[[Callable[..., Any]], Any]


def point(dataclass: Callable[..., Any]) -> Any:
    @dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 2
        tags: list[str] = dataclasses.field(default_factory=list)

    return Point


def loose(dataclass: Callable[..., Any]) -> Any:
    @dataclass(frozen=True)
    class Loose:
        """Has a docstring."""

        name: str
        _cache: Any = dataclasses.field(default=None, init=False, repr=False, compare=False)

        @property
        def loud(self) -> str:
            return self.name.upper()

    return Loose


def mutable(dataclass: Callable[..., Any]) -> Any:
    @dataclass(slots=True)
    class Mutable:
        size: int
        seen: dict[str, int] = dataclasses.field(default_factory=dict, init=False)
        half: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            self.half = self.size // 2

    return Mutable


def plain(dataclass: Callable[..., Any]) -> Any:
    @dataclass
    class Plain:
        value: Any = None

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "mine"

    return Plain


def by_identity(dataclass: Callable[..., Any]) -> Any:
    @dataclass(slots=True, eq=False)
    class ByIdentity:
        value: int = 1

    return ByIdentity


def empty(dataclass: Callable[..., Any]) -> Any:
    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    return Empty


MAKERS: list[Maker] = [point, loose, mutable, plain, by_identity, empty]


def outcome(what: Callable[[], Any]) -> Any:
    """What comes of it: a value, or an error."""
    try:
        return what()
    except Exception as error:
        return type(error), str(error)


def answers(cls: Any) -> dict[str, Any]:
    """What a class and its instances say to all that can be asked."""
    given = [f.name for f in dataclasses.fields(cls) if f.init]
    first, second, other = (outcome(lambda n=n: cls(*[n] * len(given))) for n in (7, 7, 8))
    if isinstance(first, tuple):
        return {"made": first}
    asked: dict[str, Callable[[], Any]] = {
        "repr": lambda: repr(first),
        "equal": lambda: [first == second, first == other, first != second, first == 7, first == first],
        "hash": lambda: hash(first) == hash(second),
        "hash is": lambda: cls.__hash__ is None,
        "in a set": lambda: len({first, second, other}),
        # The standard one's word for a name that is no field is a TypeError about super().
        "set": lambda: isinstance(outcome(lambda: setattr(first, given[0] if given else "x", 9)), tuple),
        "set another": lambda: isinstance(outcome(lambda: setattr(second, "nothing", 9)), tuple),
        "delete": lambda: isinstance(outcome(lambda: delattr(other, given[0] if given else "x")), tuple),
        "asdict": lambda: dataclasses.asdict(second),
        "replace": lambda: repr(dataclasses.replace(second, **dict.fromkeys(given, 5))),
        "fields": lambda: [(f.name, f.init, f.repr, f.compare) for f in dataclasses.fields(cls)],
        "is": lambda: dataclasses.is_dataclass(cls) and dataclasses.is_dataclass(first),
        "copy": lambda: repr(copy.copy(second)) + repr(copy.deepcopy(second)),
        "match": lambda: cls.__match_args__,
        "slots": lambda: getattr(cls, "__slots__", None),
        "defaults": lambda: repr(cls()),
        "too many": lambda: isinstance(outcome(lambda: cls(*range(9))), tuple),
        "a wrong name": lambda: isinstance(outcome(lambda: cls(wrong=1)), tuple),
        "by name": lambda: repr(cls(**dict.fromkeys(given, 3))),
        "fresh": lambda: [getattr(cls(1), n) is getattr(cls(1), n) for n in ("tags", "seen")],
    }
    return {name: outcome(what) for name, what in asked.items()}


@pytest.mark.parametrize("make", MAKERS)
def test_it_behaves_as_the_standard_one(make: Maker) -> None:
    theirs, mine = answers(make(dataclasses.dataclass)), answers(make(ours.dataclass))
    assert mine == theirs
    assert "made" in mine or len(mine) == 20


def test_methods_are_the_classes_own_once_they_were_called() -> None:
    cls = point(ours.dataclass)
    made = cls(1)
    assert list(inspect.signature(cls).parameters) == ["x", "y", "tags"]
    assert cls.__init__.__qualname__.endswith("Point.__init__") and cls.__init__.__module__ == __name__
    assert made == cls(1) and cls.__eq__.__qualname__.endswith("Point.__eq__")
    assert made != loose(ours.dataclass)("x")


def test_the_first_call_may_be_a_wrong_one() -> None:
    cls = point(ours.dataclass)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        cls()
    assert cls(4).x == 4


def test_frozen_ones_refuse_by_the_fields_name() -> None:
    for make in (point, loose):
        made = make(ours.dataclass)("x")
        for name in (dataclasses.fields(made)[0].name, "nothing"):
            with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
                setattr(made, name, 1)
            with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
                delattr(made, name)


def test_what_holds_itself_has_a_repr() -> None:
    made = mutable(ours.dataclass)(1)
    made.seen["me"] = made
    assert "..." in repr(made)


def test_the_standard_ones_methods_are_not_compiled_at_the_definition() -> None:
    """Which is what this is for: an exec for each method of each class is what starting a lab would wait for.

    From Python 3.13 on there is one for all methods of a class, also where there are none.
    """
    program = (
        "import builtins, dataclasses\n"
        "import emulab.dataclass\n"
        "def refuse(text, *names):\n"
        "    if '__init__' in text: raise AssertionError('compiled')\n"
        "    return builtins.exec(text, *names)\n"
        "dataclasses.exec = emulab.dataclass.exec = refuse\n"
        "@emulab.dataclass.dataclass(frozen=True, slots=True)\n"
        "class Point:\n    x: int = 0\n"
        "try:\n    Point()\nexcept AssertionError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "compiled\n", done.stderr


@ours.dataclass(frozen=True, slots=True)
class Sent:
    """One that pickle finds by its name."""

    name: str
    number: int = 0


def test_frozen_ones_with_slots_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Sent("x", 3))) == Sent("x", 3)
