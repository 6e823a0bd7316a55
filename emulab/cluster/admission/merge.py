"""What a user's object becomes when the lab has one of that name already, as `kubectl apply` would have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.kinds.clusters import Cluster
from emulab.kinds.services import needs_health_check
from emulab.model.objects import Object

_FIXED_CLUSTER = {
    "podCIDR": "pod_cidrs",
    "serviceCIDR": "service_cidrs",
    "clusterDomain": "cluster_domain",
    "network.mtu": "mtu",
    "network.underlay": "vpc",
}
_KEPT_METADATA = (
    *("uid", "creationTimestamp", "generation", "resourceVersion", "ownerReferences"),
    *("deletionTimestamp", "deletionGracePeriodSeconds"),
)


def admit(store: Store, o: Object) -> str:
    """Puts a user's object into the store. What it did, in kubectl's word: created, configured or unchanged.

    Raises UserError for changes that Kubernetes refuses too.
    """
    old, version = store.get(o.key), store.version
    merged = merge(old, o)
    store.put(merged)
    store.put_status(o.key, merged.status)
    if old is None:
        return "created"
    return "unchanged" if store.version == version else "configured"


def merge(old: Object | None, new: Object) -> Object:
    """`new` with what the lab added to `old` and the user did not say. Pure.

    Raises UserError for changes that Kubernetes refuses too.
    """
    if old is None:
        return new
    metadata = {**new.metadata, **{k: old.metadata[k] for k in _KEPT_METADATA if k in old.metadata}}
    annotations = {k: v for k, v in old.annotations.items() if k.startswith("deployment.kubernetes.io/")}
    if annotations:
        metadata["annotations"] = {**annotations, **new.annotations}
    if old.status:
        new = new.replace(status=_status(old, new))
    spec = dict(new.spec)
    match new.kind:
        case "Service":
            spec = _service(old, new, spec)
        case "Pod":
            spec = _pod(old, new, spec)
        case "Deployment" | "ReplicaSet" | "StatefulSet":
            _same_selector(old, new)
            if "replicas" not in spec and "replicas" in old.spec:
                spec["replicas"] = old.spec["replicas"]
        case "EndpointSlice" if new.raw.get("addressType") != old.raw.get("addressType"):
            raise UserError(
                f"{new.position}: {new.key} addressType: can't be changed; it is {old.raw.get('addressType')};"
                " delete the EndpointSlice first"
            )
        case "Cluster":
            check_cluster(Cluster.of(old), new)
        case _:
            pass
    return new.replace(metadata=metadata, spec=spec) if "spec" in new.raw else new.replace(metadata=metadata)


def _status(old: Object, new: Object) -> dict[str, Any]:
    """The old status without addresses that the new spec doesn't ask for any more; they are given anew."""
    forgotten: tuple[str, ...] = ()
    if new.kind == "Service" and new.spec.get("type") != "LoadBalancer":
        forgotten = ("address", "addresses", "loadBalancer")
    elif new.kind in ("Client", "LoadBalancer") and any(
        old.spec.get(f) != new.spec.get(f) for f in ("network", "address")
    ):
        forgotten = ("address", "addresses", "vip", "vips")
    return {k: v for k, v in old.status.items() if k not in forgotten}


def _service(old: Object, new: Object, spec: dict[str, Any]) -> dict[str, Any]:
    kept = old.spec.get("clusterIP")
    asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
    if spec.get("type") != "ExternalName" and kept:
        if asked and asked != kept:
            raise UserError(
                f"{new.position}: {new.key} spec.clusterIP: can't be changed; it is {kept};"
                " delete the Service first"
            )
        if kept == "None" and spec.get("type") in ("NodePort", "LoadBalancer"):
            raise UserError(
                f"{new.position}: {new.key} spec.type: a headless Service stays headless and can't become a"
                f" {spec['type']}; delete the Service first"
            )
        spec.update({f: old.spec[f] for f in ("clusterIP", "clusterIPs") if f in old.spec})
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        spec["ports"] = _node_ports(old.spec.get("ports") or (), spec.get("ports") or ())
    if needs_health_check(old.spec) and needs_health_check(spec):
        kept = old.spec.get("healthCheckNodePort")
        if spec.get("healthCheckNodePort") not in (None, 0, kept):
            raise UserError(f"{new.position}: {new.key} spec.healthCheckNodePort: is immutable; it is {kept}")
        spec["healthCheckNodePort"] = kept
    return spec


def _node_ports(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The new ports, those without a node port with the old one.

    kubectl finds it by number and protocol, and the API server what that doesn't find by the port's name
    (`patchAllocatedValues` in pkg/registry/core/service).
    """
    ports = [dict(port) for port in new]
    ways: tuple[Callable[[Mapping[str, Any]], object], ...] = (
        lambda p: (p["port"], p.get("protocol", "TCP")),
        lambda p: p.get("name", ""),
    )
    for same in ways:
        taken = {p.get("nodePort") for p in ports}
        known = {same(p): p["nodePort"] for p in old if p.get("nodePort") and p["nodePort"] not in taken}
        for port in ports:
            if not port.get("nodePort") and same(port) in known:
                port["nodePort"] = known[same(port)]
    return ports


def _pod(old: Object, new: Object, spec: dict[str, Any]) -> dict[str, Any]:
    if "nodeName" not in spec and "nodeName" in old.spec:
        spec["nodeName"] = old.spec["nodeName"]
    if spec != old.spec:
        raise UserError(f"{new.position}: {new.key}: a pod's spec can't be changed; delete the pod first")
    return spec


def _same_selector(old: Object, new: Object) -> None:
    if old.spec.get("selector") != new.spec.get("selector"):
        raise UserError(
            f"{new.position}: {new.key} spec.selector: can't be changed; delete the {new.kind} first"
        )


def check_cluster(before: Cluster, new: Object) -> None:
    """Raises UserError when the Cluster object changes what a running lab can't change."""
    after = Cluster.of(new)
    for name, field in _FIXED_CLUSTER.items():
        if getattr(before, field) != getattr(after, field):
            raise UserError(f"{new.position}: {new.key} spec.{name}: can't be changed in a running lab")
