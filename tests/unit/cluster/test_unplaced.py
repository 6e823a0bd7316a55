"""Nodes as a kubelet and a cloud label them, and what is said of Pods that none of them takes."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from emulab.kinds.registry import NODE
from emulab.lab.offline import oddities, offline_world
from emulab.model.sources import Source

SELECTOR = {"matchLabels": {"app": "web"}}
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def deployment(replicas: int = 1, **spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "web", "image": "x", "ports": [{"containerPort": 80}]}])
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers, **spec}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": SELECTOR, "template": template},
    }


def cluster(nodes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "emulab.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": "c"},
        "spec": {"nodes": nodes},
    }


def asking(**requests: Any) -> list[dict[str, Any]]:
    return [{"name": "web", "image": "x", "resources": {"requests": requests}}]


def test_what_a_node_would_have_to_have_is_said() -> None:
    small = cluster([{"name": "n1", "capacity": {"cpu": 1}}])
    assert said(small, deployment(containers=asking(cpu="1500m", memory="1Gi"))) == [
        "f.yaml:3: Deployment/web: 1 Pod can't be scheduled: 0/1 nodes are available: 1 Insufficient cpu; no node has "
        "as much: "
        "Cluster spec: {nodes: [{name: n1, capacity: {cpu: 1500m}}, …]}"
    ]
    assert said(small, deployment(3, containers=asking(cpu="600m"))) == [
        "f.yaml:3: Deployment/web: 2 Pods can't be scheduled: 0/1 nodes are available: 1 Insufficient cpu; what the "
        "nodes have is taken by other Pods: the Cluster takes more spec.nodes, or larger ones"
    ]


def said(*objects: dict[str, Any]) -> list[str]:
    text = "\n---\n".join(map(json.dumps, objects))
    return oddities(offline_world([Source("f.yaml", text)])[0])


def labels(nodes: Any) -> list[dict[str, str]]:
    objects, _ = offline_world([Source("f.yaml", json.dumps(cluster(nodes)))])
    return [dict(o.labels) for o in objects.kind(NODE)]


def test_nodes_have_the_kubelets_labels() -> None:
    (one,) = labels(1)
    assert one == {
        "beta.kubernetes.io/arch": ARCH,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": ARCH,
        "kubernetes.io/hostname": "node1",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": "region-1",
        "topology.kubernetes.io/zone": "zone-a",
    }


@pytest.mark.parametrize(
    ("nodes", "zones"),
    [
        (4, ["zone-a", "zone-b", "zone-c", "zone-a"]),
        ([{"name": "a"}, {"name": "b"}], ["zone-a", "zone-b"]),
        ([{"name": "a", "zone": "z"}, {"name": "b"}], ["z", None]),
        ([{"name": "a", "labels": {"topology.kubernetes.io/zone": "z"}}, {"name": "b"}], ["z", None]),
    ],
)
def test_zones_in_turn_unless_somebody_says_where_a_node_is(nodes: Any, zones: list[str | None]) -> None:
    assert [found.get("topology.kubernetes.io/zone") for found in labels(nodes)] == zones


APART = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": SELECTOR}
        ]
    }
}


def on_nodes(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


NO_MATCH = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}, None),
        ({"nodeSelector": {"kubernetes.io/arch": ARCH}}, None),
        (
            {
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "topology.kubernetes.io/zone",
                        "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": SELECTOR,
                    }
                ]
            },
            None,
        ),
        (
            {"nodeSelector": {"disktype": "ssd"}},
            f"1 Pod can't be scheduled: {NO_MATCH}; no node has disktype=ssd:"
            " Cluster spec: {nodes: [{name: node1, labels: {disktype: ssd}}, …]} gives it one",
        ),
        (
            {
                "affinity": on_nodes(
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["eu-1"]}
                )
            },
            f"1 Pod can't be scheduled: {NO_MATCH}; no node has topology.kubernetes.io/zone=eu-1:"
            " Cluster spec: {nodes: [{name: node1, zone: eu-1}, …]} gives it one",
        ),
        (
            {"affinity": on_nodes({"key": "gpu", "operator": "Exists"})},
            f"1 Pod can't be scheduled: {NO_MATCH}; no node has gpu:"
            " Cluster spec: {nodes: [{name: node1, labels: {gpu: x}}, …]} gives it one",
        ),
        (
            {"replicas": 4, "affinity": APART},
            "2 Pods can't be scheduled: 0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules;"
            " 4 nodes are needed: Cluster spec: {nodes: 4}",
        ),
        (
            {
                "replicas": 3,
                "containers": [
                    {"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 8080}]}
                ],
            },
            "1 Pod can't be scheduled: 0/2 nodes are available:"
            " 2 node(s) didn't have free ports for the requested pod ports;"
            " 3 nodes are needed: Cluster spec: {nodes: 3}",
        ),
        (
            {
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "rack",
                        "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": SELECTOR,
                    }
                ]
            },
            "1 Pod can't be scheduled: 0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints"
            " (missing required label); no node has rack:"
            " Cluster spec: {nodes: [{name: node1, labels: {rack: x}}, …]} gives it one",
        ),
    ],
)
def test_what_cannot_be_scheduled_is_said_with_its_remedy(spec: dict[str, Any], sentence: str | None) -> None:
    assert said(deployment(**spec)) == ([f"f.yaml:1: Deployment/web: {sentence}"] if sentence else [])


def test_replicas_that_are_not_made_yet_need_nodes_too() -> None:
    one = deployment(
        4, containers=[{"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}]}]
    )
    (line,) = said({**one, "kind": "StatefulSet"})
    assert line.endswith("; 4 nodes are needed: Cluster spec: {nodes: 4}")


def test_two_reasons_ask_for_nodes_once() -> None:
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}]}
    other = {**deployment(2, containers=[container]), "metadata": {"name": "other"}}
    lines = said(other, deployment(3, containers=[container], affinity=APART))
    assert all(line.count("nodes are needed") == 1 for line in lines)


def test_who_asks_for_one_node_is_not_helped_by_others() -> None:
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}]}
    spec = {"nodeName": "node1", "containers": [container]}
    holder = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": spec}
    there = {"kubernetes.io/hostname": "node1"}
    (line,) = said(holder, deployment(1, containers=[container], nodeSelector=there))
    assert line.endswith(
        "1 node(s) didn't match Pod's node affinity/selector; another Pod has its host port there"
    )


def test_a_daemonset_is_not_helped_by_nodes() -> None:
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}]}
    spec = {"nodeName": "node1", "containers": [container]}
    holder = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": spec}
    daemon = {**deployment(containers=[container]), "kind": "DaemonSet"}
    del daemon["spec"]["replicas"]
    (line,) = said(holder, daemon)
    assert line.endswith(
        "1 node(s) didn't match Pod's node affinity/selector; another Pod has its host port there"
    )


@pytest.mark.parametrize("app", ["web", "batch"])
def test_who_is_to_be_apart_from_others_needs_a_node_beside_theirs(app: str) -> None:
    """Two that share a node count once."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    (line,) = said(
        deployment(2, affinity=APART),
        called(deployment(3), "batch"),
        called(deployment(1, affinity=affinity), "asking"),
    )
    assert line.endswith("; 3 nodes are needed: Cluster spec: {nodes: 3}")


def called(workload: dict[str, Any], name: str) -> dict[str, Any]:
    """The Deployment under another name, with Pods of its own."""
    labels = {"app": name}
    template = {**workload["spec"]["template"], "metadata": {"labels": labels}}
    spec = {**workload["spec"], "selector": {"matchLabels": labels}, "template": template}
    return {**workload, "metadata": {"name": name}, "spec": spec}
