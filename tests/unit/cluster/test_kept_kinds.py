"""Kinds that have no bearing on packets or programs, kinds of other API groups, and objects saved from a cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from manifest_texts import SERVICE, WORKLOAD, described, manifest, problems, stream

from emulab.cluster.admission.loader import Manifest, load
from emulab.errors import ManifestError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import KINDS
from emulab.kinds.registry import SERVICE as SERVICES
from emulab.lab.offline import offline_world
from emulab.model.addresses import networks
from emulab.model.keys import GroupKind
from emulab.model.sources import Source

RBAC = "rbac.authorization.k8s.io/v1"
ROLE = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "system:a"}, "rules": []}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def custom(api_version: str, kind: str, name: str = "x", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def test_saved_events_are_counted_too() -> None:
    events = [
        described("Event", name=name, involvedObject={"kind": "Pod", "name": "p"}) for name in ("a", "b")
    ]
    loaded = manifest(stream(*events))
    assert (loaded.warnings, loaded.notes) == ((), ("2 Events: kept, without effect",))


def test_they_are_kept_and_counted_in_one_line() -> None:
    accounts = [described("ServiceAccount", name=name) for name in ("a", "b", "c")]
    others = [
        described("PersistentVolumeClaim", CLAIM, "d"),  # which is followed
        described("Lease", name="e"),
    ]
    policies = [custom("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", n) for n in ("f", "g")]
    loaded = manifest(stream(*accounts, ROLE, *others, *policies, described("Deployment", WORKLOAD)))
    assert loaded.warnings == ()
    assert loaded.notes == (
        "3 ServiceAccounts, 1 ClusterRole, 1 Lease, 2 ValidatingAdmissionPolicies: kept, without effect",
    )
    assert [o.namespace for o in loaded.objects[2:5]] == ["default", "", "default"]
    assert manifest(stream(described("Service", SERVICE))).notes == ()


def test_a_binding_need_not_say_the_group_of_its_role() -> None:
    role = {"kind": "ClusterRole", "name": "a"}
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        assert len(manifest(stream(custom(RBAC, kind, roleRef=role))).objects) == 1
        assert problems(stream(custom(RBAC, kind, roleRef={"kind": "ClusterRole"}))) == [
            f"shop.yaml:1: {kind}/x roleRef.name: is required"
        ]


def test_what_is_wrong_in_them_is_told_all_the_same() -> None:
    assert problems(stream({**ROLE, "rule": []}, described("ServiceAccount", name="a/b"))) == [
        'shop.yaml:1: ClusterRole/system:a: unknown field "rule"; did you mean rules?',
        "shop.yaml:3: ServiceAccount/a/b metadata.name: \"a/b\" is not a name: it may not be '.' or '..', nor have '/' "
        "or '%' in it",
    ]


@pytest.mark.parametrize(
    ("version", "spec"),
    [
        ("v1", {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}),
        ("v2", {"maxReplicas": 3, "metrics": []}),
    ],
)
def test_a_kind_in_two_versions_has_two_structures(version: str, spec: dict[str, Any]) -> None:
    spec = {**spec, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}
    o = {**described("HorizontalPodAutoscaler", spec), "apiVersion": f"autoscaling/{version}"}
    assert manifest(stream(o)).notes == ("1 HorizontalPodAutoscaler: kept, without effect",)
    other = {**o, "apiVersion": f"autoscaling/v{3 - int(version[1])}"}
    assert "unknown field" in problems(stream(other))[0]


def test_kinds_of_other_groups_are_kept_with_a_warning() -> None:
    template = {"template": {"spec": {"containers": [{"name": "a"}]}}}
    loaded = manifest(
        stream(
            custom("argoproj.io/v1alpha1", "Rollout", spec={"replicas": 2}),
            custom("gateway.networking.k8s.io/v1", "HTTPRoute", spec={"rules": []}),
            custom("cilium.io/v2", "CiliumNetworkPolicy"),
            custom("example.org/v1", "Thing", spec=template),
            custom("projectcalico.org/v3", "IPReservation", spec={"reservedCIDRs": []}),
            custom("cert-manager.io/v1", "Issuer", "a"),
            custom("cert-manager.io/v1", "Issuer", "b", status={"x": 1}, more=[1]),
        )
    )
    assert loaded.warnings == (
        "shop.yaml:1: Rollout/x would make pods; it makes none here",
        "shop.yaml:3: HTTPRoute/x would make routes; it makes none here",
        "shop.yaml:5: CiliumNetworkPolicy/x would make rules of packets; it makes none here",
        "shop.yaml:7: Thing/x would make pods; it makes none here",
        "shop.yaml:9: IPReservation/x would make addresses or networks; it makes none here",
        "2 Issuers of cert-manager.io: kept, without effect",
    )
    assert loaded.objects[-1].raw["more"] == [1] and loaded.objects[-1].namespace == "default"
    assert problems(stream(custom("example.org/v1", "Thing", "A B"))) != []


def test_a_definition_says_what_its_kind_is_called() -> None:
    names = {"kind": "Wolf", "plural": "wolves", "shortNames": ["wf"]}
    versions = [{"name": "v1", "served": True, "storage": True}]
    spec = {"group": "zoo.example.org", "names": names, "scope": "Cluster", "versions": versions}
    definition = described("CustomResourceDefinition", spec, "wolves.zoo.example.org")
    wolf = manifest(stream(definition, custom("zoo.example.org/v1", "Wolf"))).objects[1]
    assert wolf.namespace == ""
    for name in ("wolves", "wf", "wolf.zoo.example.org"):
        assert KINDS.named(name) == GroupKind("zoo.example.org", "Wolf")
    assert GroupKind("zoo.example.org", "Wolf") not in list(KINDS)


def test_unknown_kinds_and_versions_of_kubernetes_own_groups_are_errors() -> None:
    assert problems(stream(custom("v1", "Servce"))) == [
        'shop.yaml:1: Servce/x kind: "Servce" is not a kind that emulab knows; did you mean Service?'
    ]
    assert problems(stream(custom("batch/v1beta1", "CronJob"))) == [
        'shop.yaml:1: CronJob/x apiVersion: no matches for kind "CronJob" in version "batch/v1beta1"; write batch/v1'
    ]
    (problem,) = problems(stream(custom("policy/v1beta1", "PodSecurityPolicy")))
    assert '"PodSecurityPolicy" is not a kind that emulab knows' in problem


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("example.org/v1", ""),
        ("example.org/v1", "a b"),
        ("exa mple.org/v1", "A"),
        ("example.org/", "A"),
        ("A.b/v1", "A"),
    ],
)
def test_what_no_definition_could_define(version: str, kind: str) -> None:
    (problem,) = problems(stream(custom(version, kind)))
    assert "is not a kind that emulab knows" in problem


def dump(cluster_ip: str, **metadata: Any) -> Manifest:
    spec = {**SERVICE, "clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ipFamilies": ["IPv4"]}
    metadata = {"name": "web", "managedFields": [{"manager": "kubectl"}], **metadata}
    status = {"loadBalancer": {}}
    o = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status}
    return load(
        [Source("shop.yaml", json.dumps(o, indent=1))], Cluster(service_cidrs=networks(["10.96.0.0/12"]))
    )


def test_a_saved_service_gets_an_address_of_this_cluster() -> None:
    loaded = dump("10.43.0.7", uid="1", resourceVersion="2")
    assert loaded.without_effect == (
        "shop.yaml:23: Service/web spec.clusterIP: 10.43.0.7 is not in serviceCIDR 10.96.0.0/12; "
        "it gets another address",
    )
    (o,) = loaded.objects
    assert o.spec.keys() == {"selector", "ports", "ipFamilies"} and o.status == {}
    assert o.metadata == {"name": "web", "namespace": "default"}
    for own in ("10.96.0.7", "None"):
        assert dump(own, uid="1").objects[0].spec["clusterIP"] == own
    with pytest.raises(ManifestError, match=r"10\.43\.0\.7 is not an address in serviceCIDR"):
        dump("10.43.0.7")


def test_a_dump_of_a_lab_is_taken() -> None:
    with open("topologies/shop.yaml") as file:
        objects, _ = offline_world([Source("shop.yaml", file.read())])
    kinds = [kind for kind in KINDS if kind.definition.standing.name == "followed"]
    saved = [dict(o.raw) for kind in kinds for o in objects.kind(kind)]
    again = manifest(json.dumps({"apiVersion": "v1", "kind": "List", "items": saved}))
    owned = [raw for raw in saved if raw["metadata"].get("ownerReferences")]  # whose owners make their own
    assert len(saved) > 20 and len(owned) > 10 and len(again.objects) == len(saved) - len(owned)
    services = {o.name: o.spec["clusterIP"] for o in again.objects if o.type == SERVICES}
    assert services == {o.name: o.spec["clusterIP"] for o in objects.kind(SERVICES)}
