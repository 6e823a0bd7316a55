"""Which Ingresses are served, and by whom: each controller serves its classes, as ingress-nginx decides it
(`GetIngressClass` of internal/ingress/controller/store), and those that a Cluster has the lab's ingress take over
(`ingress.classes`), which are somebody else's in a cluster.

An Ingress that names no class has the default one, if there is one. The API server writes it into the Ingress when that
is created, and so does the lab's admission; here objects may come in any order, so it is found whenever it is asked
for, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingresscontrollers import IngressController, ObjectSource, controllers
from emulab.kinds.networking.ingressvalidation import is_inspected_out, malicious_paths
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.registry import INGRESS_CLASS, NAMESPACE
from emulab.model.objects import Object

EVERY_CLASS = "*"
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


def default_class(classes: Iterable[Object]) -> str:
    """The name of the default one, "" where there is none: of several the newest, then the first by name
    (plugin/pkg/admission/network/defaultingressclass)."""
    default = [o for o in classes if o.annotations.get(DEFAULT_CLASS) == "true"]
    default.sort(key=lambda o: o.name)
    default.sort(key=lambda o: str(o.metadata.get("creationTimestamp") or ""), reverse=True)
    return default[0].name if default else ""


@dataclass(frozen=True, slots=True)
class IngressClasses:
    """The classes that there are, and the controllers that serve them."""

    classes: Mapping[str, str]  # the controller that each IngressClass names, by the class' name
    default: str  # the class of Ingresses that name none, or ""
    adopted: frozenset[str]
    controllers: tuple[IngressController, ...]
    namespaces: Mapping[str, Mapping[str, str]]  # labels by name, where a controller asks for them

    @staticmethod
    def among(source: ObjectSource, cluster: Cluster) -> IngressClasses:
        """Of these objects."""
        classes = source.members(INGRESS_CLASS).values()
        there = tuple(controllers(source))
        selecting = any(one.flags.namespace_selector for one in there)
        return IngressClasses(
            classes={o.name: str(o.spec.get("controller") or "") for o in classes},
            default=default_class(classes),
            adopted=frozenset(cluster.ingress_classes),
            controllers=there,
            namespaces={o.name: o.labels for o in source.members(NAMESPACE).values()} if selecting else {},
        )

    def serving(self, ingress: Ingress) -> list[IngressController]:
        """The controllers that serve an Ingress."""
        return [one for one in self.controllers if self.takes(one.flags, ingress)]

    def serves(self, ingress: Ingress) -> bool:
        """Whether anybody serves an Ingress."""
        return any(self.takes(one.flags, ingress) for one in self.controllers)

    def class_of(self, ingress: Ingress) -> str:
        """The class of an Ingress, "" where it has none."""
        return ingress.class_name or self.default

    def takes(self, flags: ControllerFlags, ingress: Ingress) -> bool:
        """Whether a controller with these flags serves an Ingress."""
        return self.is_of_its_class(flags, ingress) and self._is_watched(flags, ingress)

    def is_of_its_class(self, flags: ControllerFlags, ingress: Ingress) -> bool:
        """Whether an Ingress is of a class of a controller with these flags, which may leave it alone all the same."""
        name = self.class_of(ingress)
        if EVERY_CLASS in self.adopted or name in self.adopted:
            return True
        if not name:
            return flags.without_class
        if ingress.class_is_annotated:
            return name == flags.ingress_class
        by_name = flags.class_by_name and name == flags.ingress_class
        return name in self.classes and (by_name or self.classes[name] == flags.controller_class)

    def _is_watched(self, flags: ControllerFlags, ingress: Ingress) -> bool:
        if is_inspected_out(ingress, flags):
            return False
        if ingress.default_backend is not None and not flags.catch_all:
            return False  # whatever its rules (`hasCatchAllIngressRule` of internal/ingress/controller/store)
        if flags.namespace_selector:
            from emulab.model.selectortext import label_requirements  # here: few controllers ask for it

            try:
                wanted = label_requirements(flags.namespace_selector)
            except UserError:
                return False
            labels = self.namespaces.get(ingress.namespace) or {}
            return all(one.holds(labels) for one in wanted)
        return flags.watch_namespace in ("", ingress.namespace)

    def why_not(self, ingress: Ingress) -> str:
        """Why nobody serves an Ingress."""
        name = self.class_of(ingress)
        if not self.controllers:
            return "there is no ingress controller"
        own = [one.flags for one in self.controllers if self.is_of_its_class(one.flags, ingress)]
        if own and all(is_inspected_out(ingress, flags) for flags in own):
            _, why = next(malicious_paths(ingress))
            return f"received invalid ingress: {why} (--deep-inspect)"
        if own:
            return "no ingress controller of its class watches it"
        if not name:
            return "no ingress controller watches Ingresses without a class (--watch-ingress-without-class)"
        if name not in self.classes:
            return f"there is no IngressClass {name}"
        controller = self.classes[name] or "which names none"
        return f"nobody here is the controller of IngressClass {name}, {controller}"

    def known(self) -> str:
        """The classes that are served, in words."""
        flags = [one.flags for one in self.controllers]
        own = [name for name, who in self.classes.items() if any(who == f.controller_class for f in flags)]
        return ", ".join(sorted({*own, *(self.adopted if flags else ())})) or "none"
