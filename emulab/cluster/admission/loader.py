"""From texts of manifests to checked objects, or to every problem in them at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from emulab.cluster.admission.conflicts import conflicts
from emulab.cluster.admission.crosscheck import notes, warnings, what_labs_have
from emulab.cluster.admission.dumps import Dumps
from emulab.cluster.admission.generatednames import GeneratedNames, asked_base
from emulab.cluster.admission.ingresswebhook import denied_ingresses
from emulab.cluster.admission.makings import Makings, without_numbers
from emulab.cluster.admission.reading import Origin, objects_of, read_again
from emulab.cluster.admission.spelling import Spelling
from emulab.cluster.admission.unfollowed import Unfollowed
from emulab.dataclass import dataclass, field
from emulab.errors import ManifestError
from emulab.kinds.checks import SERVER_METADATA
from emulab.kinds.custom import define
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CLUSTER, CUSTOM_RESOURCE_DEFINITION, INGRESS, KINDS
from emulab.kinds.schema import check_object, unknown_field
from emulab.model.checks import Problems, Unknown, wrong
from emulab.model.collection import Objects
from emulab.model.findings import Finding, one_line
from emulab.model.keys import group_kind
from emulab.model.objects import Object, Position
from emulab.model.paths import FieldPath
from emulab.model.sharing import Shared
from emulab.model.sources import KUSTOMIZE, Source
from emulab.model.suggestions import suggest
from emulab.model.validation import IGNORE, STRICT, WARN, without
from emulab.model.yaml_nodes import Document, MalformedYaml, documents

_LIST_FIELDS = ("apiVersion", "items", "kind", "metadata")
NOTHING_KNOWN = Objects()
MAX_PROBLEMS = 20
"""Problems that one error lists; how many more there are is said in one line."""


@dataclass(frozen=True)
class Manifest:
    """What sources hold: objects that passed every check, in their order."""

    objects: tuple[Object, ...]
    without_effect: tuple[str, ...] = ()
    """Lines about what was given and isn't in them, or is and isn't followed."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks odd in them, where there is nothing else beside them."""
        return (*self.without_effect, *warnings(self.objects))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is no warning, and worth a line."""
        return tuple(notes(self.objects))


def load(
    sources: Sequence[Source],
    cluster: Cluster | None = None,
    validation: str = STRICT,
    names: bool = True,
    namespace: str = "",
    known: Objects = NOTHING_KNOWN,
) -> Manifest:
    """The objects of all sources.

    `cluster` is that of the running lab: addresses are checked against it when the sources have no Cluster. `names`:
    whether one is made up for who has a `generateName` alone. `namespace`: where objects are that don't say it; those
    that say another one are refused. `known`: what is there, and may be edited.
    Raises ManifestError with every problem found, at most MAX_PROBLEMS of them written out.
    """
    batch = _Batch(validation, GeneratedNames() if names else None, namespace, known, Spelling(validation))
    for number, source in enumerate(sources):
        batch.read(number, source)
    clusters = [o for o in batch.objects if o.type == CLUSTER]
    world = Cluster.of(clusters[0]) if clusters else cluster or Cluster()
    batch.without_effect += batch.dumps.adapt(batch.objects, world)
    batch.leave_out()
    found = [] if batch.world_unknown else conflicts(batch.objects, cluster)
    judged = cluster is None and validation != IGNORE and not batch.world_unknown
    # Of a lab, who has its objects asks; and what is to go needn't be such as may come.
    if judged and any(o.type == INGRESS for o in batch.objects):
        found += denied_ingresses(batch.objects, Objects(what_labs_have(batch.objects)), world)
    if found:
        batch.locate(sources, found)
    if batch.problems:
        raise ManifestError(_capped([text for _, _, text in sorted(batch.problems, key=lambda p: p[:2])]))
    return Manifest(tuple(batch.objects), (*batch.without_effect, *batch.ignored.lines()))


@dataclass(slots=True)
class _Batch:
    """What has been read so far. Lines are known of one document at a time: they need more room than its data."""

    validation: str
    names: GeneratedNames | None
    namespace: str
    known: Objects
    spelling: Spelling
    objects: list[Object] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)
    ignored: Unfollowed = field(default_factory=Unfollowed)
    dumps: Dumps = field(default_factory=Dumps)
    makings: Makings = field(default_factory=Makings)
    origins: list[Origin] = field(default_factory=list)  # of each object
    problems: list[tuple[int, int, str]] = field(default_factory=list)  # source, line, text
    shared: Shared = field(default_factory=Shared)
    world_unknown: bool = False
    """Whether a Cluster is wrong: beside the default one's families and networks, what is right would seem wrong."""

    def read(self, number: int, source: Source) -> None:
        count = 0
        try:
            for document in documents(source.text, last_wins=self.validation != STRICT):
                first = len(self.objects)
                if self.validation == WARN:
                    self.without_effect += [f"{source.name}:{line}: {why}" for line, why in document.repeated]
                for data, line in objects_of(
                    document, partial(self.meet_list, number, source.name, document)
                ):
                    self.check((number, count), source, document, data, line)
                    count += 1
                for o in self.objects[first:]:  # not before: lines are found by identity
                    self.shared.parts(o.raw)
        except MalformedYaml as error:
            why = f"{error.why}{_template_hint(source.text, error.line)}"
            self.problems.append((number, error.line, f"{source.name}:{error.line}: {why}"))
            return
        if not count and not any(problem[0] == number for problem in self.problems):
            self.problems.append((number, 1, f"{source.name}:1: there is no object in it"))

    def meet_list(self, number: int, name: str, document: Document, data: dict[str, Any]) -> None:
        """Sees to the fields of a list itself, which nobody is asked to check."""
        for field_name in data if self.validation != IGNORE else ():
            if field_name in _LIST_FIELDS:
                continue
            why = Unknown(suggest(field_name, _LIST_FIELDS))
            at = _place(name, document, data, document.line, (field_name,))
            if self.validation == WARN:
                self.without_effect.append(_line(at, data, (field_name,), why))
            else:
                self.problems.append((number, at.line, _line(at, data, (field_name,), why)))

    def check(self, origin: Origin, source: Source, document: Document, data: Any, line: int) -> None:
        place = partial(_place, source.name, document, data, line)
        if type(data) is dict and (kind := KINDS.serving(data.get("apiVersion"), data.get("kind"))):
            data = kind.definition.stored(data)
        data = self.edited(data)
        checked = named = self.names.given(data) if self.names is not None else data
        if refused := _refused(named):
            self.without_effect.append(one_line(place(()), named, (), refused))
            return
        problems = _of_kustomize(data) or (_without_name(data) if self.names is None else ())
        problems = problems or check_object(named) or _elsewhere(named, self.namespace)
        if problems and self.validation != STRICT:
            unknown = [p for p in problems if isinstance(p[1], Unknown)]
            if self.validation == WARN:
                self.without_effect += [_line(place(path), data, path, why) for path, why in unknown]
            checked = without(named, [path for path, _ in unknown])
            problems = check_object(checked) or _elsewhere(checked, self.namespace)
        for path, why in problems:
            at, told = place(path), self.spelling.told(origin, source, checked, path, why)
            self.problems.append((origin[0], at.line, _line(at, data, path, told)))
        if problems:
            self.world_unknown = self.world_unknown or _is_cluster(data)
            return
        self.ignored.meet(checked, place)
        self.dumps.meet(len(self.objects), checked, place)
        self.makings.meet(len(self.objects), checked, place)
        if why := _nowhere(checked):
            path = ("metadata", "namespace")
            self.without_effect.append(one_line(place(path), checked, path, why))
        if group_kind(checked["apiVersion"], checked["kind"]) == CUSTOM_RESOURCE_DEFINITION:
            define(checked)
        self.objects.append(
            Object(_as_created(checked, self.namespace or "default"), Position(source.name, line))
        )
        self.origins.append(origin)

    def edited(self, data: Any) -> Any:
        """An object as an API server looks at it: of one that is there already, without what can't be any more."""
        metadata = data.get("metadata") if type(data) is dict else None
        if type(metadata) is not dict or type(name := metadata.get("name")) is not str:
            return data
        kind = KINDS.get(group_kind(str(data.get("apiVersion")), str(data.get("kind"))))
        if kind is None:
            return data
        namespace = str(metadata.get("namespace") or self.namespace or "default") if kind.namespaced else ""
        old = self.known.get(kind.key(namespace, name))
        return data if old is None else kind.definition.updated(data, old)

    def leave_out(self) -> None:
        """Takes out what another one that is given will make."""
        if numbers := self.makings.left_out():
            self.without_effect += self.makings.lines()
            self.objects = without_numbers(numbers, self.objects)
            self.origins = without_numbers(numbers, self.origins)

    def locate(self, sources: Sequence[Source], found: Sequence[Finding]) -> None:
        """Makes problems of findings; the lines they stand on are found by reading their sources again."""
        origins = {id(o): origin for o, origin in zip(self.objects, self.origins, strict=True)}
        wanted: dict[Origin, list[Finding]] = {}
        for finding in found:
            wanted.setdefault(origins[id(finding.object)], []).append(finding)
        lines: dict[int, int] = {}
        for number in dict.fromkeys(number for number, _ in wanted):
            for origin, document, data in read_again(number, sources[number], self.validation):
                for finding in wanted.get(origin, ()):
                    lines[id(finding)] = document.line_of(data, finding.path, finding.object.position.line)
        for finding in found:
            at = Position(finding.object.position.file, lines[id(finding)])
            self.problems.append((origins[id(finding.object)][0], at.line, finding.line(at)))


