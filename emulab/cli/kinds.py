"""The words by which a command line means kinds and objects."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from emulab.cli.usage import UsageError
from emulab.errors import EmulabError
from emulab.kinds.kind import ALL, Kind
from emulab.kinds.registry import KINDS
from emulab.lab.client.client import connect
from emulab.model.suggestions import suggest


def find(name: str, lab: str = "") -> Kind:
    """The kind of that name, in whichever form and case. Raises UsageError.

    `lab`: the one that is asked where the registry has none: it may have objects of other API groups.
    """
    kind = KINDS.named(name)
    if kind is None and lab:
        _learn(lab)
        kind = KINDS.named(name)
    if kind is None:
        followed = [k.plural for k in KINDS if k.definition.standing.name == "followed"]
        meant = suggest(name, [word for k in KINDS for word in (k.plural, k.singular)], followed)
        raise UsageError(f"there is no kind {name!r}; {meant or '`emulab api-resources` lists them'}")
    return kind


def _learn(lab: str) -> None:
    """The kinds of a lab, if it is up, that the registry hasn't."""
    with suppress(EmulabError), connect(lab) as client:
        for api_version, kind, plural, namespaced, *short in client.request("kinds"):
            KINDS.adopt(api_version, kind, plural, *short, namespaced=namespaced)


def find_all(names: str, lab: str = "") -> list[Kind]:
    """The kinds of a comma-separated list; `all` stands for pods, Services and workloads. Raises UsageError."""
    found: list[Kind] = []
    for name in names.split(","):
        found += _everything() if name == "all" else [find(name, lab)]
    return list(dict.fromkeys(found))


def _everything() -> list[Kind]:
    """What `all` stands for, in kubectl's order: groups by name, and in each its resources by name."""
    return sorted(KINDS.of(ALL), key=lambda kind: (kind.group, kind.plural))


class Reference(NamedTuple):
    """A kind, and a name within it or "" for all. `namespace`: that of an object of a file; else the options say it."""

    kind: Kind
    name: str
    namespace: str = ""


def references(words: list[str], name_required: bool = False, lab: str = "") -> list[Reference]:
    """What `KIND`, `KIND NAME…` or `KIND/NAME…` refer to; `lab` as for `find`. Raises UsageError."""
    if any("/" in word for word in words):
        found = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not (kind and slash and name):
                raise UsageError(f"{word!r}: write either KIND NAME… or KIND/NAME… for all")
            found.append(Reference(find(kind, lab), name))
        return found
    kinds, names = find_all(words[0], lab), words[1:]
    if not names and name_required:
        raise UsageError(f"which of the {kinds[0].plural}? Add a name")
    return [Reference(kind, name) for kind in kinds for name in (names or [""])]


def not_found(reference: Reference) -> str:
    """kubectl's words for a name that isn't there."""
    return f'Error from server (NotFound): {reference.kind.resources} "{reference.name}" not found'
