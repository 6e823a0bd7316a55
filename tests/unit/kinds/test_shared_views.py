"""What Pods of one template share is looked at once, and is still each Pod's own where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.core import podspec
from emulab.kinds.core.podspec import STAND_INS, PodSpec
from emulab.model.objects import Object

TEMPLATE: Mapping[str, Any] = {
    "containers": [
        {"name": "a", "image": "example/a", "command": ["sleep", "9"]},
        {"name": "b", "image": "example/b", "command": ["true"]},
    ]
}


def pod(name: str, spec: Mapping[str, Any], stand_ins: str = "") -> Object:
    metadata = {"name": name, "namespace": "default", "annotations": {STAND_INS: stand_ins}}
    return Object({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def commands(one: Object) -> list[tuple[str, ...]]:
    return [container.command for container in PodSpec.of_pod(one).containers]


def test_pods_of_one_template_have_one_view_of_its_containers() -> None:
    first, second = (PodSpec.of_pod(pod(name, {**TEMPLATE, "nodeName": name})) for name in ("node1", "node2"))
    assert all(one is other for one, other in zip(first.containers, second.containers, strict=True))
    assert (first.node_name, second.node_name) == ("node1", "node2")


def test_what_stands_in_is_each_pods_own() -> None:
    assert commands(pod("x", TEMPLATE, "b")) == [("sleep", "9"), ()]
    assert commands(pod("y", TEMPLATE)) == [("sleep", "9"), ("true",)]
    assert commands(pod("z", TEMPLATE, "a,b")) == [(), ()]


def test_the_pods_security_is_each_pods_own() -> None:
    users = [
        PodSpec.of_pod(pod("x", {**TEMPLATE, "securityContext": {"runAsUser": user}})).containers[0].security
        for user in (1, 2)
    ]
    assert [security.user for security in users] == [1, 2]


def test_views_of_what_has_gone_are_not_taken_for_those_of_what_came_to_its_place() -> None:
    for number in range(3 * podspec._MOST_VIEWS):
        spec = {"containers": [{"name": "a", "image": "example/a", "command": [str(number)]}]}
        assert commands(pod("x", spec)) == [(str(number),)]
        del spec


def test_a_pods_view_is_kept_until_something_else_is_found_out_of_it() -> None:
    spec = {**TEMPLATE, "nodeName": "node1"}
    view = PodSpec.of_pod(pod("x", spec))
    ready = pod("x", spec).replace(status={"phase": "Running"})
    assert PodSpec.of_pod(ready) is view
    assert commands(pod("x", spec, "a")) == [(), ("true",)]
    assert commands(pod("x", spec)) == [("sleep", "9"), ("true",)]


def test_views_of_pods_that_have_gone_are_forgotten() -> None:
    for number in range(podspec._MOST_PODS + 10):
        PodSpec.of_pod(pod("x", {"nodeName": str(number), "containers": []}))
    assert len(podspec._pods) <= podspec._MOST_PODS
