"""Which containers run their command: what is decided of Pods before they get an address, and what is warned of."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import POD, WORKLOAD, accepted, described, patched

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.programs import ImageProgram, missing, stand_ins
from emulab.kinds.core.podspec import IMAGES, STAND_INS, Container, PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects, Put
from emulab.model.objects import Object

MIXED = {
    "initContainers": [{"name": "prep", "command": ["/prepare"]}],
    "containers": [
        {"name": "web", "image": "web:1", "command": ["/server"], "ports": [{"containerPort": 8080}]},
        {"name": "side", "command": ["sleep", "1"]},
        {"name": "plain", "image": "x"},
    ],
}


def sleeps(container: Container) -> str:
    """A machine that has `sleep` alone."""
    return "" if container.command[0] == "sleep" else container.command[0]


def decided(spec: dict[str, Any], annotation: str = "", program: str = "auto", **more: Any) -> str | None:
    """What is written into a Pod."""
    metadata = {"name": "p", "annotations": {"emulab.dev/program": annotation} if annotation else {}}
    pod = Object({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, **more})
    changes = stand_ins(Objects([pod]), Cluster(programs=program), sleeps)
    if not changes:
        return None
    (change,) = changes
    assert isinstance(change, Put)
    return change.object.annotations[STAND_INS]


@pytest.mark.parametrize(
    ("annotation", "program", "names"),
    [
        ("", "auto", "prep,web"),
        ("required", "auto", None),
        ("standin", "auto", "prep,web,side"),
        ("", "required", None),
        ("", "standin", "prep,web,side"),
        ("required", "standin", None),
        ("standin", "required", "prep,web,side"),
    ],
)
def test_the_annotation_outranks_the_cluster(annotation: str, program: str, names: str | None) -> None:
    assert decided(MIXED, annotation, program) == names


def test_it_is_decided_once_and_before_there_is_an_address() -> None:
    assert decided(MIXED, status={"podIPs": [{"ip": "10.244.1.2"}]}) is None
    annotated = {"name": "p", "annotations": {STAND_INS: "web"}}
    assert decided(MIXED, metadata=annotated) is None


def with_volume(source: dict[str, Any], *inits: dict[str, Any]) -> dict[str, Any]:
    """A Pod whose container runs what is in a volume."""
    mount = [{"name": "v", "mountPath": "/v"}]
    return {
        "initContainers": [{"volumeMounts": mount, **c} for c in inits],
        "containers": [{"name": "main", "image": "busybox", "command": ["/v/run"], "volumeMounts": mount}],
        "volumes": [{"name": "v", **source}],
    }


SLEEPS, PREPARES = {"name": "i", "command": ["sleep", "1"]}, {"name": "i", "command": ["/prepare"]}
READS = {**SLEEPS, "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}]}


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (with_volume({"configMap": {"name": "m"}}), None),
        (with_volume({"persistentVolumeClaim": {"claimName": "c"}}), None),
        (with_volume({"hostPath": {"path": "/opt"}}), "main"),
        (with_volume({"emptyDir": {}}), "main"),
        (with_volume({}, SLEEPS), None),
        (with_volume({"emptyDir": {}}, SLEEPS), None),
        (with_volume({"emptyDir": {}}, READS), "main"),
        (with_volume({"emptyDir": {}}, PREPARES), "i,main"),
        (with_volume({"emptyDir": {}}, {"name": "i", "image": "web"}), "main"),
        (with_volume({"emptyDir": {}}, SLEEPS, {"name": "j", "command": ["/v/first"]}), None),
    ],
)
def test_a_volume_holds_what_somebody_puts_there(spec: dict[str, Any], names: str | None) -> None:
    def lacks(container: Container) -> str:
        mounted = any(container.command[0].startswith(mount.path) for mount in container.mounts)
        return "" if mounted or container.command[0] == "sleep" else container.command[0]

    pod = Object({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    changes = stand_ins(Objects([pod]), Cluster(), lacks)
    assert (changes[0].object.annotations[STAND_INS] if changes else None) == names  # type: ignore[union-attr]


def test_an_image_that_runs_fills_a_volume() -> None:
    def lacks(container: Container) -> str:
        return "" if container.mounts else container.command[0]

    web = ImageProgram("sha256:1", ("/entry",), ())
    spec = with_volume({"emptyDir": {}}, {"name": "i", "image": "web"})
    pod = Object({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    (change,) = stand_ins(Objects([pod]), Cluster(), lacks, lambda image: web if image == "web" else None)
    assert isinstance(change, Put) and STAND_INS not in change.object.annotations


def test_of_a_container_whose_image_was_changed_it_is_decided_anew() -> None:
    """What the kubelet tells of is the image that it runs; of the others nothing is asked again."""
    web = ImageProgram("sha256:1", ("/entry",), ())
    spec = {
        "initContainers": [{"name": "prep", "image": "b", "command": ["/prepare"]}],
        "containers": [
            {"name": "one", "image": "web"},
            {"name": "two", "image": "docker.io/library/x:latest"},
        ],
    }
    told = {"podIPs": [{"ip": "10.244.1.2"}], "initContainerStatuses": [{"name": "prep", "image": "b"}]}

    def now(annotations: dict[str, str], *images: str) -> dict[str, str] | None:
        statuses = [
            {"name": name, "image": image} for name, image in zip(("one", "two"), images, strict=True)
        ]
        raw = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "annotations": annotations},
            "spec": spec,
        }
        pod = Object({**raw, "status": {**told, "containerStatuses": statuses}})
        changes = stand_ins(Objects([pod]), Cluster(), sleeps, lambda image: web if image == "web" else None)
        return dict(changes[0].object.annotations) if changes and isinstance(changes[0], Put) else None

    images = '{"one":["sha256:1",["/entry"]]}'
    assert now({STAND_INS: "prep,one", "a": "b"}, "y", "x") == {STAND_INS: "prep", IMAGES: images, "a": "b"}
    assert now({STAND_INS: "prep", IMAGES: images}, "y", "x") is None, "it is decided already"
    assert now({STAND_INS: "prep"}, "docker.io/library/web:latest", "x") is None, "nothing was changed"
    gone = now({IMAGES: '{"two":["sha256:2",[]]}'}, "web", "other")
    assert gone == {}


def test_who_stands_in_has_no_command() -> None:
    metadata = {"name": "p", "annotations": {STAND_INS: "prep,web"}}
    pod = Object({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": MIXED})
    view = PodSpec.of_pod(pod)
    assert [c.command for c in (*view.init_containers, *view.containers)] == [(), (), ("sleep", "1"), ()]


@pytest.mark.parametrize(
    ("image", "runs"),
    [
        ("busybox", True),
        ("registry.k8s.io/busybox:1.28", True),
        ("localhost:5000/alpine@sha256:00", True),
        ("docker.io/library/ubuntu:24.04", True),
        ("example/web:1", False),
        ("my-busybox", False),
        ("", False),
    ],
)
def test_args_are_the_program_of_an_image_without_one(image: str, runs: bool) -> None:
    args = ["/bin/sh", "-c", "true"]
    assert Container.of({"name": "c", "image": image, "args": args}).command == (tuple(args) if runs else ())
    with_command = Container.of({"name": "c", "image": image, "command": ["a"], "args": ["b"]})
    assert with_command.command == ("a", "b")


def test_what_isnt_run_is_warned_of_at_its_place() -> None:
    (deployment,) = accepted(described("Deployment", patched(WORKLOAD, "template.spec", MIXED)))
    at = "shop.yaml:1: Deployment/web spec.template.spec"
    assert warnings([deployment], None, sleeps) == [
        f"{at}.initContainers[0].command: /prepare isn't on this host; the init container does nothing and ends well",
        f"{at}.containers[0].command: /server isn't on this host; a stand-in answers on 8080",
    ]


@pytest.mark.parametrize(("value", "warned"), [("required", []), ("standin", []), ("maybe", ["maybe"])])
def test_who_says_what_to_do_isnt_warned(value: str, warned: list[str]) -> None:
    raw = described("Pod", POD)
    raw["metadata"]["annotations"] = {"emulab.dev/program": value}
    expected = [
        f'shop.yaml:1: Pod/web metadata.annotations[emulab.dev/program]: "{w}" is neither required, standin nor'
        " echo, and not heeded"
        for w in warned
    ]
    assert warnings(accepted(raw), None, sleeps) == expected


def test_an_annotation_of_the_workload_itself_is_warned_of() -> None:
    raw = described("Deployment", WORKLOAD)
    raw["metadata"]["annotations"] = {"emulab.dev/program": "standin"}
    assert [line.partition("]: ")[2] for line in warnings(accepted(raw))] == [
        "is heeded in spec.template.metadata alone"
    ]


def with_volumes(command: list[str], *begin: dict[str, Any]) -> dict[str, Any]:
    volumes = [
        {"name": "scripts", "configMap": {"name": "scripts"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "shared", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
    ]
    seen = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in volumes]
    container = {"name": "c", "image": "busybox:1", "command": command, "volumeMounts": seen}
    return {"volumes": volumes, "initContainers": list(begin), "containers": [container]}


@pytest.mark.parametrize(
    ("image", "word"),
    [
        ("busybox:1", None),
        ("docker.io/library/python:3.12", None),
        ("bitnami/redis:7", "the image that runs /scripts/run.sh"),
        ("my-python", "the image that runs /scripts/run.sh"),
    ],
)
def test_scripts_of_volumes_run_where_an_image_has_nothing_of_its_own(image: str, word: str | None) -> None:
    """Charts of databases mount scripts that call what the image has."""
    spec = with_volumes(["/scripts/run.sh"])
    spec["containers"][0]["image"] = image

    def lacks(container: Container) -> str:
        return "" if any(mount.path == "/scripts" for mount in container.mounts) else container.command[0]

    assert missing({}, spec, Cluster(), lacks).get("c") == word
    assert not missing({"emulab.dev/program": "required"}, spec, Cluster(), lacks)