def _is_cluster(data: Any) -> bool:
    return type(data) is dict and group_kind(str(data.get("apiVersion")), str(data.get("kind"))) == CLUSTER


def _place(name: str, document: Document, data: Any, line: int, path: FieldPath) -> Position:
    """Where a path of an object stands that begins on that line of the document."""
    return Position(name, document.line_of(data, path, line))


def _line(at: Position, data: Any, path: FieldPath, why: str) -> str:
    """The line for a problem; what there is no field for names the field itself."""
    if isinstance(why, Unknown):
        return one_line(at, data, (), unknown_field(path, why))
    return one_line(at, data, path, why)


def _template_hint(text: str, line: int) -> str:
    """What to do about text that is no YAML on a line since it is to become some: of a Helm chart, as a rule."""
    if not any("{{" in near for near in text.splitlines()[max(0, line - 2) : line]):
        return ""
    return "; {{ … }} is of a template: give what `helm template` makes of it"


def _of_kustomize(data: Any) -> Problems:
    """What is wrong with a kustomization among objects: a cluster has none, it says what to make of others."""
    version = data.get("apiVersion") if type(data) is dict else None
    if type(version) is not str or version.partition("/")[0] != KUSTOMIZE:
        return ()
    return wrong("this is a kustomization; pipe in what it makes: kubectl kustomize FOLDER | emulab …")


