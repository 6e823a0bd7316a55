"""What `create` makes of a few words: a module a kind, named as the kind is, whose `manifest` is the object.

This one has what they share: the words and values of a command line.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from emulab.cli.usage import UsageError
from emulab.errors import UserError


def words(options: argparse.Namespace, number: int, *taken: str) -> list[str]:
    """The words behind the kind. Raises UsageError where there are others, or options that it doesn't take."""
    given: list[str] = options.what
    kind, *found = given
    if len(found) != number:
        raise UsageError(f"exactly one NAME is required, got {len(found) - number + 1}")
    only(options, f"create {kind}", taken)
    return found


_OPTIONS = ("image", "source", "replicas", "port", "command", "from_literal", "from_file", "cert", "key")
"""What the kinds' modules know, of which none knows all."""
_NAMED_OTHERWISE = {"command": "", "source": "from"}


def only(options: argparse.Namespace, what: str, taken: tuple[str, ...]) -> None:
    """Raises UsageError where there are other options than these."""
    for given in _OPTIONS:
        if given not in taken and getattr(options, given) not in (None, []):
            option = _NAMED_OTHERWISE.get(given, given.replace("_", "-"))
            raise UsageError(f"{what} takes no --{option}")


def values(options: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """What --from-literal and --from-file say, by key. Raises UserError."""
    for literal in options.from_literal:
        key, equals, value = literal.partition("=")
        if not (key and equals):
            raise UsageError(f"invalid literal source {literal}, expected key=value")
        yield key, value.encode()
    for given in options.from_file:
        key, equals, path = given.rpartition("=")
        file = Path(path)
        if file.is_dir() and not equals:
            yield from ((inner.name, read(str(inner))) for inner in sorted(file.iterdir()) if inner.is_file())
        else:
            yield key or file.name, read(path)


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
