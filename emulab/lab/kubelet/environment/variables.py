"""A container's environment: what the manifest says, what it is told of its Pod, and of Services. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container
from emulab.kinds.core.serviceview import Service
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.kubelet.environment.configs import ConfigError, Get, looked_up, missing, texts
from emulab.model.addresses import socket_name
from emulab.model.objects import Object

MASTER = ("default", "kubernetes")
"""The Service of which every container is told, whatever it says of links (kubelet's `masterServices`)."""


class Sources(NamedTuple):
    """What a container's variables come from."""

    namespace: str
    get: Get
    fields: Mapping[str, str]
    """The Pod's by their paths."""
    resource: Callable[[Mapping[str, Any]], str] = lambda _: "0"
    """What a `resourceFieldRef` says."""
    links: Mapping[str, str] = {}
    """The variables of Services, which `env` may name and replace."""
    spared: Callable[[Kind, str], bool] = lambda _kind, _name: False
    """Whether the container isn't held up where a ConfigMap or Secret isn't there, or a key in it."""


def environment(container: Container, sources: Sources) -> dict[str, str]:
    """A container's environment: `envFrom`, then `env` in order (the kubelet's `makeEnvironmentVariables`).

    `$(NAME)` is replaced by what stands before it, `$$` is one dollar sign. Raises ConfigError.
    """
    found: dict[str, str] = {}
    for entry in container.env_from:
        found |= _all_of(entry, sources)
    for entry in container.env:
        if entry.get("value"):
            found[entry["name"]] = expand(str(entry["value"]), {**sources.links, **found})
            continue
        value = _told(entry.get("valueFrom") or {}, sources)
        if value is not None:
            found[entry["name"]] = value
    return {**sources.links, **found}


def asks_for_configs(container: Container) -> bool:
    """Whether there is something that it may lack."""
    named = ("configMapKeyRef", "secretKeyRef")
    return bool(container.env_from) or any(
        field in (entry.get("valueFrom") or {}) for entry in container.env for field in named
    )


def _all_of(entry: Mapping[str, Any], sources: Sources) -> dict[str, str]:
    """Every key is a variable: since Kubernetes 1.34 none has a name that no variable may have (KEP-4369)."""
    kind = CONFIG_MAP if entry.get("configMapRef") else SECRET
    reference = entry.get("configMapRef") or entry["secretRef"]
    o = _object(kind, reference, sources)
    prefix = entry.get("prefix") or ""
    return {f"{prefix}{key}": value for key, value in texts(o).items()} if o is not None else {}


def _told(origin: Mapping[str, Any], sources: Sources) -> str | None:
    """A value that comes from elsewhere; None for an optional one that isn't there."""
    if "fieldRef" in origin:
        return sources.fields.get(origin["fieldRef"]["fieldPath"], "")
    if "resourceFieldRef" in origin:
        return sources.resource(origin["resourceFieldRef"])
    for field, kind in (("configMapKeyRef", CONFIG_MAP), ("secretKeyRef", SECRET)):
        if reference := origin.get(field):
            o = _object(kind, reference, sources)
            value = texts(o).get(reference["key"]) if o is not None else None
            if value is None and not _is_optional(kind, reference, sources):
                where = f"{kind.kind} {sources.namespace}/{reference['name']}"
                raise ConfigError(f"couldn't find key {reference['key']} in {where}")
            return value
    return None if "fileKeyRef" in origin else ""


def _object(kind: Kind, reference: Mapping[str, Any], sources: Sources) -> Object | None:
    o = looked_up(sources.get, kind, sources.namespace, reference["name"])
    if o is None and not _is_optional(kind, reference, sources):
        raise ConfigError(missing(kind, reference["name"]))
    return o


def _is_optional(kind: Kind, reference: Mapping[str, Any], sources: Sources) -> bool:
    return bool(reference.get("optional")) or sources.spared(kind, reference["name"])


def service_links(services: Iterable[Service], namespace: str, enabled: bool) -> dict[str, str]:
    """The variables that tell a container of Services: those of its namespace, if it wants them, and the API server's.

    pkg/kubelet/envvars, which makes them as Docker's links did. Services without a cluster IP have none.
    """
    found: dict[str, str] = {}
    for service in services:
        own = enabled and service.namespace == namespace
        if (own or (service.namespace, service.name) == MASTER) and service.cluster_ips and service.ports:
            found |= _of_service(service)
    return found


def _of_service(service: Service) -> dict[str, str]:
    host, prefix = str(service.cluster_ips[0]), _variable(service.name)
    found = {f"{prefix}_SERVICE_HOST": host, f"{prefix}_SERVICE_PORT": str(service.ports[0].port)}
    found |= {f"{prefix}_SERVICE_PORT_{_variable(p.name)}": str(p.port) for p in service.ports if p.name}
    for index, p in enumerate(service.ports):
        url = f"{p.protocol.lower()}://{socket_name(host, p.port)}"
        if index == 0:
            found[f"{prefix}_PORT"] = url
        one = f"{prefix}_PORT_{p.port}_{p.protocol}"
        found |= {
            one: url,
            f"{one}_PROTO": p.protocol.lower(),
            f"{one}_PORT": str(p.port),
            f"{one}_ADDR": host,
        }
    return found


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
