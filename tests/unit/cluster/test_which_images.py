"""Which containers run an image: what is written into a Pod before it gets an address, and how it is read."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import POD, accepted, described, patched

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.programs import ImageProgram, stand_ins
from emulab.kinds.core.podspec import IMAGES, STAND_INS, UNKNOWN, Container, PodImage, PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import DNS_IMAGE
from emulab.model.collection import Objects, Put
from emulab.model.objects import Object

WEB = ImageProgram("sha256:1", ("/entry", "$HOME"), ("serve",))


def loaded(image: str) -> ImageProgram | None:
    """A user who has loaded `web` alone."""
    return WEB if image == "web" else None


def lacks_all(container: Container) -> str:
    return container.command[0]


def decided(containers: list[dict[str, Any]], program: str = "", **cluster: Any) -> PodSpec:
    metadata = {"name": "p", "annotations": {"emulab.dev/program": program} if program else {}}
    spec = {"containers": [{"name": f"c{n}", **c} for n, c in enumerate(containers)]}
    pod = Object({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    for change in stand_ins(Objects([pod]), Cluster(**cluster), lacks_all, loaded):
        assert isinstance(change, Put)
        pod = change.object
    assert stand_ins(Objects([pod]), Cluster(**cluster), lacks_all, lambda _: None) == [] or not (
        {IMAGES, STAND_INS} & set(pod.annotations)
    )
    return PodSpec.of_pod(pod)


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ({}, ("/entry", "$$HOME", "serve")),
        ({"args": ["-v", "$(A)"]}, ("/entry", "$$HOME", "-v", "$(A)")),
        ({"command": ["/other"]}, ("/other",)),
        ({"command": ["/other"], "args": ["x"]}, ("/other", "x")),
    ],
)
def test_command_and_args_take_the_place_of_entrypoint_and_cmd(
    asked: dict[str, Any], command: tuple[str, ...]
) -> None:
    (container,) = decided([{"image": "web", **asked}]).containers
    assert (container.command, container.image_id) == (command, "sha256:1")


def test_others_are_as_they_were() -> None:
    web, program, plain = decided(
        [{"image": "web"}, {"image": "x", "command": ["/no"]}, {"image": "y"}]
    ).containers
    assert (web.image_id, program.image_id, plain.image_id) == ("sha256:1", None, None)
    assert program.command == plain.command == ()


@pytest.mark.parametrize(
    ("program", "cluster", "id"),
    [
        ("", {}, "sha256:1"),
        ("required", {}, "sha256:1"),
        ("standin", {}, None),
        ("", {"programs": "standin"}, None),
        ("required", {"programs": "standin"}, "sha256:1"),
    ],
)
def test_who_asks_for_stand_ins_gets_them(program: str, cluster: dict[str, Any], id: str | None) -> None:
    (container,) = decided([{"image": "web"}], program, **cluster).containers
    assert container.image_id == id and bool(container.command) == (id is not None)


def test_where_missing_images_fail_containers_wait() -> None:
    fail = {"missing_images": "fail"}
    web, plain, own = decided(
        [{"image": "web"}, {"image": "x"}, {"image": "y", "command": ["/no"]}], **fail
    ).containers
    assert [c.image_id for c in (web, plain, own)] == ["sha256:1", "", ""]
    assert plain.command == (UNKNOWN,) and own.command == ("/no",)
    (server,) = decided([{"image": DNS_IMAGE}], **fail).containers
    assert server.image_id is None and server.command == ()
    (run,) = decided([{"image": "x", "command": ["/no"]}], "required", **fail).containers
    assert run.image_id is None and run.command == ("/no",)


def test_an_image_without_a_program_is_none() -> None:
    empty = PodImage("sha256:2", ())
    assert empty.command({"name": "c"}) == (UNKNOWN,)
    assert empty.command({"name": "c", "args": ["x"]}) == ("x",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"c": 1}',
        '{"c": ["a"]}',
        '{"c": {}}',
        "null",
        '{"c": [1, 2, 3]}',
        '{"c": ["", [1]]}',
        '{"c": [1, []]}',
        "[" * 9999,
    ],
)
def test_an_annotation_that_is_not_ours_says_nothing(text: str) -> None:
    assert PodImage.all_of({IMAGES: text}) == {}


def test_of_a_loaded_image_nothing_is_missing() -> None:
    odd = patched(POD, "containers.0", {"name": "c", "image": "web", "command": ["/no/such"]})
    given = accepted(described("Pod", odd))
    assert [line for line in warnings(given, None, lacks_all) if "isn't on this host" in line]
    assert not [line for line in warnings(given, None, lacks_all, loaded) if "isn't on this host" in line]


def test_a_configuration_that_a_stand_in_does_not_read_is_warned_of() -> None:
    mounts = [
        {"name": "html", "mountPath": "/usr/share/nginx/html"},
        {"name": "conf", "mountPath": "/etc/nginx/conf.d"},
    ]
    spec = {
        "containers": [{"name": "c", "image": "nginx:1.27", "volumeMounts": mounts}],
        "volumes": [{"name": "html", "emptyDir": {}}, {"name": "conf", "emptyDir": {}}],
    }
    given = accepted(described("Pod", spec))
    assert [line.partition("Pod/web ")[2] for line in warnings(given, None, lacks_all)] == [
        "spec.containers[0].volumeMounts[1].mountPath: isn't read: a stand-in answers in place of nginx:1.27 as it is"
        " configured there"
    ]
    assert not warnings(given, None, lacks_all, lambda _: ImageProgram("sha256:1", ("nginx",), ()))
