"""The class of an Ingress that names none (plugin/pkg/admission/network/defaultingressclass)."""

from __future__ import annotations

from emulab.kinds.networking.ingressclasses import DEFAULT_CLASS, default_class
from emulab.kinds.networking.ingressview import CLASS_ANNOTATION
from emulab.kinds.registry import INGRESS_CLASS
from emulab.model.collection import Objects
from emulab.model.objects import Object

_FIELD = "ingressClassName"


def with_default_class(objects: Objects, old: Object | None, new: Object) -> Object:
    """An Ingress with the default IngressClass that there is, if it is new; else with the one that it got then.

    Who has named a class once, and doesn't any more, is without one, unless that is a default one: which of both it was
    nobody remembers.
    """
    if _FIELD in new.spec or CLASS_ANNOTATION in new.annotations:
        return new
    classes = objects.members(INGRESS_CLASS)
    if old is None:
        name = default_class(classes.values())
    else:
        there = classes.get(INGRESS_CLASS.key("", str(old.spec.get(_FIELD) or "")))
        name = there.name if there is not None and there.annotations.get(DEFAULT_CLASS) == "true" else ""
    return new.replace(spec={**new.spec, _FIELD: name}) if name else new
