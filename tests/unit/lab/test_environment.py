"""What a container is told, and what it says when that isn't there."""

from __future__ import annotations

from typing import Any

import pytest
from lab_objects import obj, pod

from emulab.kinds.core.podspec import Container
from emulab.kinds.registry import SECRET
from emulab.lab.kubelet.environment.configs import ConfigError
from emulab.lab.kubelet.environment.downward import listed, resource_value
from emulab.lab.kubelet.environment.machine import allocatable
from emulab.lab.kubelet.environment.variables import Sources, asks_for_configs, environment

OBJECTS = {
    o.key: o
    for o in (
        obj("ConfigMap", "m", data={"a": "1", "b.c": "2"}, binaryData={"d": "AAE="}),
        obj("Secret", "s", data={"k": "aGk="}, stringData={"a": "secret"}),
    )
}


def told(*sources: dict[str, Any], env: Any = ()) -> dict[str, str]:
    container = Container.of({"name": "c", "envFrom": list(sources), "env": list(env)})
    return environment(container, Sources("default", OBJECTS.get, {"metadata.name": "p"}, lambda _: "7"))


def test_whole_config_maps_and_secrets() -> None:
    config, secret = {"configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}
    assert told(config) == {"a": "1", "b.c": "2"}, "names of any letters are variables (KEP-4369)"
    assert told(config, secret) == {"a": "secret", "b.c": "2", "k": "hi"}, "the last one counts"
    assert told({**config, "prefix": "P_"}) == {"P_a": "1", "P_b.c": "2"}
    own = [{"name": "a", "value": "mine $(k)"}, {"name": "r", "valueFrom": {"resourceFieldRef": {}}}]
    assert told(secret, env=own) == {"a": "mine hi", "k": "hi", "r": "7"}
    assert told({"configMapRef": {"name": "none", "optional": True}}) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'configmap "none" not found'),
        ({"envFrom": [{"secretRef": {"name": "none"}}]}, 'secret "none" not found'),
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"configMapKeyRef": {"name": "m", "key": "k"}}, "couldn't find key k in ConfigMap default/m"),
        ({"configMapKeyRef": {"name": "m", "key": "d"}}, "couldn't find key d in ConfigMap default/m"),
        ({"secretKeyRef": {"name": "s", "key": "z"}}, "couldn't find key z in Secret default/s"),
    ],
)
def test_what_isnt_there(given: dict[str, Any], message: str) -> None:
    whole = given if "envFrom" in given else {"env": [{"name": "A", "valueFrom": given}]}
    container = Container.of({"name": "c", **whole})
    assert asks_for_configs(container)
    with pytest.raises(ConfigError) as raised:
        environment(container, Sources("default", OBJECTS.get, {}))
    assert str(raised.value) == message
    if "envFrom" not in given:
        (kind, reference), *_ = given.items()
        assert told(env=[{"name": "A", "valueFrom": {kind: {**reference, "optional": True}}}]) == {}


def test_a_stand_in_may_do_without_what_nobody_makes_here() -> None:
    refs = [{"secretKeyRef": {"name": "none", "key": "k"}}, {"secretKeyRef": {"name": "s", "key": "z"}}]
    env = [{"name": f"E{i}", "valueFrom": ref} for i, ref in enumerate(refs)]
    container = Container.of({"name": "c", "env": [*env, {"name": "A", "value": "1"}]})
    spared = Sources(
        "default", OBJECTS.get, {}, spared=lambda kind, name: kind == SECRET and name in ("none", "s")
    )
    assert environment(container, spared) == {"A": "1"}


def test_who_asks_for_nothing_waits_for_nothing() -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    assert not asks_for_configs(Container.of({"name": "c", "env": env}))


ASKING = pod(
    spec={
        "containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}},
            {"name": "b", "resources": {"limits": {"memory": "1G"}}},
        ]
    }
)


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "requests.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "requests.memory"}, str(64 << 20)),
        ({"resource": "requests.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.memory", "divisor": "1Gi"}, "1"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "1024"),
        ({"resource": "limits.memory", "containerName": "b", "divisor": "0"}, "1000000000"),
        ({"resource": "requests.cpu", "containerName": "b"}, "0"),
        ({"resource": "limits.cpu", "containerName": "b"}, "4"),
        ({"resource": "limits.hugepages-2Mi"}, "0"),
    ],
)
def test_resources(selector: dict[str, Any], value: str) -> None:
    assert resource_value(selector, ASKING, "a", {"cpu": "4", "memory": "1Gi"}) == value


def test_what_a_node_has_where_it_says_nothing() -> None:
    node = obj("Node", "n", "", status={"allocatable": {"cpu": "3", "pods": "110"}})
    found = allocatable({node.key: node}.get, "n")
    assert (found["cpu"], found["pods"]) == ("3", "110") and int(found["memory"]) > 1 << 20


def test_labels_in_a_file() -> None:
    assert listed({}) == ""
    assert listed({"b": "ä\t\x01", "a": 'say "\\"'}) == 'a="say \\"\\\\\\""\nb="ä\\t\\x01"'
