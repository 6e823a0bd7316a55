"""From texts of manifests to checked objects, or to every problem in them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from emulab.cluster.admission.conflicts import conflicts
from emulab.cluster.admission.crosscheck import warnings
from emulab.dataclass import dataclass, field
from emulab.errors import ManifestError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import KINDS
from emulab.kinds.schema import check_object
from emulab.model.checks import show
from emulab.model.findings import Finding, one_line
from emulab.model.keys import group_kind
from emulab.model.objects import Object, Position
from emulab.model.sharing import Shared
from emulab.model.sources import Source
from emulab.model.yaml_nodes import Document, MalformedYaml, documents

SERVER_METADATA = frozenset(
    {
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "ownerReferences",
        "selfLink",
    }
)
"""Metadata that the API server (or, of owners, a controller) writes; from a user it means nothing here."""

MAX_PROBLEMS = 20
"""Problems that one error lists; how many more there are is said in one line."""


@dataclass(frozen=True)
class Manifest:
    """What sources hold: objects that passed every check, in their order."""

    objects: tuple[Object, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks odd in them, where there is nothing else beside them."""
        return tuple(warnings(self.objects))


def load(sources: Sequence[Source], cluster: Cluster | None = None) -> Manifest:
    """The objects of all sources.

    `cluster` is that of the running lab: addresses are checked against it when the sources have no Cluster.
    Raises ManifestError with every problem found, at most MAX_PROBLEMS of them written out.
    """
    batch = _Batch()
    for number, source in enumerate(sources):
        batch.read(number, source)
    if found := conflicts(batch.objects, cluster):
        batch.locate(sources, found)
    if batch.problems:
        raise ManifestError(_capped([text for _, _, text in sorted(batch.problems, key=lambda p: p[:2])]))
    return Manifest(tuple(batch.objects))


@dataclass(slots=True)
class _Batch:
    """What has been read so far. Lines are known of one document at a time: they need more room than its data."""

    objects: list[Object] = field(default_factory=list)
    origins: list[tuple[int, int]] = field(default_factory=list)  # source and number in it, of each object
    problems: list[tuple[int, int, str]] = field(default_factory=list)  # source, line, text
    shared: Shared = field(default_factory=Shared)

    def read(self, number: int, source: Source) -> None:
        count = 0
        try:
            for document in documents(source.text):
                first = len(self.objects)
                for data, line in _objects(document):
                    self.check((number, count), source.name, document, data, line)
                    count += 1
                for o in self.objects[first:]:  # not before: lines are found by identity
                    self.shared.parts(o.raw)
        except MalformedYaml as error:
            self.problems.append((number, error.line, f"{source.name}:{error.line}: {error.why}"))
            return
        if not count:
            self.problems.append((number, 1, f"{source.name}:1: there is no object in it"))

    def check(self, origin: tuple[int, int], name: str, document: Document, data: Any, line: int) -> None:
        problems = check_object(data)
        if problems:
            for path, message in problems:
                at = Position(name, document.line_of(data, path, line))
                self.problems.append((origin[0], at.line, one_line(at, data, path, message)))
            return
        self.objects.append(Object(_as_created(data), Position(name, line)))
        self.origins.append(origin)

    def locate(self, sources: Sequence[Source], found: Sequence[Finding]) -> None:
        """Makes problems of findings; the lines they stand on are found by reading their sources again."""
        origins = {id(o): origin for o, origin in zip(self.objects, self.origins, strict=True)}
        wanted: dict[tuple[int, int], list[Finding]] = {}
        for finding in found:
            wanted.setdefault(origins[id(finding.object)], []).append(finding)
        lines: dict[int, int] = {}
        for number in dict.fromkeys(number for number, _ in wanted):
            for origin, document, data in _again(number, sources[number]):
                for finding in wanted.get(origin, ()):
                    lines[id(finding)] = document.line_of(data, finding.path, finding.object.position.line)
        for finding in found:
            at = Position(finding.object.position.file, lines[id(finding)])
            self.problems.append((origins[id(finding.object)][0], at.line, finding.line(at)))


def _again(number: int, source: Source) -> Iterator[tuple[tuple[int, int], Document, Any]]:
    """The objects of a source that has been read before, as far as it can be read, each with its origin."""
    count = 0
    with suppress(MalformedYaml):  # which is among the problems
        for document in documents(source.text):
            for data, _ in _objects(document):
                yield (number, count), document, data
                count += 1


def _objects(document: Document) -> Iterator[tuple[Any, int]]:
    """The objects of a document, with the line on which each begins; a List stands for its items."""
    if document.data is None:
        return
    waiting = [(document.data, document.line)]
    while waiting:
        data, line = waiting.pop()
        lines = document.lines.get(id(data), {})
        if isinstance(data, dict):
            line = next(iter(lines.values()), line)
        if not (isinstance(data, dict) and data.get("kind") == "List" and data.get("apiVersion") == "v1"):
            yield data, line
            continue
        items = data.get("items", [])
        if not isinstance(items, list):
            raise MalformedYaml(lines["items"], f"List items: {show(items)} is not a list")
        item_lines = document.lines.get(id(items), {})
        waiting += reversed([(item, item_lines.get(i, line)) for i, item in enumerate(items)])


def _as_created(data: dict[str, Any]) -> dict[str, Any]:
    """The object as an API server would begin with it: in a namespace, and without what only the server says.

    Manifests saved with `kubectl get -o yaml` carry the uid, versions and status of another cluster.
    """
    # a copy, since aliases may share the metadata with objects that have no namespace
    metadata = {name: value for name, value in data["metadata"].items() if name not in SERVER_METADATA}
    kind = KINDS[group_kind(data["apiVersion"], data["kind"])]
    if kind.namespaced and not metadata.get("namespace"):
        metadata["namespace"] = "default"
    created = {**data, "metadata": metadata}
    created.pop("status", None)
    return created


def _capped(problems: list[str]) -> list[str]:
    rest = len(problems) - MAX_PROBLEMS
    return problems if rest <= 0 else [*problems[:MAX_PROBLEMS], f"… and {rest} more"]
