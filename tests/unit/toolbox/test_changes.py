"""What is different between an object and what it was."""

from __future__ import annotations

from typing import Any

from emulab.toolbox.changes import endpoint_changes, endpoints_of, field_changes


def slice_of(*endpoints: dict[str, Any], ports: tuple[int, ...] = (8080,)) -> dict[str, Any]:
    return {"endpoints": list(endpoints), "ports": [{"port": port} for port in ports]}


def endpoint(address: str, pod: str = "web-0", **conditions: bool) -> dict[str, Any]:
    target = {"kind": "Pod", "name": pod}
    return {"addresses": [address], "conditions": conditions, "nodeName": "node1", "targetRef": target}


def test_endpoints_come_go_and_change() -> None:
    before = endpoints_of([slice_of(endpoint("10.244.1.2", ready=True), endpoint("fd00::2", ready=False))])
    now = endpoints_of(
        [
            slice_of(endpoint("10.244.1.2", ready=False, serving=True, terminating=True)),
            slice_of(endpoint("10.244.1.9", "web-1", ready=True)),
        ]
    )
    assert list(endpoint_changes(before, now)) == [
        "- [fd00::2]:8080 (pod web-0, node1), was not ready",
        "+ 10.244.1.9:8080 (pod web-1, node1), ready",
        "~ 10.244.1.2:8080 (pod web-0, node1), ready → ending, still serving",
    ]
    assert list(endpoint_changes(now, now)) == []
    taken = endpoints_of([slice_of(endpoint("10.244.1.9", "web-2", ready=True))])
    assert "~ 10.244.1.9:8080 is pod web-2, node1 now, was pod web-1, node1" in endpoint_changes(now, taken)


def test_endpoints_of_several_ports_and_of_none() -> None:
    assert list(endpoints_of([slice_of(endpoint("10.0.0.1"), ports=(80, 443))])) == [
        "10.0.0.1:80",
        "10.0.0.1:443",
    ]
    assert list(endpoints_of([slice_of(endpoint("10.0.0.1"), ports=())])) == ["10.0.0.1"]


def test_fields() -> None:
    before = {
        "metadata": {"resourceVersion": "1", "labels": {"a": "b"}},
        "spec": {"replicas": 2},
        "status": {
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "x", "message": "m"}]
        },
    }
    now = {
        "metadata": {"resourceVersion": "2"},
        "spec": {"replicas": 3, "paused": True},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "y", "message": "n"},
                {"type": "New", "status": "True"},
            ]
        },
    }
    assert list(field_changes(before, now)) == [
        "metadata.labels gone",
        "spec.replicas 2 → 3",
        "spec.paused none → true",
        "status.conditions[Ready].status False → True",
        "status.conditions[New].type none → New",
        "status.conditions[New].status none → True",
    ]
    assert list(field_changes({"a": ["x"]}, {"a": ["x", "y"]})) == ["a ['x'] → ['x', 'y']"]


def test_words_of_users_are_told_whatever_they_are() -> None:
    before = {"metadata": {"labels": {"generation": "1"}}, "data": {"message": "a", "idleTime": "1"}}
    now = {"metadata": {"labels": {"generation": "2"}}, "data": {"message": "b", "idleTime": "2"}}
    assert list(field_changes(before, now)) == [
        "metadata.labels.generation 1 → 2",
        "data.message a → b",
        "data.idleTime 1 → 2",
    ]


def test_items_that_share_a_name_are_all_told() -> None:
    def ports(host_port: int) -> list[dict[str, Any]]:
        return [{"containerPort": 53, "hostPort": host_port, "protocol": "UDP"}, {"containerPort": 53}]

    [change] = field_changes({"ports": ports(1)}, {"ports": ports(2)})
    assert change.startswith("ports [")
