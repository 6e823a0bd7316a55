"""A container's environment: what the manifest says, what it is told of its Pod, and of Services. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container
from emulab.kinds.core.serviceview import Service
from emulab.model.addresses import socket_name

MASTER = ("default", "kubernetes")
"""The Service of which every container is told, whatever it says of links (kubelet's `masterServices`)."""


def environment(
    container: Container,
    fields: Mapping[str, str],
    sources: Mapping[tuple[str, str, str], str],
    links: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """A container's environment: `env` in order, with `fieldRef` (downward API), ConfigMap and Secret keys.

    `fields` are the pod's by field path, `sources` values by (kind, name, key), `links` the variables of Services,
    which `env` may name and replace. `$(NAME)` is replaced by what stands before it, `$$` is one dollar sign.
    """
    links = links or {}
    found: dict[str, str] = {}
    for entry in container.env:
        name = entry["name"]
        origin = entry.get("valueFrom") or {}
        if "fieldRef" in origin:
            found[name] = fields.get(origin["fieldRef"]["fieldPath"], "")
        elif "configMapKeyRef" in origin or "secretKeyRef" in origin:
            kind = "ConfigMap" if "configMapKeyRef" in origin else "Secret"
            reference = origin.get("configMapKeyRef") or origin["secretKeyRef"]
            value = sources.get((kind, reference["name"], reference["key"]))
            if value is not None:
                found[name] = value
        else:
            found[name] = expand(str(entry.get("value") or ""), {**links, **found} if links else found)
    return {**links, **found}


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
