"""A kind is one file and one line: a made-up one goes all the way that the others go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from lab_in_process import Client, connected

from emulab.cli import main
from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.admission.loader import load
from emulab.cluster.admission.merge import merge
from emulab.cluster.controllers import reconcile
from emulab.cluster.store import Store
from emulab.errors import ManifestError, UserError
from emulab.kinds.kind import Kind
from emulab.kinds.registry import KINDS, POD
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.sources import Source

BIG = """
apiVersion: example.dev/v1
kind: Widget
metadata: {name: big}
spec: {size: 7, colour: red}
"""


@pytest.fixture(autouse=True)
def widget() -> Iterator[Kind]:
    """The line."""
    kind = KINDS.add(Kind("example.dev/v1", "Widget", "widgets", "wd", home="widget"))
    yield kind
    KINDS.remove(kind)


@pytest.fixture
def module(widget: Kind) -> ModuleType:
    """The file."""
    assert widget.definition
    import widget as file  # type: ignore[import-not-found]

    return file  # type: ignore[no-any-return]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    return connected(monkeypatch, "apply", "get", "describe", "delete", "scale")


def emulab(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as end:
        return int(end.code or 0)


def loaded(text: str) -> Object:
    (o,) = load([Source("w.yaml", text)]).objects
    return o


def test_it_is_loaded_checked_and_seen(module: ModuleType, widget: Kind) -> None:
    o = loaded(BIG)
    assert o.key == widget.key("default", "big") and str(o.key) == "Widget/default/big"
    assert module.Widget.of(o) == ("big", 7, "")
    with pytest.raises(ManifestError) as raised:
        loaded(BIG.replace("colour", "color").replace("7", "70"))
    assert raised.value.problems == [
        "w.yaml:5: Widget/big spec.size: 70 is not a size (1-9)",
        'w.yaml:5: Widget/big: unknown field "spec.color"; did you mean colour?',
    ]
    with pytest.raises(
        ManifestError,
        match=r'no matches for kind "Widget" in version "example\.dev/v2"; write example\.dev/v1',
    ):
        loaded(BIG.replace("v1", "v2"))
    with pytest.raises(
        ManifestError, match=r'"Wigdet" is not a kind that emulab knows; did you mean Widget\?'
    ):
        loaded(BIG.replace("Widget", "Wigdet"))


def test_it_is_merged_as_its_file_says(widget: Kind) -> None:
    store = Store()
    store.put(loaded(BIG))
    store.set_status(widget.key("default", "big"), address="10.0.0.9", ready=True)
    old = store.get(widget.key("default", "big"))
    assert old is not None
    old = old.replace(metadata={**old.metadata, "annotations": {"example.dev/a": "kept", "b": "gone"}})
    merged = merge(old, loaded(BIG.replace(", colour: red", "")))
    assert merged.spec == {"size": 7, "colour": "red"}
    assert (merged.status, merged.annotations) == ({"ready": True}, {"example.dev/a": "kept"})
    assert merged.metadata["uid"] == old.metadata["uid"]
    with pytest.raises(UserError, match=r"Widget/default/big spec\.size: can't be changed"):
        merge(old, loaded(BIG.replace("7", "8")))


def test_what_is_odd_in_it_is_told_and_controllers_leave_it_alone() -> None:
    o = loaded(BIG.replace("colour: red", "pod: web"))
    assert warnings([o]) == ["w.yaml:2: Widget/big spec.pod: there is no Pod web"]
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c}]}\n"
    assert warnings([o], Objects([o, loaded(pod)])) == []
    assert reconcile(Objects([o]), 0.0) == []


def test_the_command_line_knows_it(
    store: Store, widget: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(BIG)
    assert [emulab("apply", "-f", str(file)) for _ in range(2)] == [0, 0]
    assert capsys.readouterr().out == "widget.example.dev/big created\nwidget.example.dev/big unchanged\n"
    for name in ("wd", "Widget", "widgets.example.dev", "widgets.v1.example.dev", "widget.example.dev/big"):
        assert emulab("get", name) == 0
        assert capsys.readouterr().out == "NAME   SIZE\nbig    7\n"
    assert emulab("get", "wd,svc", "-A", "-o", "wide") == 0
    assert "default     widget.example.dev/big   7      red" in capsys.readouterr().out
    assert emulab("get", "wd", "big", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["spec"] == {"size": 7, "colour": "red"}
    assert emulab("describe", "wd", "big") == 0
    described = capsys.readouterr().out
    assert "Name:         big\nNamespace:    default\n" in described and "Size:         7 of 9" in described
    assert emulab("scale", "wd/big", "--replicas", "2") == 1
    assert (
        "Widget/default/big can't be scaled; a Deployment, ReplicaSet, StatefulSet or Re"
        in capsys.readouterr().err
    )
    assert emulab("delete", "wd/big", "wd/small") == 1
    out, err = capsys.readouterr()
    assert out == 'widget.example.dev "big" deleted from default namespace\n'
    assert err == 'Error from server (NotFound): widgets.example.dev "small" not found\n'
    assert store.objects().kind(widget) == []


def test_kinds_of_one_name_in_two_groups_are_two_kinds(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    other = KINDS.add(Kind("metrics.example.dev/v1", "Pod", "pods", home="emulab.kinds.core.namespace"))
    try:
        here, there = POD.key("default", "web"), other.key("default", "web")
        assert here != there and str(here) == str(there)
        for api_version, key in (("v1", here), ("metrics.example.dev/v1", there)):
            metadata = {"name": "web", "namespace": "default"}
            o = store.put(Object({"apiVersion": api_version, "kind": "Pod", "metadata": metadata}))
            assert o.key == key
        objects = store.objects()
        assert [o.key for o in objects.kind(POD)] == [here] and objects.get(there) is not None
        client = Client(store)
        found = client.request("get", group="metrics.example.dev", kind="Pod", namespace="", name="")
        assert [o["apiVersion"] for o in found] == ["metrics.example.dev/v1"]
        assert emulab("get", "pods") == 0
        assert capsys.readouterr().out.startswith("NAME   READY")
        assert emulab("delete", "pods.metrics.example.dev/web") == 0
        assert store.get(there) is None and store.get(here) is not None
        loaded("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n")
        with pytest.raises(ManifestError, match=r"write v1 or metrics\.example\.dev/v1"):
            loaded("apiVersion: v2\nkind: Pod\nmetadata: {name: p}\n")
    finally:
        KINDS.remove(other)
