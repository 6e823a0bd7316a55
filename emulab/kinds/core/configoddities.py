"""ConfigMaps, Secrets and ServiceAccounts that a Pod, or a template of Pods, asks for and that aren't there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emulab.kinds.registry import CONFIG_MAP, SECRET, SERVICE_ACCOUNT
from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.kind import Kind
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

ROOT_CERTIFICATES = "kube-root-ca.crt"
"""The ConfigMap that every Namespace of a cluster has, with the API server's certificate."""
_DEFAULT_ACCOUNT = "default"
"""The ServiceAccount that every Namespace of a cluster has."""
_SYSTEM = "kube-system"
"""The Namespace with accounts of a cluster's own, which whoever sets it up makes."""
_BY_ENV = {"configMapKeyRef": CONFIG_MAP, "secretKeyRef": SECRET}
_BY_SOURCE = {"configMapRef": CONFIG_MAP, "secretRef": SECRET}
_Reference = tuple[FieldPath, "Kind", str]


def oddities(o: Object, base: FieldPath, spec: Mapping[str, Any], world: Lookup) -> Iterator[Finding]:
    """Of the `spec` of Pods that stands at `base` of an object: each that isn't there is told at the first place."""
    told: set[tuple[Kind, str]] = set()
    for path, kind, name in _references(spec):
        known = (kind == CONFIG_MAP and name == ROOT_CERTIFICATES) or (kind, name) in told
        if known or world.has(kind.key(o.namespace, name)):
            continue
        told.add((kind, name))
        missing = f"there is no {kind.kind} {o.namespace}/{name}"
        if maker := world.maker(o.namespace, kind, name):
            missing += f", which {maker} would make in a cluster: stand-ins begin without it"
        else:
            missing += ": Pods wait until there is"
        yield Finding(o, (*base, *path), missing)


def of_accounts(o: Object, base: FieldPath, spec: Mapping[str, Any], world: Lookup) -> Iterator[Finding]:
    """Of the account that Pods run as: a cluster makes no such Pod without it (admission plug-in ServiceAccount)."""
    field = "serviceAccountName" if spec.get("serviceAccountName") else "serviceAccount"
    name = spec.get(field)
    if not name or name == _DEFAULT_ACCOUNT or o.namespace == _SYSTEM:
        return
    if not world.has(SERVICE_ACCOUNT.key(o.namespace, name)):
        what = f"there is no ServiceAccount {o.namespace}/{name}: a cluster makes no such Pod until there is"
        yield Finding(o, (*base, field), what)


def _references(spec: Mapping[str, Any]) -> Iterator[_Reference]:
    """What has to be there: all that isn't optional."""
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from _of_volume(("volumes", index), volume)
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from _of_container((field, index), container)


def _of_volume(path: FieldPath, volume: Mapping[str, Any]) -> Iterator[_Reference]:
    yield from _of_files(path, volume, "secretName")
    sources: Sequence[Mapping[str, Any]] = (volume.get("projected") or {}).get("sources") or ()
    for index, source in enumerate(sources):
        yield from _of_files((*path, "projected", "sources", index), source, "name")


def _of_files(path: FieldPath, given: Mapping[str, Any], secrets: str) -> Iterator[_Reference]:
    """`secrets`: the field in which Secrets have their name."""
    for field, kind, named in (("configMap", CONFIG_MAP, "name"), ("secret", SECRET, secrets)):
        settings = given.get(field) or {}
        if settings.get(named) and not settings.get("optional"):
            yield (*path, field, named), kind, settings[named]


def _of_container(path: FieldPath, container: Mapping[str, Any]) -> Iterator[_Reference]:
    entries = [
        *(
            ((*path, "envFrom", index), entry, _BY_SOURCE)
            for index, entry in enumerate(container.get("envFrom") or ())
        ),
        *(
            ((*path, "env", index, "valueFrom"), entry.get("valueFrom") or {}, _BY_ENV)
            for index, entry in enumerate(container.get("env") or ())
        ),
    ]
    for where, entry, kinds in entries:
        for field, kind in kinds.items():
            reference = entry.get(field) or {}
            if reference.get("name") and not reference.get("optional"):
                yield (*where, field, "name"), kind, reference["name"]
