"""What an API server writes into objects that don't say it, and `get` shows."""

from __future__ import annotations

from typing import Any

import pytest
from lab_objects import obj

from emulab.cluster.admission.merge import merge

ROLLING = {"type": "RollingUpdate"}
TEMPLATE: dict[str, Any] = {"template": {"metadata": {"labels": {"a": "b"}}}}


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ({}, {"type": "ClusterIP", "internalTrafficPolicy": "Cluster"}),
        (
            {"externalIPs": ["192.0.2.1"], "type": None},
            {"type": "ClusterIP", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"},
        ),
        ({"type": "NodePort"}, {"internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}),
        (
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
            {"internalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True},
        ),
        ({"type": "ExternalName", "externalName": "a.test"}, {}),
        (
            {"sessionAffinity": "ClientIP"},
            {
                "type": "ClusterIP",
                "internalTrafficPolicy": "Cluster",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            },
        ),
    ],
)
def test_a_service(said: dict[str, Any], more: dict[str, Any]) -> None:
    """`SetDefaults_Service` of pkg/apis/core/v1/defaults.go."""
    kept = {field: value for field, value in said.items() if value is not None}
    assert merge(None, obj("Service", spec=said)).spec == {"sessionAffinity": "None", **kept, **more}


def test_the_ports_of_a_service() -> None:
    ports = [
        {"port": 80},
        {"port": 53, "protocol": "UDP", "targetPort": "dns"},
        {"port": 81, "targetPort": 0},
    ]
    found = merge(None, obj("Service", spec={"ports": ports})).spec["ports"]
    assert found == [
        {"port": 80, "protocol": "TCP", "targetPort": 80},
        {"port": 53, "protocol": "UDP", "targetPort": "dns"},
        {"port": 81, "protocol": "TCP", "targetPort": 81},
    ]


def test_a_service_of_another_type_has_what_that_type_has() -> None:
    balancer = merge(None, obj("Service", spec={"type": "LoadBalancer"}))
    plain = merge(balancer, obj("Service", spec={}))
    assert plain.spec == merge(None, obj("Service", spec={})).spec


@pytest.mark.parametrize(
    ("kind", "said", "more"),
    [
        (
            "Deployment",
            {},
            {
                "replicas": 1,
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                "strategy": {**ROLLING, "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            },
        ),
        (
            "Deployment",
            {"replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": 2}}, "revisionHistoryLimit": None},
            {
                "replicas": 0,
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                "strategy": {**ROLLING, "rollingUpdate": {"maxSurge": 2, "maxUnavailable": "25%"}},
            },
        ),
        (
            "Deployment",
            {"strategy": {"type": "Recreate"}},
            {
                "replicas": 1,
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                "strategy": {"type": "Recreate"},
            },
        ),
        (
            "DaemonSet",
            {},
            {
                "revisionHistoryLimit": 10,
                "updateStrategy": {**ROLLING, "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            },
        ),
        (
            "StatefulSet",
            {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}},
            {
                "replicas": 1,
                "podManagementPolicy": "OrderedReady",
                "revisionHistoryLimit": 10,
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
                "updateStrategy": {**ROLLING, "rollingUpdate": {"partition": 0}},
            },
        ),
        ("ReplicaSet", {}, {"replicas": 1}),
        ("ReplicationController", {}, {"replicas": 1, "selector": {"a": "b"}}),
    ],
)
def test_a_workload(kind: str, said: dict[str, Any], more: dict[str, Any]) -> None:
    """pkg/apis/apps/v1/defaults.go, and of ReplicationControllers pkg/apis/core/v1/defaults.go."""
    asked = obj(kind, spec={**TEMPLATE, **said})
    found = merge(None, asked)
    assert found.spec == {**TEMPLATE, **more}
    assert merge(found, asked).spec == found.spec


def test_replicas_that_were_asked_for_last_stay() -> None:
    scaled = obj("Deployment", spec={**TEMPLATE, "replicas": 3})
    assert merge(scaled, obj("Deployment", spec=TEMPLATE)).spec["replicas"] == 3
