"""`docs/fields.md`, from the tables beside the kinds (`emulab.kinds.following`)."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.kinds.following import METADATA, FollowedFields, Following
from emulab.kinds.kind import Kind
from emulab.kinds.registry import JOB, KINDS, POD

_HEAD = """\
# What is followed of Kubernetes' fields

Made by `scripts/document` from the tables beside the kinds; a test holds it equal.

A field is *followed*; or *kept*, which has no effect on what packets and programs do, here as in a cluster; or *not
followed*, and then `up`, `apply` and `plan` warn of it, once for each field of a kind, with the first place. What is
said of a field goes for all that is in it. A field that Kubernetes 1.35 doesn't have is refused (`--validate`).

Of `metadata`, {followed} are followed; all else is the API server's to write, and left out. So is `status`.
"""
_WHOLE = ("apiVersion", "kind", "status")
_TEMPLATE, _POD_SPEC = "spec.template.spec.", "spec."
_JOB_TEMPLATE = "spec.jobTemplate."


def fields() -> str:
    parts = [_HEAD.format(followed=_names([p for p, what in METADATA.items() if what.word == "followed"]))]
    theirs = [kind for kind in KINDS if kind.is_kubernetes or kind.definition.fields]
    parts += ["\n".join(_section(kind)) for kind in theirs if kind.definition.fields]
    if kept := [kind for kind in theirs if not kind.definition.fields]:
        parts.append("\n".join(_without_fields(kept)))
    return "\n".join(parts)


def _section(kind: Kind) -> Iterator[str]:
    yield f"## {kind.kind} ({kind.api_version})\n"
    rows = _own(kind)
    for word, title in (("followed", "Followed"), ("kept", "Kept")):
        names = [path for path, what in rows.items() if what.word == word]
        if names:
            yield f"{title}: {_names(names)}.\n"
    if any(path.startswith(_TEMPLATE) for path in kind.definition.fields):
        yield "`spec.template.spec` is as a Pod's `spec`.\n"
    if any(path.startswith(_JOB_TEMPLATE) for path in kind.definition.fields):
        yield "`spec.jobTemplate` is as a Job.\n"
    if kind == POD:
        yield "`spec.initContainers` are as `spec.containers`.\n"
    ignored = {path: what.instead for path, what in rows.items() if what.word == "ignored"}
    if ignored:
        yield "| not followed | instead |\n| --- | --- |"
        yield from (f"| `{path}` | {instead} |" for path, instead in sorted(ignored.items()))
        yield ""


def _own(kind: Kind) -> FollowedFields:
    """The rows of a kind without those that are said elsewhere: of metadata and status, of a Pod, of its containers."""
    rows = kind.definition.fields
    return {path: what for path, what in rows.items() if _elsewhere(kind, path) != what}


def _elsewhere(kind: Kind, path: str) -> Following | None:
    """What is said of a field where another place says it."""
    pods = POD.definition.fields
    if path in _WHOLE or path.startswith(("metadata.", "spec.template.metadata.")):
        return kind.definition.fields[path]
    if path.startswith(_JOB_TEMPLATE):
        return JOB.definition.fields.get(path.removeprefix(_JOB_TEMPLATE))
    if path.startswith(_TEMPLATE):
        return pods.get(_POD_SPEC + path.removeprefix(_TEMPLATE))
    init, plain = "spec.initContainers.", "spec.containers."
    return pods.get(plain + path.removeprefix(init)) if path.startswith(init) else None


def _without_fields(kinds: list[Kind]) -> Iterator[str]:
    yield "## Kinds that nothing follows\n"
    yield "| kind | what becomes of it |\n| --- | --- |"
    yield from (f"| {kind.kind} ({kind.api_version}) | {kind.definition.standing.why} |" for kind in kinds)
    yield ""


def _names(paths: list[str]) -> str:
    return ", ".join(f"`{path}`" for path in sorted(paths))