def _without_name(data: Any) -> Problems:
    """What kubectl says of an object that it shall apply, and that has no name yet (`ApplyOptions.applyOneObject`)."""
    base = asked_base(data)
    return wrong(f"from {base}: cannot use generate name with apply; `up` makes a name") if base else ()


def _refused(data: Any) -> str:
    """What becomes of an object of a kind that no user gives, such as a Node of another cluster's dump."""
    if type(data) is not dict or type(data.get("metadata")) is not dict:
        return ""
    kind = KINDS.get(group_kind(str(data.get("apiVersion")), str(data.get("kind"))))
    if kind is None or kind.api_version != data.get("apiVersion"):
        return ""
    standing = kind.definition.standing
    return f"is left out: {standing.why}" if standing.name == "refused" else ""


def _nowhere(data: dict[str, Any]) -> str:
    """What becomes of the namespace of an object whose kind is in none."""
    kind = _kind_of(data)
    given = data["metadata"].get("namespace") and not kind.namespaced
    return f"is left out: a {kind.kind} is in no namespace" if given else ""


def _elsewhere(data: dict[str, Any], asked: str) -> Problems:
    """What kubectl says of an object that is in another Namespace than the one asked for (`RequireNamespace`)."""
    given = data["metadata"].get("namespace")
    if not asked or not given or given == asked or not _kind_of(data).namespaced:
        return ()
    return wrong(
        f'the namespace from the provided object "{given}" does not match the namespace "{asked}". You must pass '
        f"'--namespace={given}' to perform this operation.",
        *("metadata", "namespace"),
    )


def _kind_of(data: dict[str, Any]) -> Kind:
    return KINDS[group_kind(data["apiVersion"], data["kind"])]


def _as_created(data: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The object as an API server would begin with it: in a namespace, and without what only the server says.

    Manifests saved with `kubectl get -o yaml` carry the uid, versions and status of another cluster. What is in no
    namespace loses one that it is said to be in (`rest.EnsureObjectNamespaceMatchesRequestNamespace`).
    """
    # a copy, since aliases may share the metadata with objects that have no namespace
    metadata = {name: value for name, value in data["metadata"].items() if name not in SERVER_METADATA}
    if not _kind_of(data).namespaced:
        metadata.pop("namespace", None)
    elif not metadata.get("namespace"):
        metadata["namespace"] = namespace
    created = {**data, "metadata": metadata}
    created.pop("status", None)
    return created


def _capped(problems: list[str]) -> list[str]:
    rest = len(problems) - MAX_PROBLEMS
    return problems if rest <= 0 else [*problems[:MAX_PROBLEMS], f"… and {rest} more"]
