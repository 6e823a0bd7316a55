"""What each kind may say: one table, checked field by field.

The table holds the fields that concern the data plane, as Kubernetes' API reference has them; other fields of
Kubernetes' kinds are accepted as they are. Rules between objects are in `conflicts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.schema_emulab import client_spec, cluster_spec, load_balancer_spec, zone_spec
from emulab.kinds.schema_pods import (
    daemon_set_spec,
    deployment_spec,
    pod_spec,
    replica_set_spec,
    stateful_set_spec,
)
from emulab.kinds.schema_traffic import (
    ENDPOINT_SLICE_FIELDS,
    ENDPOINT_SLICE_RULES,
    ingress_class_spec,
    ingress_spec,
    network_policy_spec,
    service_spec,
)
from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    annotation_map,
    base64,
    boolean,
    config_key,
    dns_1035_label,
    dns_label,
    dns_subdomain,
    dns_zone,
    label_map,
    mapping,
    maybe_empty,
    show,
    string,
    string_map,
    suggest,
    wrong,
)
from emulab.model.objects import CLUSTER_SCOPED

EMULAB = "emulab.dev/v1"


@dataclass(frozen=True, slots=True)
class Kind:
    api_version: str
    check: Check  # of the whole object


def check_object(raw: Any) -> Problems:
    """Everything that is wrong with one object by itself."""
    if type(raw) is not dict:
        return wrong(f"{show(raw)} is not an object: a mapping with apiVersion, kind and metadata")
    found = [problem for field in ("apiVersion", "kind") for problem in _named(raw, field)]
    if found:
        return found
    name, version = raw["kind"], raw["apiVersion"]
    if name in _REFUSED:
        return wrong(f"{show(name)} {_REFUSED[name]}", "kind")
    kind = KINDS.get(name)
    if kind is None:
        return wrong(f"{show(name)} is not a kind that emulab knows; {suggest(name, KINDS)}", "kind")
    if version != kind.api_version:
        return wrong(f"{show(version)} is not that of {name}, which is {kind.api_version}", "apiVersion")
    return kind.check(raw)


_REFUSED: Mapping[str, str] = {
    "Node": "is not given as an object; spec.nodes of the Cluster says which nodes there are",
}


def _named(raw: dict[str, Any], field: str) -> Problems:
    if field not in raw:
        return wrong("is required", field)
    return [((field, *path), why) for path, why in string(raw[field])]


def _metadata(kind: str, name: Check) -> Check:
    def none(_value: Any) -> Problems:
        return wrong(f"may not be set: a {kind} is in no namespace")

    namespace = maybe_empty(none if kind in CLUSTER_SCOPED else dns_label)
    fields = {"name": name, "namespace": namespace, "labels": label_map, "annotations": annotation_map}
    return mapping(fields, required=("name",))


def _kind(
    kind: str,
    api_version: str,
    name: Check,
    spec: Check | None = None,
    *,
    optional_spec: bool = False,
    fields: Mapping[str, Check] | None = None,
    required: tuple[str, ...] = (),
    rules: tuple[Rule, ...] = (),
) -> tuple[str, Kind]:
    body: dict[str, Check] = {"metadata": _metadata(kind, name), **(fields or {})}
    needed: tuple[str, ...] = ("metadata", *required)
    if spec:
        body["spec"] = spec
        needed = needed if optional_spec else (*needed, "spec")
    return kind, Kind(api_version, mapping(body, needed, rules))


def _tls_pair(secret: dict[str, Any]) -> Problems:
    if secret.get("type") != "kubernetes.io/tls":
        return ()
    given = {**secret.get("data", {}), **secret.get("stringData", {})}
    return [
        problem
        for name in ("tls.crt", "tls.key")
        if name not in given
        for problem in wrong("is required when type is kubernetes.io/tls", "data", name)
    ]


def _base64_map(value: Any) -> Problems:
    return string_map(config_key, base64)(value)


_texts = string_map(config_key)

KINDS: Mapping[str, Kind] = dict(
    [
        _kind("Namespace", "v1", dns_label),
        _kind("Pod", "v1", dns_subdomain, pod_spec),
        _kind("Deployment", "apps/v1", dns_subdomain, deployment_spec),
        _kind("ReplicaSet", "apps/v1", dns_subdomain, replica_set_spec),
        _kind("StatefulSet", "apps/v1", dns_label, stateful_set_spec),
        _kind("DaemonSet", "apps/v1", dns_subdomain, daemon_set_spec),
        _kind("Service", "v1", dns_1035_label, service_spec),
        _kind(
            "EndpointSlice",
            "discovery.k8s.io/v1",
            dns_subdomain,
            fields=ENDPOINT_SLICE_FIELDS,
            required=("addressType",),
            rules=ENDPOINT_SLICE_RULES,
        ),
        _kind("Ingress", "networking.k8s.io/v1", dns_subdomain, ingress_spec),
        _kind("IngressClass", "networking.k8s.io/v1", dns_subdomain, ingress_class_spec, optional_spec=True),
        _kind(
            "ConfigMap",
            "v1",
            dns_subdomain,
            fields={"data": _texts, "binaryData": _base64_map, "immutable": boolean},
        ),
        _kind(
            "Secret",
            "v1",
            dns_subdomain,
            fields={"data": _base64_map, "stringData": _texts, "type": string, "immutable": boolean},
            rules=(_tls_pair,),
        ),
        _kind(
            "NetworkPolicy", "networking.k8s.io/v1", dns_subdomain, network_policy_spec, optional_spec=True
        ),
        _kind("Cluster", EMULAB, dns_subdomain, cluster_spec, optional_spec=True),
        _kind("LoadBalancer", EMULAB, dns_label, load_balancer_spec, optional_spec=True),
        _kind("Client", EMULAB, dns_label, client_spec, optional_spec=True),
        _kind("Zone", EMULAB, dns_zone, zone_spec, optional_spec=True),
    ]
)
"""Every kind that users may write, in the order in which messages list them."""
