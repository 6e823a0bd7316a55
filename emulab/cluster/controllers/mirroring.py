"""Endpoints become EndpointSlices: pkg/controller/endpointslicemirroring (KEP-752).

For a Service without a selector, whose endpoints are a user's to write. Each subset has a slice of each family. That
an object is mirrored no longer is seen by the slices' owner: with the Endpoints their slices go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from emulab.cluster.controllers.names import LONGEST_BASE, controller_reference, new_uid, safe_hash
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL
from emulab.kinds.registry import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from emulab.model.families import family_of
from emulab.model.objects import Object

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
"""Annotation of Endpoints that are somebody's lock, and no endpoints."""


def mirror(world: WorkingCopy) -> None:
    """Writes the slices of all Endpoints that are mirrored, and deletes those that aren't needed any more."""
    for o in world.kind(ENDPOINTS):
        wanted = {made.key: made for made in _slices(o)} if _is_mirrored(world, o) else {}
        for old in world.owned(o, ENDPOINT_SLICE):
            if old.key not in wanted:
                world.delete(old)
        for key, made in wanted.items():
            there = world.get(key)
            metadata = {**(there.metadata if there else {"uid": new_uid(key, uid(o))}), **made.metadata}
            world.put(made.replace(metadata=metadata))


def _is_mirrored(world: WorkingCopy, o: Object) -> bool:
    service = world.get(SERVICE.key(o.namespace, o.name))
    if service is None or service.spec.get("selector") or world.is_over(o):
        return False
    return o.labels.get(SKIP) != "true" and LEADER not in o.annotations


def _slices(o: Object) -> Iterator[Object]:
    for number, subset in enumerate(o.raw.get("subsets") or ()):
        endpoints = [
            _endpoint(address, ready)
            for field, ready in (("addresses", True), ("notReadyAddresses", False))
            for address in subset.get(field) or ()
        ]
        by_family: dict[str, list[dict[str, Any]]] = {}
        for endpoint in endpoints:
            family = family_of(ip_address(endpoint["addresses"][0])).name
            by_family.setdefault(family, []).append(endpoint)
        for family, members in by_family.items():
            yield _slice(o, number, family, members, subset.get("ports") or ())


def _slice(
    o: Object, number: int, family: str, endpoints: Sequence[Any], ports: Sequence[Mapping[str, Any]]
) -> Object:
    name = f"{o.name}-"[:LONGEST_BASE] + safe_hash(o.namespace, o.name, "mirror", number, family)
    labels = {**o.labels, SERVICE_NAME_LABEL: o.name, MANAGED_BY: CONTROLLER}
    return Object(
        {
            "apiVersion": ENDPOINT_SLICE.api_version,
            "kind": ENDPOINT_SLICE.kind,
            "metadata": {
                "name": name,
                "namespace": o.namespace,
                "labels": labels,
                "ownerReferences": [controller_reference(o)],
            },
            "addressType": family,
            "endpoints": list(endpoints),
            "ports": [{"protocol": "TCP", **entry} for entry in ports],
        }
    )


def _endpoint(address: Mapping[str, Any], ready: bool) -> dict[str, Any]:
    known = ("hostname", "nodeName", "targetRef")
    more = {field: address[field] for field in known if address.get(field)}
    return {"addresses": [address["ip"]], "conditions": {"ready": ready}, **more}
