"""What a kind is called, and where all else that is true of it stands."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from emulab.model.keys import GroupKind

if TYPE_CHECKING:
    from emulab.kinds.definition import Definition

ALL = "all"
"""Kinds that `get all` lists."""
WORKLOAD = "workload"
"""Kinds whose `spec.template` and `spec.selector` are about Pods."""
SCALABLE = "scalable"
"""Kinds with `spec.replicas`: those that have the subresource `scale`."""
EXPOSED = "exposed"
"""Kinds of which `expose` makes a Service (kubectl/pkg/polymorphichelpers/canbeexposed.go)."""
PLACE = "place"
"""Kinds of which each object is a place of the lab: a network namespace of the object's name."""
COUNTED = "counted"
"""Kinds whose number a ResourceQuota limits by their plural alone."""
BROUGHT = "brought"
"""Kinds that a cluster has from whoever brings their controller: others of their group may be there, too."""
ADDRESSED = "addressed"
"""Kinds whose objects have an address outside the cluster in `status.address`."""


class Kind(GroupKind):
    """One kind by all its names: what an API server's discovery says of it (`metav1.APIResource`).

    All else is the `DEFINITION` in the kind's module, which is loaded when it is first asked for: who lists Pods need
    not know what an Ingress may say. The module is `emulab.kinds.GROUP.KIND`, where GROUP is the group's first word, or
    "core" for the group without a name, unless `home` names another one.
    """

    version: str
    plural: str
    short: tuple[str, ...]
    namespaced: bool
    categories: frozenset[str]
    home: str
    served_as: tuple[str, ...]
    also: tuple[str, ...]

    def __new__(
        cls,
        api_version: str,
        kind: str,
        plural: str,
        *short: str,
        namespaced: bool = True,
        categories: tuple[str, ...] = (),
        home: str = "",
        served_as: tuple[str, ...] = (),
        also: tuple[str, ...] = (),
    ) -> Kind:
        """`plural` is kubectl's name of the resource, and `short` its short names.

        `served_as`: other versions, of other groups, in which an API server has the very same objects. `also`: other
        versions of its own group in which it is taken, each with a structure of its own.
        """
        group, _, version = api_version.rpartition("/")
        self = super().__new__(cls, group, kind)
        self.version, self.plural, self.short = version, plural, short
        self.namespaced, self.categories = namespaced, frozenset(categories)
        self.served_as, self.also = served_as, also
        self.home = home or f"emulab.kinds.{group.partition('.')[0] or 'core'}.{kind.lower()}"
        return self

    @cached_property
    def definition(self) -> Definition:
        found: Definition = import_module(self.home).DEFINITION
        return found

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def is_kubernetes(self) -> bool:
        """Whether it is one of Kubernetes' own, whose structure its OpenAPI tells: those have groups without a dot, or
        below k8s.io, where a CustomResourceDefinition may be as well."""
        return BROUGHT not in self.categories and ("." not in self.group or self.group.endswith(".k8s.io"))

    @property
    def structures(self) -> tuple[str, ...]:
        """What the definitions of a kind of Kubernetes are called, that of its first version first."""
        group = self.group.partition(".")[0] or "core"
        versions = (self.version, *(version.rpartition("/")[2] for version in self.also))
        return tuple(f"{group}.{version}.{self.kind}" for version in versions) if self.is_kubernetes else ()

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """What may stand behind a name and a dot: group, or version and group, of each version it is served as."""
        versions = [version.rpartition("/")[::2] for version in (self.api_version, *self.served_as)]
        return tuple(word for group, version in versions for word in (group, f"{version}.{group}"))

    @property
    def singular(self) -> str:
        return self.kind.lower()

    def counted(self, number: int) -> str:
        """`1 Ingress`, `2 Ingresses`, `3 NetworkPolicies`."""
        stem = self.kind.removesuffix("y") if self.plural.endswith("ies") else self.kind
        return f"{number} {self.kind if number == 1 else stem + self.plural[len(stem) :]}"

    @property
    def resource(self) -> str:
        """Singular and group, as `-o name` begins: `deployment.apps`."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    @property
    def resources(self) -> str:
        """Plural and group, as errors name them: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
