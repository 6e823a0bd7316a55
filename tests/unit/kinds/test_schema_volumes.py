"""Volumes, mounts, variables and claims: what is refused, with the path and the words, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import CONTAINER, POD, WORKLOAD, accepted, described, patched, refused, warned

CLAIM: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
FOLDER = {"name": "d", "emptyDir": {}}
CONFIG = {"name": "c", "configMap": {"name": "m"}}
SEEN = patched(
    {**POD, "volumes": [FOLDER, CONFIG]},
    "containers.0.volumeMounts",
    [{"name": "d", "mountPath": "/d"}, {"name": "c", "mountPath": "/c"}],
)
DOWNWARD = {
    "name": "w",
    "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.labels"}}]},
}


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("volumes.1.name", "d", 'volumes[1].name: "d" is already the name of item 0'),
        (
            "volumes.0.configMap",
            {"name": "m"},
            "volumes[0].configMap: may not specify more than 1 volume type",
        ),
        ("volumes.0.emptyDir.sizeLimit", "-1", "SizeLimit field must be a valid resource quantity"),
        ("volumes.1.configMap", {}, "volumes[1].configMap.name: is required"),
        ("volumes.1.configMap.defaultMode", 512, "512 is not a mode from 0 to 0777 (octal) (0-511)"),
        ("volumes.1.configMap.items.0", {"key": "k", "path": "/a"}, "items[0].path: must be a relative path"),
        (
            "volumes.1.configMap.items.0",
            {"key": "k", "path": "a/../b"},
            "items[0].path: must not contain '..'",
        ),
        (
            "volumes.1.configMap.items.0",
            {"key": "k", "path": "..a"},
            "items[0].path: must not start with '..'",
        ),
        ("volumes.2", {"name": "h", "hostPath": {"path": "/a/../b"}}, "hostPath.path: must not contain '..'"),
        (
            "volumes.2",
            {"name": "h", "hostPath": {"path": "/a", "type": "Dir"}},
            'hostPath.type: "Dir" is not one',
        ),
        ("volumes.2", {"name": "s", "secret": {}}, "volumes[2].secret.secretName: is required"),
        (
            "volumes.2",
            {"name": "e", "ephemeral": {}},
            "volumes[2].ephemeral.volumeClaimTemplate: is required",
        ),
        (
            "volumes.2",
            {"name": "p", "persistentVolumeClaim": {}},
            "persistentVolumeClaim.claimName: is required",
        ),
        (
            "volumes.2",
            {"name": "p", "projected": {"sources": [{}]}},
            "needs exactly one of clusterTrustBundle, configMap, downwardAPI, podCertificate, secret,"
            " serviceAccountToken; it has none",
        ),
        (
            "volumes.2",
            patched(DOWNWARD, "downwardAPI.items.0.fieldRef.fieldPath", "status.podIP"),
            "for files",
        ),
        (
            "volumes.2",
            patched(DOWNWARD, "downwardAPI.items.1", DOWNWARD["downwardAPI"]["items"][0]),  # type: ignore[index]
            'items[1].path: conflicting duplicate paths: "a"',
        ),
        ("containers.0.volumeMounts.0.name", "x", 'containers[0].volumeMounts[0].name: Not found: "x"'),
        ("containers.0.volumeMounts.1.mountPath", "/d", 'volumeMounts[1].mountPath: "/d" must be unique'),
        ("containers.0.volumeMounts.1.mountPath", "", "volumeMounts[1].mountPath: must not be empty"),
        ("containers.0.volumeMounts.0.subPath", "../up", "subPath: must not contain '..'"),
        ("containers.0.volumeMounts.0.subPath", "/up", "subPath: must be a relative path"),
        ("containers.0.volumeMounts.0.subPathExpr", "a/../$(B)", "subPathExpr: must not contain '..'"),
        (
            "containers.0.volumeMounts.0",
            {"name": "d", "mountPath": "/d", "subPath": "a", "subPathExpr": "$(B)"},
            "subPathExpr: subPathExpr and subPath are mutually exclusive",
        ),
        (
            "initContainers.0",
            {"name": "i", "volumeMounts": [{"name": "y", "mountPath": "/y"}]},
            'Not found: "y"',
        ),
        (
            "containers.0.envFrom.0",
            {},
            "envFrom[0]: needs exactly one of configMapRef, secretRef; it has none",
        ),
        ("containers.0.envFrom.0", {"secretRef": {}}, "envFrom[0].secretRef.name: is required"),
        (
            "containers.0.env.0",
            {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.disk"}}},
            '"limits.disk" is not a resource of a container',
        ),
        (
            "containers.0.env.0",
            {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1Mi"}}},
            "only divisor's values 1m, 1 are supported with it",
        ),
        (
            "containers.0.env.0",
            {"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v2", "fieldPath": "metadata.name"}}},
            '"v2" is not one of v1',
        ),
        (
            "volumes.0",
            {"name": "data", "emptyDir": {"medium": "Mem"}},
            'emptyDir.medium: "Mem" is not a medium that kubelets know',
        ),
        (
            "volumes.0",
            {
                "name": "data",
                "projected": {
                    "sources": [
                        {"configMap": {"name": "a", "items": [{"key": "k", "path": "token"}]}},
                        {"serviceAccountToken": {"path": "token"}},
                    ]
                },
            },
            'projected.sources[1].serviceAccountToken.path: conflicting duplicate paths: "token"',
        ),
    ],
)
def test_pods(path: str, value: Any, problem: str) -> None:
    found = refused(described("Pod", patched(SEEN, path, value)))
    assert any(problem in line for line in found), found


def test_what_is_right_passes() -> None:
    spec = patched(SEEN, "volumes.2", {"name": "nothing-said"})
    spec = patched(spec, "volumes.3", DOWNWARD)
    spec = patched(
        spec, "containers.0.volumeMounts.2", {"name": "d", "mountPath": "rel", "subPathExpr": "$(A)/b"}
    )
    assert accepted(described("Pod", spec))


def test_a_stateful_sets_claims_are_volumes_of_its_pods() -> None:
    spec = patched(WORKLOAD, "template.spec.containers.0.volumeMounts", [{"name": "data", "mountPath": "/d"}])
    found = refused(described("StatefulSet", spec))
    assert found == ['spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"']
    claims = [{"metadata": {"name": "data"}, "spec": CLAIM}]
    assert accepted(described("StatefulSet", {**spec, "volumeClaimTemplates": claims}))
    assert refused(described("Deployment", spec)) == found


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("accessModes", [], "spec.accessModes: must not be empty"),
        ("accessModes.0", "RWO", 'spec.accessModes[0]: "RWO" is not one of'),
        ("accessModes.1", "ReadWriteOncePod", "may not use ReadWriteOncePod with other access modes"),
        ("resources", {}, "spec.resources.requests.storage: is required"),
    ],
)
def test_claims(path: str, value: Any, problem: str) -> None:
    found = refused(described("PersistentVolumeClaim", patched(CLAIM, path, value)))
    assert any(problem in line for line in found), found


def test_volumes_and_classes() -> None:
    volume = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    assert refused(described("PersistentVolume", volume)) == ["spec: must specify a volume type"]
    local = {**volume, "local": {"path": "/a"}}
    assert refused(described("PersistentVolume", local)) == [
        "spec.nodeAffinity: Local volume requires node affinity"
    ]
    assert accepted(described("PersistentVolume", {**volume, "hostPath": {"path": "/a"}}))
    assert refused(described("StorageClass")) == ["provisioner: is required"]
    assert refused(described("StorageClass", provisioner="x", reclaimPolicy="Recycle")) == [
        'reclaimPolicy: "Recycle" is not one of Delete, Retain'
    ]


def cluster(*paths: Any) -> dict[str, Any]:
    return described("Cluster", {"pods": {"hostPaths": list(paths)}})


@pytest.mark.parametrize("path", ["", "/", "srv", "/srv/../etc", "/srv//data", "/srv/./data"])
def test_a_folder_of_the_host_is_an_absolute_path(path: str) -> None:
    (found,) = refused(cluster({"path": path}))
    assert found.startswith("spec.pods.hostPaths[0].path: ") and "absolute path of a folder" in found
    assert accepted(cluster({"path": "/srv/data/", "readOnly": False}))


def test_of_a_folder_that_is_not_allowed_there_is_a_warning() -> None:
    spec = {**POD, "volumes": [{"name": "h", "hostPath": {"path": "/var/log/pods"}}]}
    told = "Pod/web spec.volumes[0].hostPath.path: isn't allowed by spec.pods.hostPaths of the Cluster: a program "
    assert warned(described("Pod", spec)) == [f"{told}that sees it isn't started"]
    assert warned(cluster({"path": "/var/log"}), described("Pod", spec)) == []
    assert warned(cluster({"path": "/var/lo"}), described("Pod", spec)) != []
    container = {
        **CONTAINER,
        "volumeMounts": [{"name": "n", "mountPath": "/n", "mountPropagation": "HostToContainer"}],
    }
    nfs = {"containers": [container], "volumes": [{"name": "n", "nfs": {"server": "s", "path": "/"}}]}
    assert warned(described("Pod", nfs)) == [
        "Pod/web spec.containers[0].volumeMounts[0].mountPropagation: isn't followed: what is mounted on either side"
        " isn't seen on the other",
        "Pod/web spec.volumes[0].nfs: isn't followed: a Pod with a program that sees it isn't started: a lab has none"
        " of these",
    ]
