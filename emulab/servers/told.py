"""A configuration as the file that a server's process gets, and the plain data that it reads there.

The first line is the configuration as JSON. Its class may name mappings, by their paths, that are `late`:

    class DnsConfig(Configuration):
        LATE = frozenset({"kubernetes.services"})

These are empty there, and follow: a line with path and number, `kubernetes.services 10000`, and two for each entry, its
key and its value as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from emulab.servers.configuration import BadConfiguration, Configuration, Plain, json_bytes
from emulab.servers.late import Unread
from emulab.servers.texts import text_writer

_SOME = 512  # lines at a time


def told_bytes(config: Configuration) -> bytes:
    """The file of a configuration. Raises BadConfiguration."""
    pieces: list[bytes] = []
    paths: frozenset[str] = getattr(type(config), "LATE", frozenset())
    whole = config
    for path in sorted(paths):
        steps = path.split(".")
        mapping = _at(whole, steps)
        if mapping:
            pieces.append(f"\n{path} {len(mapping)}".encode())
            pieces += _pieces(_lines(mapping, path))
            config = _without(config, steps)
    return b"".join([json_bytes(config), *pieces])


def read_told(content: bytes) -> Plain:
    """The plain data of a file; a late mapping is `Unread` there."""
    head, _, rest = content.decode().partition("\n")
    plain, lines, at = json.loads(head), rest.split("\n") if rest else [], 0
    while at < len(lines):
        path, number = lines[at].split(" ")
        end = at + 1 + 2 * int(number)
        inner = plain
        *steps, last = path.split(".")
        for step in steps:
            inner = inner[step]
        inner[last] = Unread(zip(lines[at + 1 : end : 2], lines[at + 2 : end : 2], strict=True))
        at = end
    return plain


def _at(config: Any, steps: list[str]) -> Mapping[str, Any] | None:
    """The mapping at a path; None where something on the way isn't there."""
    for step in steps:
        config = getattr(config, step) if config is not None else None
    mapping: Mapping[str, Any] | None = config
    return mapping


def _without(config: Any, steps: list[str]) -> Any:
    """A configuration whose mapping at a path is empty."""
    first, *rest = steps
    return replace(config, **{first: _without(getattr(config, first), rest) if rest else {}})


def _pieces(lines: Iterator[str]) -> Iterator[bytes]:
    """All lines, many at a time: to take fresh memory from the kernel for each costs as much as to write them."""
    while some := list(islice(lines, _SOME)):
        yield "\n".join(["", *some]).encode()


def _lines(mapping: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in mapping.items():
        if "\n" in key:
            raise BadConfiguration(f"config.{path}: no key has several lines, as {json.dumps(key)}")
        yield key
        kind: Any = type(value)
        yield text_writer(kind)(value)
