"""The Endpoints of Services that select Pods, which a cluster's endpoints controller writes (pkg/controller/endpoint).

They say what EndpointSlices say, in one object a Service. Nothing in a lab reads them but who asks for them, so they
are made when they are asked for, and not kept: what a lab of ten thousand Services has of them costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from emulab.cluster.controllers.names import new_uid
from emulab.cluster.controllers.world import uid
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL
from emulab.kinds.installed import API_NAMESPACE, API_SERVICE
from emulab.kinds.registry import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from emulab.model.collection import Objects
from emulab.model.objects import Object

_MOST = 1000
"""Addresses of an object (`maxCapacity`)."""
_OVER_CAPACITY = {"endpoints.kubernetes.io/over-capacity": "truncated"}
_MANAGED_BY = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
_FIELDS = ("addresses", "notReadyAddresses")


def derived(objects: Objects, namespace: str | None) -> list[Object]:
    """Those of one Namespace, or of all, of which nobody has written one of that name."""
    slices: dict[tuple[str, str], list[Object]] = {}
    for o in objects.kind(ENDPOINT_SLICE, namespace):
        if name := o.labels.get(SERVICE_NAME_LABEL):
            slices.setdefault((o.namespace, name), []).append(o)
    return [
        _endpoints(service, slices.get((service.namespace, service.name), ()))
        for service in objects.kind(SERVICE, namespace)
        if _has_endpoints(service) and objects.get(ENDPOINTS.key(service.namespace, service.name)) is None
    ]


def derived_of(objects: Objects, service: Object) -> Object | None:
    """Those of one Service, be it one that has gone; None where it has none that are derived."""
    if not _has_endpoints(service) or objects.get(ENDPOINTS.key(service.namespace, service.name)) is not None:
        return None
    slices = [
        o
        for o in objects.kind(ENDPOINT_SLICE, service.namespace)
        if o.labels.get(SERVICE_NAME_LABEL) == service.name
    ]
    return _endpoints(service, slices)


def _has_endpoints(service: Object) -> bool:
    own = (service.namespace, service.name) == (API_NAMESPACE, API_SERVICE)  # which an API server writes
    return bool(service.spec.get("selector")) or own


def _endpoints(service: Object, slices: Sequence[Object]) -> Object:
    """Of the Service's first family alone: an object has no more."""
    families = service.spec.get("ipFamilies") or [s.raw.get("addressType") for s in slices]
    metadata: dict[str, Any] = {
        "name": service.name,
        "namespace": service.namespace,
        "uid": new_uid(ENDPOINTS.key(service.namespace, service.name), uid(service)),
        "creationTimestamp": service.metadata.get("creationTimestamp"),
        "labels": {**service.labels, **_MANAGED_BY},
    }
    subsets = _merged(_subset(s) for s in slices if s.raw.get("addressType") in families[:1])
    if sum(len(subset.get(field, ())) for subset in subsets for field in _FIELDS) > _MOST:
        metadata["annotations"] = _OVER_CAPACITY
        subsets = _truncated(subsets)
    raw = {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.kind, "metadata": metadata}
    return Object({**raw, "subsets": subsets} if subsets else raw)


def _subset(slice_: Object) -> dict[str, Any]:
    """The endpoints of a slice: those that are ready, and others that aren't ending."""
    found: dict[str, list[Any]] = {}
    for endpoint in slice_.raw.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        if conditions.get("terminating"):
            continue
        field = _FIELDS[0] if conditions.get("ready", True) else _FIELDS[1]
        known = {name: endpoint[name] for name in ("hostname", "nodeName", "targetRef") if endpoint.get(name)}
        found.setdefault(field, []).append({"ip": endpoint["addresses"][0], **known})
    said = ("name", "port", "protocol", "appProtocol")
    return {
        **found,
        "ports": [{name: p[name] for name in said if p.get(name)} for p in slice_.raw.get("ports") or ()],
    }


def _merged(subsets: Iterator[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One subset of all with the same ports, with its addresses in order (`RepackSubsets`)."""
    whole: dict[str, dict[str, Any]] = {}
    for subset in subsets:
        together = whole.setdefault(
            str(subset["ports"]), {field: [] for field in _FIELDS} | {"ports": subset["ports"]}
        )
        for field in _FIELDS:
            together[field] += subset.get(field, ())
    for together in whole.values():
        for field in _FIELDS:
            together[field].sort(key=lambda address: ip_address(address["ip"]))
    return [_said(together) for together in whole.values() if any(together[field] for field in _FIELDS)]


def _said(subset: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in subset.items() if value}


def _truncated(subsets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    left, found = _MOST, []
    for subset in subsets:
        kept = dict(subset)
        for field in _FIELDS:
            kept[field] = list(subset.get(field, ()))[:left]
            left -= len(kept[field])
        found.append(_said(kept))
    return [subset for subset in found if any(field in subset for field in _FIELDS)]
