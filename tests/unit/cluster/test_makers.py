"""ConfigMaps and Secrets that aren't there: who would make them in a cluster, and what is warned of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from lab_objects import obj
from manifest_texts import WORKLOAD, accepted, described, patched

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.makers import maker
from emulab.kinds.registry import CONFIG_MAP, KINDS, SECRET
from emulab.model.collection import Objects
from emulab.model.objects import Object

_RBAC = "rbac.authorization.k8s.io"


def role(kind: str, name: str, namespace: str = "shop", **rule: Any) -> Object:
    given = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create"], **rule}
    return obj(
        kind, name, "" if kind.startswith("Cluster") else namespace, rules=[{"verbs": ["list"]}, given]
    )


def binding(kind: str, role_kind: str, name: str, subject: Any = None, namespace: str = "shop") -> Object:
    who = subject or {"kind": "ServiceAccount", "name": "certgen", "namespace": "jobs"}
    reference = {"apiGroup": _RBAC, "kind": role_kind, "name": name}
    return obj(kind, "b", "" if kind.startswith("Cluster") else namespace, roleRef=reference, subjects=[who])


ACCOUNT = "ServiceAccount jobs/certgen"
OWN = binding("RoleBinding", "Role", "r")
EVERYWHERE = binding("ClusterRoleBinding", "ClusterRole", "r")


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([role("Role", "r"), OWN], ACCOUNT),
        ([role("Role", "r", apiGroups=["*"], resources=["*"], verbs=["*"]), OWN], ACCOUNT),
        ([role("ClusterRole", "r"), EVERYWHERE], ACCOUNT),
        ([role("ClusterRole", "r"), binding("RoleBinding", "ClusterRole", "r")], ACCOUNT),
        ([binding("ClusterRoleBinding", "ClusterRole", "cluster-admin")], ACCOUNT),
        (
            [
                role("Role", "r"),
                binding("RoleBinding", "Role", "r", {"kind": "ServiceAccount", "name": "own"}),
            ],
            "ServiceAccount shop/own",
        ),
        ([OWN], ""),
        ([role("Role", "r")], ""),
        ([role("Role", "r", verbs=["get", "update"]), OWN], ""),
        ([role("Role", "r", resources=["configmaps"]), OWN], ""),
        ([role("Role", "r", apiGroups=["apps"]), OWN], ""),
        ([role("Role", "r", "other"), binding("RoleBinding", "Role", "r", namespace="other")], ""),
        ([role("Role", "r"), binding("RoleBinding", "Role", "r", {"kind": "User", "name": "me"})], ""),
        ([binding("ClusterRoleBinding", "ClusterRole", "view")], ""),
    ],
)
def test_who_may_make_a_secret(objects: Sequence[Object], expected: str) -> None:
    assert maker(Objects(objects), "shop", SECRET, "tls") == expected


def custom(kind: str, name: str, namespace: str = "shop", **spec: Any) -> Object:
    KINDS.adopt("cert-manager.io/v1", kind)
    metadata = {"name": name, "namespace": namespace}
    return Object({"apiVersion": "cert-manager.io/v1", "kind": kind, "metadata": metadata, "spec": spec})


@pytest.mark.parametrize(
    ("o", "expected"),
    [
        (custom("Certificate", "web", secretName="tls"), "Certificate shop/web"),
        (custom("Certificate", "web", into=[{"deep": {"name": "tls"}}]), "Certificate shop/web"),
        (custom("SealedSecret", "tls"), "SealedSecret shop/tls"),
        (custom("Certificate", "tls", secretName="other"), ""),
        (custom("Certificate", "web", secretName="tls-2"), ""),
        (custom("Certificate", "web", "other", secretName="tls"), ""),
    ],
)
def test_who_is_asked_for_it_by_name(o: Object, expected: str) -> None:
    assert maker(Objects([o]), "shop", SECRET, "tls") == expected


def test_what_isnt_there_is_warned_of_once() -> None:
    asks = {"configMapKeyRef": {"name": "settings", "key": "k"}}
    spec = {
        "volumes": [
            {"name": "a", "secret": {"secretName": "tls"}},
            {"name": "b", "configMap": {"name": "here"}},
            {"name": "c", "configMap": {"name": "maybe", "optional": True}},
            {
                "name": "d",
                "projected": {"sources": [{"secret": {"name": "tls"}}, {"secret": {"name": "key"}}]},
            },
            {"name": "e", "configMap": {"name": "kube-root-ca.crt"}},
        ],
        "initContainers": [{"name": "i", "image": "x", "envFrom": [{"secretRef": {"name": "key"}}]}],
        "containers": [
            {
                "name": "c",
                "image": "x",
                "envFrom": [{"configMapRef": {"name": "maybe", "optional": True}}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": asks}],
            }
        ],
    }
    raw = described("Deployment", patched(WORKLOAD, "template.spec", spec))
    raw["metadata"]["namespace"] = "shop"
    (o,) = accepted(raw)
    there = [o, obj("Namespace", "shop", ""), obj("ConfigMap", "here", "shop"), role("Role", "r"), OWN]
    at = "shop.yaml:1: Deployment/web spec.template.spec"
    made = f"which {ACCOUNT} would make in a cluster: stand-ins begin without it"
    assert warnings([o], Objects(there)) == [
        f"{at}.volumes[0].secret.secretName: there is no Secret shop/tls, {made}",
        f"{at}.volumes[3].projected.sources[1].secret.name: there is no Secret shop/key, {made}",
        f"{at}.containers[0].env[1].valueFrom.configMapKeyRef.name: there is no ConfigMap shop/settings:"
        " Pods wait until there is",
    ]
    assert maker(Objects(there), "shop", CONFIG_MAP, "settings") == ""
