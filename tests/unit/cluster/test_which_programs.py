"""Which containers run their command: what is decided of Pods before they get an address, and what is warned of."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import POD, WORKLOAD, accepted, described, patched

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.programs import missing, stand_ins
from emulab.kinds.core.podspec import STAND_INS, Container, PodSpec
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


def mounts_of(container: Container) -> str:
    """A machine that has nothing, and says which volumes it would look into."""
    return "+".join(mount.volume for mount in container.mounts) or "nothing"


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
    ("begins", "looked"),
    [
        ([], "scripts+keys"),
        ([{"command": ["sleep", "1"]}], "scripts+keys+shared"),  # it runs, and may write there
        ([{"command": ["/prepare"]}], "scripts+keys"),  # which isn't run
        ([{}], "scripts+keys"),
    ],
)
def test_files_of_volumes_are_there_where_somebody_writes_them(
    begins: list[dict[str, Any]], looked: str
) -> None:
    mounted = {"name": "first", "volumeMounts": [{"name": "shared", "mountPath": "/s"}]}
    spec = with_volumes(["/shared/tool"], *({**mounted, **one} for one in begins))
    words = missing({}, spec, Cluster(), lambda c: sleeps(c) and mounts_of(c))
    assert words["c"] == looked


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
