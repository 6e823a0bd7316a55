"""kubectl's columns, from objects as the lab delivers them."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.cli.kinds import find
from emulab.cli.output.columns import rows
from emulab.kinds.ages import age, human
from emulab.kinds.cells import NAME_AND_AGE, selector_text
from emulab.kinds.core.podcells import pod_status
from emulab.kinds.registry import EVENT, KINDS

NOW = 1_000_000_000.0
BORN = "2001-09-09T01:46:35Z"  # five seconds before NOW


def make(kind: str, spec: Any = None, status: Any = None, **more: Any) -> dict[str, Any]:
    metadata = {"name": "x", "creationTimestamp": BORN, **more.pop("metadata", {})}
    return {"kind": kind, "metadata": metadata, "spec": spec or {}, "status": status or {}, **more}


def row(o: dict[str, Any], wide: bool = False) -> dict[str, str]:
    header, lines = rows(find(o["kind"]), [o], NOW, wide)
    return dict(zip(header, lines[0], strict=True))


def running(ready: bool = True, restarts: int = 0) -> dict[str, Any]:
    return {"name": "c", "ready": ready, "restartCount": restarts, "state": {"running": {"startedAt": BORN}}}


def waiting(reason: str, restarts: int = 0) -> dict[str, Any]:
    return {"name": "c", "ready": False, "restartCount": restarts, "state": {"waiting": {"reason": reason}}}


def ended(reason: str = "", code: int = 0, **more: int) -> dict[str, Any]:
    detail = {"exitCode": code, **({"reason": reason} if reason else {}), **more}
    return {"name": "c", "ready": False, "state": {"terminated": detail}}


def pod(phase: str = "Running", *statuses: dict[str, Any], **status: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c"}], "nodeName": "node1"}
    return make("Pod", spec, {"phase": phase, "containerStatuses": list(statuses), **status})


WITH_INIT = {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "j"}]}


@pytest.mark.parametrize(
    ("o", "expected"),
    [
        (pod("Pending"), "Pending"),
        (pod("Running", running()), "Running"),
        (pod("Pending", waiting("ContainerCreating")), "ContainerCreating"),
        (pod("Running", waiting("CrashLoopBackOff", 3)), "CrashLoopBackOff"),
        (pod("Succeeded", ended("Completed")), "Completed"),
        (pod("Failed", ended("Error", 1)), "Error"),
        (pod("Failed", ended("", 3)), "ExitCode:3"),
        (pod("Failed", ended("", 137, signal=9)), "Signal:9"),
        (pod("Pending", reason="FailedCreatePodSandBox"), "FailedCreatePodSandBox"),
        (
            pod("Running", running(), ended("Completed"), conditions=[{"type": "Ready", "status": "True"}]),
            "Running",
        ),
        (pod("Running", ended("Completed"), running()), "NotReady"),
        (
            make(
                "Pod",
                WITH_INIT,
                {"phase": "Pending", "conditions": [{"type": "Initialized", "status": "False"}]},
            ),
            "Init:0/2",
        ),
        (
            make(
                "Pod",
                WITH_INIT,
                {"phase": "Pending", "initContainerStatuses": [ended("Completed"), running()]},
            ),
            "Init:1/2",
        ),
        (
            make("Pod", WITH_INIT, {"phase": "Pending", "initContainerStatuses": [ended("Error", 1)]}),
            "Init:Error",
        ),
        (
            make(
                "Pod", WITH_INIT, {"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")]}
            ),
            "Init:CrashLoopBackOff",
        ),
        (make("Pod", WITH_INIT, {"phase": "Running", "containerStatuses": [running()]}), "Running"),
    ],
)
def test_pod_status(o: dict[str, Any], expected: str) -> None:
    assert pod_status(o) == expected


def test_a_deleted_pod_is_terminating_until_it_has_ended() -> None:
    deleted = {"metadata": {"name": "x", "deletionTimestamp": BORN}}
    assert pod_status({**pod("Running", running()), **deleted}) == "Terminating"
    assert pod_status({**pod("Succeeded", ended("Completed")), **deleted}) == "Completed"


def test_pods() -> None:
    o = pod("Running", running(restarts=2), podIP="10.244.1.2")
    assert row(o) == {"NAME": "x", "READY": "1/1", "STATUS": "Running", "RESTARTS": "2", "AGE": "5s"}
    wide = row(o, wide=True)
    assert (wide["IP"], wide["NODE"], wide["NOMINATED NODE"]) == ("10.244.1.2", "node1", "<none>")
    crashed = {**waiting("CrashLoopBackOff", 4), "lastState": {"terminated": {"finishedAt": BORN}}}
    assert row(pod("Running", crashed))["RESTARTS"] == "4 (5s ago)"
    assert row(pod("Running", crashed))["READY"] == "0/1"


def test_restarts_are_those_of_init_containers_while_these_run() -> None:
    tried = {**waiting("CrashLoopBackOff", 3), "name": "i"}
    status = {
        "phase": "Pending",
        "initContainerStatuses": [tried],
        "containerStatuses": [running(restarts=7)],
    }
    begins = make("Pod", WITH_INIT, {**status, "conditions": [{"type": "Initialized", "status": "False"}]})
    assert (row(begins)["STATUS"], row(begins)["RESTARTS"]) == ("Init:CrashLoopBackOff", "3")
    begun = make("Pod", WITH_INIT, {**status, "conditions": [{"type": "Initialized", "status": "True"}]})
    assert row(begun)["RESTARTS"] == "7"


def test_a_pod_that_gates_hold_is_gated() -> None:
    held = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    assert (
        pod_status(make("Pod", {"containers": []}, {"phase": "Pending", "conditions": [held]}))
        == "SchedulingGated"
    )


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        (
            {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
            {},
            ("ClusterIP", "10.96.0.1", "<none>", "80/TCP"),
        ),
        ({"clusterIP": "None", "ports": []}, {}, ("ClusterIP", "None", "<none>", "<none>")),
        (
            {
                "type": "NodePort",
                "clusterIP": "10.96.0.2",
                "ports": [{"port": 53, "nodePort": 30053, "protocol": "UDP"}],
            },
            {},
            ("NodePort", "10.96.0.2", "<none>", "53:30053/UDP"),
        ),
        (
            {"type": "LoadBalancer", "clusterIP": "10.96.0.3", "ports": [{"port": 80}, {"port": 443}]},
            {"loadBalancer": {"ingress": [{"ip": "203.0.113.20"}]}},
            ("LoadBalancer", "10.96.0.3", "203.0.113.20", "80/TCP,443/TCP"),
        ),
        (
            {"type": "LoadBalancer", "clusterIP": "10.96.0.4"},
            {},
            ("LoadBalancer", "10.96.0.4", "<pending>", "<none>"),
        ),
        ({"type": "ExternalName", "externalName": "a.b"}, {}, ("ExternalName", "<none>", "a.b", "<none>")),
        (
            {"clusterIP": "10.96.0.5", "externalIPs": ["192.0.2.1"]},
            {},
            ("ClusterIP", "10.96.0.5", "192.0.2.1", "<none>"),
        ),
    ],
)
def test_services(spec: Any, status: Any, expected: tuple[str, ...]) -> None:
    got = row(make("Service", spec, status))
    assert (got["TYPE"], got["CLUSTER-IP"], got["EXTERNAL-IP"], got["PORT(S)"]) == expected


TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j:2"}]}}
SELECTOR = {"matchLabels": {"tier": "b", "app": "a"}}


@pytest.mark.parametrize(
    ("o", "expected"),
    [
        (
            make(
                "Deployment",
                {"replicas": 3, "template": TEMPLATE, "selector": SELECTOR},
                {"readyReplicas": 2, "updatedReplicas": 3},
            ),
            ["x", "2/3", "3", "0", "5s", "c,d", "i:1,j:2", "app=a,tier=b"],
        ),
        (
            make("Deployment", {"template": TEMPLATE}),
            ["x", "0/1", "0", "0", "5s", "c,d", "i:1,j:2", "<none>"],
        ),
        (make("ReplicaSet", {"replicas": 0}), ["x", "0", "0", "0", "5s", "", "", "<none>"]),
        (
            make("StatefulSet", {"replicas": 2, "template": TEMPLATE}, {"readyReplicas": 1}),
            ["x", "1/2", "5s", "c,d", "i:1,j:2"],
        ),
        (
            make(
                "DaemonSet",
                {"template": TEMPLATE},
                {"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 1},
            ),
            ["x", "2", "2", "1", "0", "0", "<none>", "5s", "c,d", "i:1,j:2", "<none>"],
        ),
        (
            make(
                "Node",
                {},
                {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": a} for a in ("10.0.0.11", "fd00:10::b")],
                },
            ),
            ["x", "Ready", "<none>", "5s", "<none>", "10.0.0.11", "<none>"],
        ),
        (
            make("Node", {"unschedulable": True}),
            ["x", "Unknown,SchedulingDisabled", "<none>", "5s", "<none>", "<none>", "<none>"],
        ),
        (
            make(
                "Ingress",
                {"ingressClassName": "nginx", "tls": [{}], "rules": [{"host": h} for h in "abcde"]},
                {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}},
            ),
            ["x", "nginx", "a,b,c + 2 more...", "203.0.113.10", "80, 443", "5s"],
        ),
        (make("Ingress", {"rules": [{}]}), ["x", "<none>", "*", "", "80", "5s"]),
        (make("IngressClass", {"controller": "k8s.io/x"}), ["x", "k8s.io/x", "<none>", "5s"]),
        (
            make(
                "EndpointSlice",
                addressType="IPv4",
                ports=[{"port": 80}],
                endpoints=[{"addresses": [f"10.0.0.{n}"]} for n in range(5)],
            ),
            ["x", "IPv4", "80", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...", "5s"],
        ),
        (make("EndpointSlice"), ["x", "IPv4", "<unset>", "<unset>", "5s"]),
        (make("NetworkPolicy", {"podSelector": {}}), ["x", "<none>", "5s"]),
        (make("Namespace"), ["x", "Active", "5s"]),
        (make("ConfigMap", data={"a": "1"}, binaryData={"b": ""}), ["x", "2", "5s"]),
        (
            make("Secret", type="kubernetes.io/tls", data={"a": ""}, stringData={"a": "", "b": ""}),
            ["x", "kubernetes.io/tls", "2", "5s"],
        ),
        (
            make("Cluster", {"nodes": [{}, {}, {}], "network": {"mode": "routed"}}),
            ["x", "3", "routed", "nftables", "5s"],
        ),
        (make("Cluster"), ["x", "2", "vxlan", "nftables", "5s"]),
        (
            make(
                "LoadBalancer",
                {
                    "network": "vpc",
                    "target": {"service": {"name": "db", "port": 5432}},
                    "ports": [5432],
                    "sourceRanges": ["10.0.0.0/8"],
                },
                {"vip": "10.0.0.9", "address": "10.0.0.9"},
            ),
            ["x", "vpc", "10.0.0.9", "5432", "service/default/db:5432", "5s", "10.0.0.0/8", "10.0.0.9"],
        ),
        (make("Client", {}, {"address": "198.51.100.2"}), ["x", "internet", "198.51.100.2", "5s"]),
        (make("Zone", {"records": [{}, {}]}), ["x", "public", "2", "5s"]),
    ],
)
def test_other_kinds(o: dict[str, Any], expected: list[str]) -> None:
    assert rows(find(o["kind"]), [o], NOW, wide=True)[1] == [expected]


def test_every_kind_has_columns_that_fit_even_a_bare_object() -> None:
    for kind in KINDS:
        header, lines = rows(kind, [{"kind": kind.kind, "metadata": {"name": "x"}}], NOW, wide=True)
        assert len(header) == len(lines[0])
        name = header.index("NAME")
        assert lines[0][name] == "x" and (name == 0 or kind == EVENT)
        followed = kind.definition.standing.name in ("followed", "refused")
        assert kind.definition.columns is not NAME_AND_AGE or not followed, "each has its own"


def test_selectors() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    text = selector_text({"matchLabels": {"x": "y"}, "matchExpressions": expressions})
    assert text == "x=y,a in (1,2),b notin (3),c,!d"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600 + 60, "9h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (729 * 86400, "729d"),
        (731 * 86400, "2y1d"),
        (3000 * 86400, "8y"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert human(seconds) == text


def test_an_age_needs_a_time() -> None:
    assert age(None, NOW) == "<unknown>"
    assert age("yesterday", NOW) == "<unknown>"
    assert age(BORN, NOW - 60) == "0s"


def test_events() -> None:
    event = {
        "metadata": {"name": "web.17f", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
        "type": "Normal",
        "reason": "Started",
        "message": "Started container web\n",
        "count": 3,
        "source": {"component": "kubelet", "host": "node1"},
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:15:20Z",
    }
    header, ((*cells,),) = rows(EVENT, [event], 1_700_000_150.0, wide=True)
    assert dict(zip(header, cells, strict=True)) == {
        "LAST SEEN": "30s",
        "TYPE": "Normal",
        "REASON": "Started",
        "OBJECT": "pod/web",
        "MESSAGE": "Started container web",
        "SUBOBJECT": "spec.containers{web}",
        "SOURCE": "kubelet, node1",
        "FIRST SEEN": "2m30s",
        "COUNT": "3",
        "NAME": "web.17f",
    }
