"""`emulab top`, as kubectl prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from emulab.cli import main
from emulab.cli.verbs import top


def pod(name: str, namespace: str = "default", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
    }


def metrics(name: str, *used: tuple[str, str], namespace: str = "default") -> dict[str, Any]:
    containers = [
        {"name": f"c{n}", "usage": {"cpu": cpu, "memory": memory}} for n, (cpu, memory) in enumerate(used)
    ]
    return {
        "kind": "PodMetrics",
        "metadata": {"name": name, "namespace": namespace},
        "containers": containers,
    }


PODS = [pod("api", app="api"), pod("web", app="web"), pod("new"), pod("dns", "kube-system")]
USED = {
    "pods": [
        metrics("web", ("1500000n", "10240Ki"), ("100m", "1Gi")),
        metrics("api", ("2", "5Mi")),
        metrics("dns", ("0n", "0Ki"), namespace="kube-system"),
    ],
    "nodes": [{"kind": "NodeMetrics", "metadata": {"name": "n1"}, "usage": {"cpu": "500m", "memory": "1Gi"}}],
}
NODES = [
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"allocatable": {"cpu": "4", "memory": "3Gi"}},
    }
]


class FakeLab:
    """Answers as a lab with these pods does."""

    def request(self, operation: str, **asked: Any) -> Any:
        if operation == "usage":
            return USED
        there = PODS if asked["kind"] == "Pod" else NODES
        namespace, name = asked["namespace"], asked["name"]
        there = [o for o in there if not namespace or o["metadata"].get("namespace") == namespace]
        return [o for o in there if not name or o["metadata"]["name"] == name]


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected(_: str) -> Iterator[FakeLab]:
        yield FakeLab()

    monkeypatch.setattr(top, "connect", connected)


def printed(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[str]:
    assert main(["top", *words]) == status
    out, err = capsys.readouterr()
    return (out or err).splitlines()


def test_pods_have_the_sum_of_their_containers(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "pods") == [
        "NAME   CPU(cores)   MEMORY(bytes)",
        "api    2000m        5Mi",
        "web    102m         1034Mi",
    ]
    assert printed(capsys, "po", "--sort-by", "memory", "--no-headers", "--sum") == [
        "web    102m         1034Mi",
        "api    2000m        5Mi",
        "       ________     ________",
        "       2102m        1039Mi",
    ]


def test_containers_and_namespaces(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "pod", "--containers", "-A") == [
        "NAMESPACE     POD   NAME   CPU(cores)   MEMORY(bytes)",
        "default       api   c0     2000m        5Mi",
        "default       web   c0     2m           10Mi",
        "default       web   c1     100m         1024Mi",
        "kube-system   dns   c0     0m           0Mi",
    ]


def test_nodes_say_which_part_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "nodes") == [
        "NAME   CPU(cores)   CPU(%)   MEMORY(bytes)   MEMORY(%)",
        "n1     500m         12%      1024Mi          33%",
    ]


def test_what_is_not_there_or_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "pod", "x", status=1) == ['Error from server (NotFound): pods "x" not found']
    assert printed(capsys, "pod", "new", status=1) == ["error: Metrics not available for pod default/new"]
    assert printed(capsys, "pods", "-n", "none") == ["No resources found in none namespace."]
    assert printed(capsys, "services", status=2) == ["emulab: top measures pods and nodes, not services"]
    assert printed(capsys, "pods", "a", "b", status=2) == ["emulab: top takes one name, not a b"]


def test_labels_choose_and_json_is_metrics_servers(capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = printed(capsys, "pods", "-l", "app=web", "-o", "json")
    told = json.loads(text)
    assert (told["kind"], told["apiVersion"]) == ("PodMetricsList", "metrics.k8s.io/v1beta1")
    assert [item["metadata"]["name"] for item in told["items"]] == ["web"]
