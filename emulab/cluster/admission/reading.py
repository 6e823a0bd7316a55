"""The objects that a text of manifests holds, one after the other, as data that nobody has checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from emulab.kinds.registry import KINDS
from emulab.model.checks import show
from emulab.model.keys import group_kind
from emulab.model.sources import Source
from emulab.model.validation import STRICT
from emulab.model.yaml_nodes import Document, MalformedYaml, documents

Origin = tuple[int, int]
"""Where an object comes from: the number of its source, and its own number in that."""


def read_again(
    number: int, source: Source, validation: str, *, as_written: bool = False
) -> Iterator[tuple[Origin, Document, Any]]:
    """The objects of a source that has been read before, as far as it can be read, each with its origin."""
    count = 0
    with suppress(MalformedYaml):  # which is among the problems
        for document in documents(source.text, last_wins=validation != STRICT, as_written=as_written):
            for data, _ in objects_of(document):
                yield (number, count), document, data
                count += 1


def objects_of(
    document: Document, meet_list: Callable[[dict[str, Any]], object] = lambda _: None
) -> Iterator[tuple[Any, int]]:
    """The objects of a document, with the line on which each begins; a List, which is met, stands for its items."""
    if document.data is None:
        return
    waiting = [(document.data, document.line)]
    while waiting:
        data, line = waiting.pop()
        lines = document.lines.get(id(data), {})
        if isinstance(data, dict):
            line = next(iter(lines.values()), line)
        listed = _listed(data)
        if listed is None:
            yield data, line
            continue
        meet_list(data)
        items = data.get("items", [])
        if not isinstance(items, list):
            raise MalformedYaml(lines["items"], f"List items: {show(items)} is not a list")
        for item in items if listed else ():
            if isinstance(item, dict):  # those of a list of one kind needn't say what they are
                item.setdefault("apiVersion", data["apiVersion"])
                item.setdefault("kind", listed)
        item_lines = document.lines.get(id(items), {})
        waiting += reversed([(item, item_lines.get(i, line)) for i, item in enumerate(items)])


def _listed(data: Any) -> str | None:
    """The kind that a list is of: `Pod` for a PodList, as an API server answers, "" for a List of any; else None."""
    if not isinstance(data, dict) or type(kind := data.get("kind")) is not str or not kind.endswith("List"):
        return None
    version, one = data.get("apiVersion"), kind.removesuffix("List")
    if not one:
        return "" if version == "v1" else None
    return one if type(version) is str and KINDS.get(group_kind(version, one)) else None
