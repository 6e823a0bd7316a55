"""Which Ingresses the lab's ingress controller serves: those of its classes, as any controller does, and those that a
Cluster has it take over (`ingress.classes`), which are somebody else's in a cluster."""

from __future__ import annotations

from collections.abc import Iterable

from emulab.dataclass import dataclass
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.installed import CONTROLLER, INGRESS_CLASS_NAME
from emulab.model.objects import Object

EVERY_CLASS = "*"


@dataclass(frozen=True, slots=True)
class IngressClasses:
    """The classes that there are, and those of them that are served."""

    served: frozenset[str]
    controllers: dict[str, str]  # of each IngressClass by its name

    @staticmethod
    def among(classes: Iterable[Object], cluster: Cluster) -> IngressClasses:
        """Of these IngressClasses."""
        controllers = {o.name: str(o.spec.get("controller") or "") for o in classes}
        own = [name for name, controller in controllers.items() if controller == CONTROLLER]
        return IngressClasses(frozenset({INGRESS_CLASS_NAME, *own, *cluster.ingress_classes}), controllers)

    def serves(self, name: str) -> bool:
        """Whether an Ingress of this class is served; "" is no class at all."""
        return not name or name in self.served or EVERY_CLASS in self.served

    def why_not(self, name: str) -> str:
        """Why nobody serves a class."""
        controller = self.controllers.get(name)
        if controller is None:
            return f"there is no IngressClass {name}"
        return f"nobody here is the controller of IngressClass {name}, {controller or 'which names none'}"

    def known(self) -> str:
        """The classes that are served, in words."""
        return ", ".join(sorted(self.served))
