"""`emulab describe`: which objects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab_in_process import connected
from lab_objects import obj

from emulab.cli import main
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import CONFIG_MAP


@pytest.mark.parametrize(
    ("words", "names", "lost"),
    [
        (["cm", "web-1"], ["web-1"], []),  # a whole name comes before the beginnings of others
        (["cm", "web"], ["web-1", "web-10"], []),
        (["cm/web"], [], ["web"]),
        (["cm/web", "cm/db"], ["db"], ["web"]),
        (["cm", "web", "db"], ["db"], ["web"]),
        (["cm", "b"], [], ["b"]),
    ],
)
def test_the_beginning_of_one_name_will_do(
    words: list[str],
    names: list[str],
    lost: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    store = connected(monkeypatch, "describe")
    for name in ("web-1", "web-10", "db"):
        store.put(obj("ConfigMap", name))
    assert main(["describe", *words]) == (1 if lost else 0)
    out, err = capsys.readouterr()
    assert re.findall(r"^Name: +(\S+)$", out, re.M) == names
    assert re.findall(r'configmaps "(\S+)" not found', err) == lost


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    store = connected(monkeypatch, "describe")
    for name, app, namespace in (("a", "web", "default"), ("b", "db", "default"), ("c", "web", "shop")):
        store.put(obj("ConfigMap", name, namespace, metadata={"labels": {"app": app}}))
        about = {
            "kind": "ConfigMap",
            "name": name,
            "uid": store.objects().kind(CONFIG_MAP)[-1].metadata["uid"],
        }
        event = obj("Event", f"{name}.1", namespace)
        store.put(event.replace(involvedObject=about, reason=f"Seen{name.upper()}", type="Normal"))
    return store


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["describe", "cm", "-l", "app=web"], ["a"]),
        (["describe", "cm", "-A", "--selector=app=web"], ["a", "c"]),
        (["describe", "cm", "-n", "shop"], ["c"]),
        (["describe", "cm", "--field-selector", "metadata.name!=a"], ["b"]),
        (["describe", "-f", "f.yaml"], ["b", "c"]),
    ],
)
def test_which_are_meant(
    store: Store, words: list[str], names: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "f.yaml"
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\n---\n"
    file.write_text(text.format("b") + text.format("c, namespace: shop"))
    assert main([str(file) if word == "f.yaml" else word for word in words]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^Name: +(\S+)$", out, re.M) == names
    assert re.findall(r" Seen(\S+) ", out) == [name.upper() for name in names]


def test_events_may_be_left_out(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "cm", "a", "--show-events=false"]) == 0
    assert "Events" not in capsys.readouterr().out
    assert main(["describe", "cm", "-l", "app=none"]) == 0
    assert capsys.readouterr().err == "No resources found in default namespace.\n"


def test_the_labs_own_ingress_controller_that_stands_aside_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = "registry.k8s.io/ingress-nginx/controller:v1.11.0"
    spec = {"template": {"spec": {"containers": [{"name": "controller", "image": image, "args": []}]}}}
    assert main(["describe", "deploy", "ingress-nginx-controller", "-n", "ingress-nginx"]) == 1
    assert capsys.readouterr().err == (
        'Error from server (NotFound): deployments.apps "ingress-nginx-controller" not found\n'
    )
    store.put(obj("Deployment", "mine", spec=spec))
    assert main(["describe", "deploy", "ingress-nginx-controller", "-n", "ingress-nginx"]) == 1
    assert capsys.readouterr().err == (
        'Error from server (NotFound): deployments.apps "ingress-nginx-controller" not found: the lab\'s own ingress '
        "controller stands aside for Deployment/mine\n"
    )


def test_the_labs_own_ingress_controller_says_that_it_stands_aside(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for o in system_objects(Cluster()):
        store.put(o)
    assert main(["describe", "deploy", "-A"]) == 0
    out = capsys.readouterr().out
    assert (
        out.count("Name:         ") == 2
        and out.count("\nNote:  it is the lab's own, and stands aside for") == 1
    )
