"""What `describe` says of each kind."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.cli.kinds import find
from emulab.cli.output.description import describe
from emulab.kinds.core.containers import probe_text
from emulab.kinds.core.servicetext import endpoints

SLICE = {
    "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
    "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}],
    "endpoints": [
        {"addresses": ["10.244.1.2"], "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": False}},
    ],
}


def test_endpoints_are_the_ready_ones_of_the_port() -> None:
    assert endpoints("web", {"name": "http", "port": 80}, [SLICE]) == "10.244.1.2:8080"
    assert endpoints("web", {"name": "other", "port": 80}, [SLICE]) == "<none>"
    assert endpoints("other", None, [SLICE]) == "<none>"


def test_a_service_names_its_endpoints() -> None:
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}
    text = describe(find("Service"), {"kind": "Service", "metadata": {"name": "web"}, "spec": spec}, [SLICE])
    assert "TargetPort:               web/TCP" in text
    assert "Endpoints:                10.244.1.2:8080" in text


def test_an_ingress_names_its_backends() -> None:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    text = describe(
        find("Ingress"), {"kind": "Ingress", "metadata": {"name": "x"}, "spec": {"rules": rules}}, [SLICE]
    )
    assert "  a.b:  / (Prefix)  web:80 (10.244.1.2:8080,10.244.1.2:9090)" in text


def test_an_ingress_names_the_older_one_by_which_a_host_has_its_certificate() -> None:
    def secured(name: str, created: str, class_name: str = "nginx") -> dict[str, Any]:
        backend = {"service": {"name": "web", "port": {"number": 80}}}
        paths = [{"path": f"/{name}", "pathType": "Prefix", "backend": backend}]
        spec = {"ingressClassName": class_name, "tls": [{"hosts": ["a.b"], "secretName": "gone"}]}
        metadata = {"name": name, "namespace": "shop", "creationTimestamp": created}
        rules = [{"host": "a.b", "http": {"paths": paths}}]
        return {"kind": "Ingress", "metadata": metadata, "spec": {**spec, "rules": rules}}

    old, young = secured("old", "2026-01-01T00:00:00Z"), secured("young", "2026-01-02T00:00:00Z")
    others = secured("others", "2025-01-01T00:00:00Z", "theirs")
    for one, what in ((young, "  a.b:  that of Ingress shop/old, which is older"), (old, "the default one")):
        assert what in describe(find("Ingress"), one, [old, young, others])


def test_a_pod_shows_its_containers_but_a_secret_no_values() -> None:
    container = {"name": "c", "command": ["sleep", "9"], "env": [{"name": "A", "value": "b"}]}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    statuses = [{"name": "c", "state": state, "restartCount": 3}]
    pod = {
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [container]},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }
    text = describe(find("pod"), pod, [])
    assert "Status:          CrashLoopBackOff" in text
    assert "A: b" in text
    secret = {"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"key": "hidden"}}
    text = describe(find("secret"), secret, [])
    assert "hidden" not in text and "key: 6 bytes" in text
    stored = {"kind": "Secret", "metadata": {"name": "x"}, "data": {"key": "aGlkZGVu"}}
    assert "key: 6 bytes" in describe(find("secret"), stored, [])


@pytest.mark.parametrize(
    ("probe", "start"),
    [
        ({"httpGet": {"path": "/h", "port": 80}}, "http-get http://:80/h delay=0s timeout=1s period=10s"),
        ({"tcpSocket": {"port": "db"}, "periodSeconds": 3}, "tcp-socket :db delay=0s timeout=1s period=3s"),
        ({"exec": {"command": ["true"]}}, "exec ['true']"),
    ],
)
def test_probes(probe: dict[str, Any], start: str) -> None:
    assert probe_text(probe).startswith(start)


@pytest.mark.parametrize(
    "kind", ["Pod", "Service", "Ingress", "EndpointSlice", "Deployment", "Node", "Zone", "ConfigMap"]
)
def test_a_bare_object_can_be_described(kind: str) -> None:
    assert describe(find(kind), {"kind": kind, "metadata": {"name": "x"}, "spec": {}}, []).startswith("Name:")


def test_a_node_says_what_its_pods_ask_for() -> None:
    def pod(
        name: str, phase: str = "Running", node: str = "n1", **resources: dict[str, str]
    ) -> dict[str, Any]:
        spec = {"nodeName": node, "containers": [{"name": "c", "resources": resources}]}
        return {"metadata": {"name": name, "namespace": "d"}, "spec": spec, "status": {"phase": phase}}

    half = {"cpu": "500m", "memory": "1Gi"}
    pods = [
        pod("a", requests=half),
        pod("b", limits={"cpu": "3", "x.com/gpu": "1"}),
        pod("gone", "Succeeded", requests=half),
        pod("elsewhere", node="n2", requests=half),
    ]
    room = {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "1Gi", "pods": "110", "x.com/gpu": "2"}
    node = {"kind": "Node", "metadata": {"name": "n1"}, "status": {"allocatable": room, "capacity": room}}
    text = describe(find("node"), node, pods)
    assert text[text.index("Non-terminated") : text.index("Events")].splitlines() == [
        "Non-terminated Pods:  (2 in total)",
        "  Namespace  Name  CPU Requests  CPU Limits  Memory Requests  Memory Limits",
        "  ---------  ----  ------------  ----------  ---------------  -------------",
        "  d          a     500m (25%)    0 (0%)      1Gi (25%)        0 (0%)",
        "  d          b     3 (150%)      3 (150%)    0 (0%)           0 (0%)",
        "Allocated resources:",
        "  (Total limits may be over 100 percent, i.e., overcommitted.)",
        "  Resource           Requests      Limits",
        "  --------           --------      ------",
        "  cpu                3500m (175%)  3 (150%)",
        "  memory             1Gi (25%)     0 (0%)",
        "  ephemeral-storage  0 (0%)        0 (0%)",
        "  x.com/gpu          1             1",
    ]


def test_a_pod_shows_its_resources_and_its_class() -> None:
    given = {"limits": {"memory": "64Mi", "cpu": 2}, "requests": {"cpu": "100m"}}
    pod = {
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [{"name": "c", "resources": given}]},
        "status": {"phase": "Running", "qosClass": "Burstable"},
    }
    lines = describe(find("pod"), pod, []).splitlines()
    at = next(n for n, line in enumerate(lines) if "Limits:" in line)
    assert [line.split() for line in lines[at : at + 4]] == [
        ["Limits:", "cpu:", "2"],
        ["memory:", "64Mi"],
        ["Requests:", "cpu:", "100m"],
        ["memory:", "64Mi"],
    ]
    assert "QoS Class:       Burstable" in lines
