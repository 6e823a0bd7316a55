"""What the operations of a lab take: the names of their arguments and what each may be.

A request is somebody else's text. What isn't as described here is refused in one line before anything is done.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.model.addresses import is_address

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")

Arguments = dict[str, Any]
"""An operation's own: it may take out what is large once it has used it."""

_LARGEST = (1 << 31) - 1  # of a C int
_LONGEST = 1000  # letters of a name; those of Kubernetes have 253, and a target a few more
_WORD = re.compile(r"[^\s;{}\"'#$]{1,300}")


@dataclass(frozen=True, slots=True)
class ArgumentKind:
    """What an argument may be, in words and as a test. An optional one may be missing or null."""

    words: str
    allows: Callable[[Any], bool]
    optional: bool = False


def optional(kind: ArgumentKind) -> ArgumentKind:
    return ArgumentKind(kind.words, kind.allows, True)


def listed(kind: ArgumentKind) -> ArgumentKind:
    """Any number of these."""
    return ArgumentKind(f"a list of {kind.words}", lambda v: isinstance(v, list) and all(map(kind.allows, v)))


def tuples(*kinds: ArgumentKind) -> ArgumentKind:
    """Any number of lists with one of each kind."""

    def allows(value: Any) -> bool:
        return isinstance(value, list) and all(
            isinstance(v, list)
            and len(v) == len(kinds)
            and all(k.allows(x) for k, x in zip(kinds, v, strict=True))
            for v in value
        )

    return ArgumentKind(f"a list of [{', '.join(k.words for k in kinds)}]", allows)


def _is_text(value: Any) -> bool:
    """A string that can be written: JSON can tell of half a character (a surrogate), UTF-8 can't."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _LARGEST  # what is no number (NaN) is neither


TEXT = ArgumentKind("text", _is_text)
STRING = ArgumentKind(
    "a string", lambda v: isinstance(v, str)
)  # any at all, bytes that are no UTF-8 included (PEP 383)
WORDS = ArgumentKind(
    "a list of strings", lambda v: isinstance(v, list) and bool(v) and all(map(STRING.allows, v))
)
ENVIRONMENT = ArgumentKind(
    "strings by name", lambda v: isinstance(v, dict) and all(map(STRING.allows, v.values()))
)
MAPPING = ArgumentKind("a mapping", lambda v: isinstance(v, dict))
NAME = ArgumentKind("a name", lambda v: _is_text(v) and len(v) <= _LONGEST and (not v or v.isprintable()))
WORD = ArgumentKind("a word", lambda v: _is_text(v) and bool(_WORD.fullmatch(v)))
COUNT = ArgumentKind("a whole number that isn't negative", lambda v: type(v) is int and 0 <= v <= _LARGEST)
PORT = ArgumentKind("a port", lambda v: type(v) is int and 0 <= v <= 0xFFFF)
SECONDS = ArgumentKind("a number of seconds", _is_number)
FLAG = ArgumentKind("true or false", lambda v: isinstance(v, bool))
PROTOCOL = ArgumentKind("tcp or udp", lambda v: v in ("tcp", "udp"))
ADDRESS = ArgumentKind("an address", lambda v: _is_text(v) and is_address(v))
FLOWS = tuples(NAME, PROTOCOL, ADDRESS, PORT, ADDRESS, PORT)
SOURCES = tuples(TEXT, TEXT)
KEYS = tuples(NAME, NAME, NAME, NAME)
IDENTITIES = tuples(NAME, NAME, NAME, NAME, NAME)  # keys, each with a uid
PLACED = {"target": NAME, "namespace": optional(NAME)}
SOCKET = {"family": COUNT, "type": COUNT, "protocol": optional(COUNT)}
CHAINS = tuples(NAME, WORD, WORD, WORD)
OWNERS = tuples(NAME, NAME, COUNT)


def check(arguments: Mapping[str, Any], **kinds: ArgumentKind) -> None:
    """Raises UserError unless a request has these arguments and no others."""
    op = arguments.get("op", "")
    for name, kind in kinds.items():
        value = arguments.get(name)
        if not (kind.optional and value is None) and not kind.allows(value):
            raise UserError(f"the operation {op} takes as {name} {kind.words}")
    unknown = next((name for name in arguments if name != "op" and name not in kinds), None)
    if unknown is not None:
        raise UserError(f"the operation {op} takes no {ascii(unknown)[:40]}; is the lab of another version?")


Method = Callable[Concatenate[S, dict[str, Any], P], Coroutine[Any, Any, T]]


def takes(**kinds: ArgumentKind) -> Callable[[Method[S, P, T]], Method[S, P, T]]:
    """Checks what a method is asked for before it runs."""

    def decorate(method: Method[S, P, T]) -> Method[S, P, T]:
        async def checked(self: S, arguments: dict[str, Any], /, *rest: P.args, **more: P.kwargs) -> T:
            check(arguments, **kinds)
            return await method(self, arguments, *rest, **more)

        functools.update_wrapper(checked, method)
        return checked

    return decorate
