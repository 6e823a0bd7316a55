"""Which of a lab's objects a command line means: by kind, name, Namespace, labels and fields."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from emulab.cli.kinds import Reference
from emulab.cli.usage import ServerRefusal, UsageError
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.kinds.kind import Kind
from emulab.kinds.selectable import EVERYWHERE
from emulab.lab.client.client import LabClient
from emulab.model.keys import GroupKind
from emulab.model.selectortext import (
    FieldRequirement,
    Requirement,
    field_requirements,
    label_requirements,
)

EVERY_NAMESPACE = ""


class Selection(NamedTuple):
    """A label selector and a field selector, as they are written; either may be empty."""

    labels: str = ""
    fields: str = ""

    @classmethod
    def of(cls, options: argparse.Namespace, references: Sequence[Reference] = ()) -> Selection:
        """What the options `--selector` and `--field-selector` say. Raises UsageError beside names."""
        selection = cls(options.selector, options.field_selector)
        if any(selection) and any(reference.name for reference in references):
            raise UsageError("name cannot be provided when a selector is specified")
        return selection

    def filter(self, kind: Kind) -> ObjectFilter:
        """What the selectors ask of objects of a kind. Raises ServerRefusal, as an API server would refuse them."""
        try:
            labels, fields = label_requirements(self.labels), field_requirements(self.fields)
            selectable = {**EVERYWHERE, **(kind.definition.selectable if fields else {})}
            for requirement in fields:
                if requirement.field not in selectable:
                    raise UserError(f"field label not supported: {requirement.field}")
        except UserError as error:
            group = f"{kind.group}/{kind.version}"
            raise ServerRefusal(
                f'Error from server (BadRequest): Unable to find "{group}, Resource={kind.plural}" that match label '
                f'selector "{self.labels}", field selector "{self.fields}": {error}'
            ) from None
        return ObjectFilter(kind, labels, fields)


class ObjectFilter(NamedTuple):
    """Selectors that are understood."""

    kind: Kind
    labels: Sequence[Requirement]
    fields: Sequence[FieldRequirement]

    def admits(self, o: Raw) -> bool:
        labels = o["metadata"].get("labels") or {}
        if not all(requirement.holds(labels) for requirement in self.labels):
            return False
        selectable = {**EVERYWHERE, **self.kind.definition.selectable} if self.fields else EVERYWHERE
        return all((selectable[field](o) == value) == equal for field, equal, value in self.fields)


def namespace_of(kind: Kind, options: argparse.Namespace) -> str:
    """The Namespace in which objects of a kind are meant, EVERY_NAMESPACE for all and for kinds without."""
    everywhere = not kind.namespaced or getattr(options, "all_namespaces", False)
    return EVERY_NAMESPACE if everywhere else str(options.namespace)


def fetch(client: LabClient, reference: Reference, namespace: str) -> list[Raw]:
    """The objects of a kind and Namespace, that of the reference if it has one, sorted as kubectl's server does."""
    namespace = (reference.namespace or namespace) if reference.kind.namespaced else EVERY_NAMESPACE
    group, kind = reference.kind
    objects: list[Raw] = client.request(
        "get", group=group, kind=kind, namespace=namespace, name=reference.name
    )
    return in_order(objects)


def in_order(objects: Sequence[Raw]) -> list[Raw]:
    """Objects by Namespace and name."""
    return sorted(objects, key=lambda o: (o["metadata"].get("namespace") or "", o["metadata"]["name"]))


def nothing_found(wanted: Sequence[Reference], options: argparse.Namespace) -> str:
    """kubectl's words where there are no objects."""
    if options.all_namespaces or not any(reference.kind.namespaced for reference in wanted):
        return "No resources found"
    return f"No resources found in {options.namespace} namespace."


def group_kind(o: Raw) -> GroupKind:
    return GroupKind(str(o["apiVersion"]).rpartition("/")[0], str(o["kind"]))
