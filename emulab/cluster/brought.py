"""What a user brings in the place of what every lab has: an ingress controller of his own.

A lab's own ingress controller (Deployment, Service and IngressClass) is a default. It stands aside, whole, where a user
brings a controller of the same class, under whatever names, or a Deployment of the very name: two that serve the same
would both answer, and of one object there can't be two versions. The Namespace stays, as it may be the user's too. It
doesn't come back with the user's deletion: who has brought a controller has a cluster that is without one then. It does
when a Cluster is applied while there is no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emulab.cluster.store import Store
from emulab.kinds.images import engine_of
from emulab.kinds.installed import (
    CONTROLLER,
    INGRESS_CLASS_NAME,
    INGRESS_NAME,
    INGRESS_NAMESPACE,
    INGRESS_SETTINGS,
    KEPT_SETTINGS,
)
from emulab.kinds.kind import WORKLOAD
from emulab.kinds.networking.ingresscontrollers import controller_of
from emulab.kinds.registry import CLUSTER, CONFIG_MAP, DEPLOYMENT, INGRESS_CLASS, KINDS, POD, SERVICE
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.keys import Key
from emulab.model.objects import NOWHERE, Object

_OWN = DEPLOYMENT.key(INGRESS_NAMESPACE, INGRESS_NAME)
_SETTINGS = CONFIG_MAP.key(INGRESS_NAMESPACE, INGRESS_NAME)
OWN_INGRESS = frozenset(
    (
        *(_OWN, SERVICE.key(INGRESS_NAMESPACE, INGRESS_NAME), _SETTINGS),
        INGRESS_CLASS.key("", INGRESS_CLASS_NAME),
    )
)
"""The keys of a lab's own ingress controller."""


def brings_ingress(given: Iterable[Object]) -> Object | None:
    """The workload for which the lab's own ingress controller stands aside, of these objects of a user's."""
    kinds = {*KINDS.of(WORKLOAD), POD}
    return next((o for o in given if o.type in kinds and (o.key == _OWN or _is_one(o))), None)


def has_brought_ingress(objects: Objects) -> bool:
    """Whether there is such a workload in a lab."""
    return brings_ingress(o for o in objects if o.position != NOWHERE) is not None


def _is_one(o: Object) -> bool:
    controller = controller_of(o)
    return controller is not None and controller.is_the_labs_own


def stand_aside(store: Store) -> None:
    """Removes what there is of the lab's own ingress controller."""
    for key in OWN_INGRESS:
        o = store.get(key)
        if o is not None and o.position == NOWHERE:
            store.delete(key)
    settings = store.get(_SETTINGS)
    if settings is not None and KEPT_SETTINGS in settings.annotations:
        store.put(_as_the_user_has_it(settings))


def with_kept_settings(store: Store, o: Object) -> Object:
    """A ConfigMap of the lab's own ingress controller with those settings of the lab's that it says nothing of.

    As `kubectl apply` would leave them, which removes of an object that somebody else has made no key that it didn't
    write. Else clients' addresses would go with the first other key that is set. Of a map that was read, changed and
    given back, the annotation tells what was kept, so a key that it hasn't any more has been taken out.
    """
    own = store.get(_OWN) if o.key == _SETTINGS else None
    if own is None or own.position != NOWHERE:
        return o
    data, before = o.raw.get("data") or {}, o.annotations.get(KEPT_SETTINGS)
    if before is None:
        kept = {key: value for key, value in INGRESS_SETTINGS.items() if key not in data}
        if not kept:
            return o
    else:
        kept = {key: INGRESS_SETTINGS[key] for key in before.split(",") if _is_the_labs(key, data)}
    annotations = {**o.annotations, KEPT_SETTINGS: ",".join(kept)}
    return o.replace(data={**data, **kept}, metadata={**o.metadata, "annotations": annotations})


def _is_the_labs(key: str, data: Mapping[str, str]) -> bool:
    return key in INGRESS_SETTINGS and data.get(key) == INGRESS_SETTINGS[key]


def keep_settings(store: Store) -> None:
    """Has a ConfigMap that a user has brought keep what the lab's own controller, which may be back, has said."""
    settings = store.get(_SETTINGS)
    if settings is not None and settings.position != NOWHERE:
        store.put(with_kept_settings(store, settings))


def _as_the_user_has_it(o: Object) -> Object:
    """It without what was kept for the lab's own controller."""
    kept = o.annotations[KEPT_SETTINGS].split(",")
    data = {key: value for key, value in (o.raw.get("data") or {}).items() if key not in kept}
    annotations = {key: value for key, value in o.annotations.items() if key != KEPT_SETTINGS}
    return o.replace(data=data, metadata={**o.metadata, "annotations": annotations})


def notes(given: Iterable[Object]) -> list[str]:
    """What is to be said of a controller among these."""
    o = brings_ingress(given)
    if o is None or not _is_one(o):
        return []
    what = f"{o.kind}/{o.name} is the lab's ingress controller"
    return [f"{what}: the one that every lab has stands aside, and doesn't come back when it is deleted"]


def remark(o: Object) -> str:
    """What is to be said of an object that is a lab's own ingress controller; "" of all else."""
    containers = ((o.spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    if o.key != _OWN or not any(engine_of(container.get("image") or "") for container in containers):
        return ""
    return (
        f"it is the lab's own, and stands aside for one that you bring with the controller class {CONTROLLER}"
    )


def absent(objects: Iterable[Object], key: Key) -> str:
    """Why what has that key isn't there: it is the lab's own, and stands aside; "" for all else."""
    users = (
        o for o in objects if not o.metadata.get("ownerReferences")
    )  # those of the lab's own may still end
    o = brings_ingress(users) if key in OWN_INGRESS else None
    return f"the lab's own ingress controller stands aside for {o.kind}/{o.name}" if o is not None else ""


def notes_of_deletion(before: Objects, deleted: Iterable[Key]) -> list[str]:
    """What the end of objects means for who serves Ingresses."""
    gone = [o for key in deleted if (o := before.get(key)) is not None]
    own = next((o for o in gone if o.key == _OWN and o.position == NOWHERE), None)
    if own is not None:
        what = "was the lab's own ingress controller"
    else:
        own = brings_ingress(o for o in gone if o.position != NOWHERE)
        what = "was the ingress controller for which the lab's own stands aside"
    if own is None:
        return []
    return [
        f"{own.kind}/{own.name} {what}: that comes back when a Cluster is applied, or another one of yours"
    ]


def oddities(o: Object, objects: Objects) -> Iterator[Finding]:
    """What looks odd in an object that has the name of the lab's own controller, or says how that is to be."""
    if o.key == _OWN and o.position != NOWHERE and controller_of(o) is None:
        what = (
            "takes the place of the lab's own ingress controller and isn't one, so nothing serves Ingresses"
        )
        yield Finding(o, ("metadata", "name"), what)
    if o.type == CLUSTER and "replicas" in (o.spec.get("ingress") or {}) and has_brought_ingress(objects):
        what = "isn't followed: it is that of the lab's own ingress controller, which stands aside for another one"
        yield Finding(o, ("spec", "ingress", "replicas"), what)
