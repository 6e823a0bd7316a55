"""What of a kind's fields is followed: a table beside each kind, in its module.

A table has dotted paths without the indices of lists, each with what becomes of the field there and of all that is in
it. Where it says something of a field in a mapping, it says something of every one, so a field that Kubernetes adds is
found to lack its word (tests/unit/kinds/test_following.py). `docs/fields.md` is made of the tables by
`scripts/document`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emulab.model.paths import FieldPath


class Following(NamedTuple):
    """What becomes of a field. `instead` says what happens, where it isn't followed.

    `default`: the value that an API server fills in, which every dump has and nobody has asked for.
    """

    word: str
    instead: str = ""
    default: str = ""


FOLLOWED = Following("followed")
KEPT = Following("kept")
"""It has no effect on what packets or programs do, here as in a cluster."""

FollowedFields = dict[str, Following]


def table(
    followed: str = "",
    kept: str = "",
    ignored: Mapping[str, str | Following] | None = None,
    **within: FollowedFields,
) -> FollowedFields:
    """A table of these fields, separated by spaces; `ignored` are those that aren't followed.

    `within`: the tables of what is in fields, by the field; `__` stands for a dot.
    """
    found = dict.fromkeys(followed.split(), FOLLOWED) | dict.fromkeys(kept.split(), KEPT)
    for path, what in (ignored or {}).items():
        found[path] = what if isinstance(what, Following) else Following("ignored", what)
    for outer, inner in within.items():
        found |= {f"{outer.replace('__', '.')}.{path}": what for path, what in inner.items()}
    return found


def ignored_unless(default: str, instead: str) -> Following:
    """What isn't followed where it says something else than this, which an API server fills in."""
    return Following("ignored", instead, default)


NOTHING: FollowedFields = {}
"""The table of a kind that nothing follows, and of emulab's own: those say themselves what they mean."""

METADATA = table(
    followed="annotations finalizers labels name namespace",
    # What the API server writes, and a name that is made up where there is none.
    kept="creationTimestamp deletionGracePeriodSeconds deletionTimestamp generateName generation managedFields"
    " ownerReferences resourceVersion selfLink uid",
)


def kind_table(spec: FollowedFields | None = None) -> FollowedFields:
    """The table of a whole kind, of which more may stand beside metadata, spec and status."""
    whole = table("apiVersion kind", kept="status", metadata=METADATA)
    return whole if spec is None else whole | table(spec=spec)


class Ignored(NamedTuple):
    """What isn't followed in an object: where it stands, which line of the table says so, and what happens instead."""

    path: FieldPath
    pattern: str
    instead: str


class Watch:
    """Finds what isn't followed in objects of one kind."""

    def __init__(self, rows: FollowedFields) -> None:
        self._rows = {path: what for path, what in rows.items() if what.word == "ignored"}
        self._tree: dict[str, Any] = {}
        for path in self._rows:
            here = self._tree
            *outer, last = path.split(".")
            for step in outer:
                here = here.setdefault(step, {})
            here[last] = path

    def found(self, value: Any) -> list[Ignored]:
        """What says nothing (false, "", empty) isn't missed."""
        met = ((path, self._rows[row], row) for path, row in _walk(value, self._tree))
        return [
            Ignored(path, row, what.instead)
            for path, what, row in met
            if not what.default or _at(value, path) != what.default
        ]


def _at(value: Any, path: FieldPath) -> Any:
    for step in path:
        value = value[step]
    return value


def _walk(value: Any, tree: Mapping[str, Any]) -> Sequence[tuple[FieldPath, str]]:
    """What of the tree's leaves is there. It costs a look at each field on the way, as nearly always nothing is."""
    found: Sequence[tuple[FieldPath, str]] = ()
    if type(value) is list:
        for index, item in enumerate(value):
            if below := _walk(item, tree):
                found = [*found, *(((index, *path), row) for path, row in below)]
        return found
    for step in value:
        inner = tree.get(step)
        if inner is None or not (there := value[step]):
            continue
        if type(inner) is str:
            found = [*found, ((step,), inner)]
        elif below := _walk(there, inner):
            found = [*found, *(((step, *path), row) for path, row in below)]
    return found
