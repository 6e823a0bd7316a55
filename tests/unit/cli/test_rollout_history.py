"""`emulab rollout history` and `undo`: of Deployments by their ReplicaSets, of the others by ControllerRevisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab_in_process import connected
from lab_objects import obj

from emulab.cli import main
from emulab.cluster.store import Store
from emulab.kinds.registry import DEPLOYMENT, KINDS

CAUSE = "kubernetes.io/change-cause"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    return connected(monkeypatch, "rollout", "get")


def template(image: str, **labels: str) -> dict[str, Any]:
    container = {"name": "c", "image": image}
    return {"metadata": {"labels": {"app": "web", **labels}}, "spec": {"containers": [container]}}


def workload(store: Store, kind: str, image: str, **spec: Any) -> Any:
    selector = {"matchLabels": {"app": "web"}}
    annotations = {CAUSE: f"image {image}", "deployment.kubernetes.io/revision": "2"}
    fields = {"metadata": {"annotations": annotations if kind == "Deployment" else {}}}
    return store.put(
        obj(kind, "web", spec={"selector": selector, "template": template(image), **spec}, **fields)
    )


def revision(store: Store, owner: Any, number: int, image: str, cause: str = "") -> None:
    reference = {"apiVersion": "apps/v1", "kind": owner.kind, "name": "web", "uid": owner.metadata["uid"]}
    annotations = {CAUSE: cause} if cause else {}
    metadata = {"ownerReferences": [{**reference, "controller": True}], "annotations": annotations}
    if owner.kind == "Deployment":
        annotations["deployment.kubernetes.io/revision"] = str(number)
        spec = {"selector": {}, "template": template(image, **{"pod-template-hash": image})}
        store.put(obj("ReplicaSet", f"web-{image}", metadata=metadata, spec=spec))
        return
    data = {"spec": {"template": {**template(image), "$patch": "replace"}}}
    store.put(
        obj("ControllerRevision", f"web-{image}", metadata=metadata, data=data).replace(revision=number)
    )


@pytest.fixture(params=["Deployment", "StatefulSet", "DaemonSet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def name(kind: str, store: Store) -> str:
    """A workload that has had two templates, and the present one."""
    owner = workload(store, kind, "new")
    for number, image, cause in ((1, "first", "the first"), (2, "old", ""), (11, "new", "a new image")):
        revision(store, owner, number, image, cause)
    return f"{kind.lower()}.apps/web"


def image_now(store: Store, kind: str) -> str:
    found = KINDS.named(kind)
    assert found is not None
    o = store.get(found.key("default", "web"))
    assert o is not None
    return str(o.spec["template"]["spec"]["containers"][0]["image"])


def test_what_there_was(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "history", name]) == 0
    assert capsys.readouterr().out == (
        f"{name} \nREVISION  CHANGE-CAUSE\n1         the first\n2         <none>\n11        a new image\n\n"
    )
    assert main(["rollout", "history", name, "--revision=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{name} with revision #1", "Pod Template:"]
    assert "  Annotations:  kubernetes.io/change-cause: the first" in lines
    assert any(line.split() == ["Image:", "first"] for line in lines)
    assert main(["rollout", "history", name, "--revision=3"]) == 1
    assert capsys.readouterr().err == "emulab: unable to find the specified revision\n"
    assert main(["rollout", "history", name, "--revision=1", "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["spec"]["template"]["spec"]["containers"][0]["image"] == "first"
    assert main(["rollout", "history", name, "-o", "yaml"]) == 0
    assert capsys.readouterr().out.count("---\n") == 2


def test_going_back(name: str, kind: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "undo", name, "--dry-run=client"]) == 0
    assert capsys.readouterr().out.startswith(f"{name} will roll back to Pod Template:\n")
    assert main(["rollout", "undo", name, "--dry-run=server"]) == 0
    assert image_now(store, kind) == "new"
    assert main(["rollout", "undo", name]) == 0
    assert image_now(store, kind) == "old"
    assert main(["rollout", "undo", name, "--to-revision=1"]) == 0
    assert image_now(store, kind) == "first"
    assert main(["rollout", "undo", name, "--to-revision=1"]) == 0
    assert main(["rollout", "undo", name, "--to-revision=4"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{name} rolled back (server dry run)",
        f"{name} rolled back",
        f"{name} rolled back",
        f"{name} skipped rollback (current template already matches revision 1)",
    ]
    assert err == "emulab: unable to find specified revision 4 in history\n"


def test_a_deployment_gets_the_cause_back(store: Store) -> None:
    owner = workload(store, "Deployment", "new")
    revision(store, owner, 1, "old", "the old image")
    revision(store, owner, 2, "new", "a new image")
    assert main(["rollout", "undo", "deploy/web"]) == 0
    now = store.get(DEPLOYMENT.key("default", "web"))
    assert now is not None
    assert now.annotations == {CAUSE: "the old image", "deployment.kubernetes.io/revision": "2"}


def test_what_has_no_way_back(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("Deployment", "DaemonSet"):
        workload(store, kind, "new")
    store.put(obj("ReplicaSet", "web", spec={}))
    assert main(["rollout", "history", "ds/web"]) == 0
    assert capsys.readouterr().out == "daemonset.apps/web \nNo rollout history found.\n"
    for words in (["undo", "ds/web"], ["undo", "deploy/web"], ["undo", "rs/web"], ["history", "rs/web"]):
        assert main(["rollout", *words]) == 1
    paused = workload(store, "Deployment", "new", paused=True)
    for number, image in ((1, "old"), (2, "new")):
        revision(store, paused, number, image)
    assert main(["rollout", "undo", "deploy/web"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "emulab: no last revision to roll back to",
        'emulab: no rollout history found for deployment "web"',
        'emulab: no rollbacker has been implemented for "ReplicaSet.apps"',
        'emulab: no history viewer has been implemented for "ReplicaSet.apps"',
        "emulab: you cannot rollback a paused deployment; resume it first with 'emulab rollout resume' and try again",
    ]


def test_revisions_in_kubectls_columns(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    revision(store, workload(store, "StatefulSet", "new"), 3, "new")
    store.put(obj("ControllerRevision", "mine").replace(revision=1))
    assert main(["get", "controllerrevisions", "--no-headers"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["mine", "<none>", "1"], ["web-new", "statefulset.apps/web", "3"]]
