"""`emulab delete`: what it says, and whether it waits for the end of what it has deleted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from lab_in_process import connected
from lab_objects import obj

from emulab.cli import main
from emulab.cluster.store import Store
from emulab.kinds.registry import CONFIG_MAP, POD, REPLICA_SET

HELD = CONFIG_MAP.key("default", "held")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    store = connected(monkeypatch, "delete")
    store.put(obj("ConfigMap", "free"))
    store.put(obj("ConfigMap", "held", metadata={"finalizers": ["example.com/x"]}))
    return store


def test_it_waits_for_what_finalizers_hold(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "cm", "free", "held", "--timeout", "50ms"]) == 1
    out, err = capsys.readouterr()
    assert (
        out
        == 'configmap "free" deleted from default namespace\nconfigmap "held" deleted from default namespace\n'
    )
    assert err == "emulab: timed out waiting for the condition on configmaps/held\n"
    held = store.get(HELD)
    assert held is not None and held.metadata["deletionTimestamp"]
    for word in ("--wait=false", "--ignore-not-found"):
        options = [word] if word == "--wait=false" else [word, "--wait=true", "--wait", "--timeout", "10ms"]
        assert main(["delete", "cm/held", *options]) == (0 if word == "--wait=false" else 1)
        assert capsys.readouterr().out == 'configmap "held" deleted from default namespace\n'


def test_one_of_its_name_that_came_since_is_another(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = store.delete

    def delete_and_replace(key: object, uid: str = "", grace: object = None) -> None:
        delete(HELD)
        held = store.get(HELD)
        assert held is not None
        store.put(held.replace(metadata={n: v for n, v in held.metadata.items() if n != "finalizers"}))
        store.put(obj("ConfigMap", "held"))

    monkeypatch.setattr(store, "delete", delete_and_replace)
    assert main(["delete", "cm", "held"]) == 0
    assert store.get(HELD) is not None


def test_of_files_those_objects_go_that_are_there(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f.yaml"
    texts = [f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n" for name in ("missing", "free")]
    file.write_text("---\n".join(texts))
    assert main(["delete", "-f", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == 'configmap "free" deleted from default namespace\n'
    assert err == (
        f'Error from server (NotFound): error when deleting "{file}": configmaps "missing" not found\n'
    )
    assert main(["delete", "-f", str(file), "--ignore-not-found"]) == 0
    assert capsys.readouterr() == ("", "")


def labelled(store: Store) -> Store:
    for name, app in (("web-1", "web"), ("web-2", "web"), ("db", "db")):
        store.put(obj("Pod", name, metadata={"labels": {"app": app}}).replace(spec={}))
    return store


def left(store: Store) -> list[str]:
    return sorted(o.name for o in store.objects().kind(POD))


def test_by_labels_and_all(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    labelled(store)
    assert main(["delete", "pods", "-l", "app=web", "--dry-run=client"]) == 0
    assert left(store) == ["db", "web-1", "web-2"]
    assert main(["delete", "pods", "-l", "app=web"]) == 0
    assert left(store) == ["db"]
    assert main(["delete", "pods", "--all"]) == 0
    assert main(["delete", "pods", "--selector", "app"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        'pod "web-1" deleted from default namespace (dry run)',
        'pod "web-2" deleted from default namespace (dry run)',
        'pod "web-1" deleted from default namespace',
        'pod "web-2" deleted from default namespace',
        'pod "db" deleted from default namespace',
        "No resources found",
    ]
    assert err == ""


def test_names_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "cm", "free", "-o", "name"]) == 0
    assert capsys.readouterr().out == "configmap/free\n"


def owned(store: Store) -> None:
    """A ReplicaSet with two Pods, of which one has another owner, too."""
    rs = store.put(obj("ReplicaSet", "web", spec={"template": {"spec": {"containers": [{"name": "c"}]}}}))
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": rs.metadata["uid"]}
    for name, more in (("a", []), ("b", [{"kind": "ConfigMap", "name": "free", "uid": "u"}])):
        references = [{**reference, "controller": True}, *more]
        store.put(obj("Pod", name, metadata={"ownerReferences": references}).replace(spec={}))


@pytest.mark.parametrize("how", ["orphan", "false"])
def test_what_an_orphan_keeps(store: Store, how: str) -> None:
    owned(store)
    assert main(["delete", "rs", "web", f"--cascade={how}"]) == 0
    references = [o.metadata.get("ownerReferences") for o in store.objects().kind(POD)]
    assert references == [None, [{"kind": "ConfigMap", "name": "free", "uid": "u"}]]


def test_an_option_without_a_value_takes_no_word(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "--cascade", "cm", "free"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["delete", "cm", "held", "--cascade=never"])
    assert "not one of background, true, foreground, orphan, false" in capsys.readouterr().err


def test_who_goes_after_those_it_owns_is_held_by_a_finalizer(store: Store) -> None:
    owned(store)
    assert main(["delete", "rs", "web", "--cascade=foreground", "--wait=false"]) == 0
    there = store.get(REPLICA_SET.key("default", "web"))
    assert there is not None and there.metadata["finalizers"] == ["foregroundDeletion"]
    assert there.metadata["deletionTimestamp"]


def test_objects_of_files_are_in_the_namespace_that_is_given(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: free}\n")
    store.put(obj("ConfigMap", "free", "shop"))
    assert main(["delete", "-n", "shop", "-f", str(file)]) == 0
    assert capsys.readouterr().out == 'configmap "free" deleted from shop namespace\n'
    assert store.get(CONFIG_MAP.key("default", "free")) is not None
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: free, namespace: default}\n")
    assert main(["delete", "-n", "shop", "-f", str(file)]) == 1
    assert 'namespace from the provided object "default" does not match the namespace "shop"' in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "grace"),
    [([], 7), (["--now"], 1), (["--grace-period=0"], 1), (["--grace-period", "3"], 3), (["--force"], None)],
)
def test_how_long_pods_have(store: Store, words: list[str], grace: int | None) -> None:
    key = POD.key("default", "web")
    store.put(obj("Pod", "web").replace(spec={"terminationGracePeriodSeconds": 7}))
    store.set_status(key, podIPs=[{"ip": "10.244.1.2"}], phase="Running")
    assert main(["delete", "pod", "web", "--wait=false", *words]) == 0
    there = store.get(key)
    assert (there.metadata["deletionGracePeriodSeconds"] if there else None) == grace


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--now", "pods"], "which of the pods? Add a name"),
        (["-l", "a=b", "pods", "web"], "name cannot be provided when a selector is specified"),
        (["--all", "-l", "a=b", "pods"], "setting 'all' parameter but found a non empty selector"),
        (["pod", "x", "--now", "--grace-period=1"], "--now and --grace-period cannot be specified together"),
        (
            ["pod", "x", "--force", "--grace-period=1"],
            "--force and --grace-period greater than 0 cannot be specified together",
        ),
    ],
)
def test_what_does_not_go_together(
    store: Store, words: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["delete", *words]) == 2
    assert capsys.readouterr().err == f"emulab: {error}\n"


@pytest.mark.parametrize(
    ("answer", "wanted"), [("y\n", True), ("Y", True), ("n\n", False), ("", False), ("yes\n", False)]
)
def test_it_asks_before(
    store: Store,
    answer: str,
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert main(["delete", "-i", "cm", "free", "--timeout", "1s"]) == 0
    asked, _, rest = capsys.readouterr().out.partition("(y/N): ")
    assert (
        asked
        == "You are about to delete the following 1 resource(s):\nconfigmap/free\nDo you want to continue? "
    )
    said = 'configmap "free" deleted from default namespace' if wanted else "deletion is cancelled"
    assert rest.strip() == said
    assert (store.get(CONFIG_MAP.key("default", "free")) is None) == wanted


def test_nobody_is_asked_of_nothing(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "-i", "cm", "none"]) == 1
    assert capsys.readouterr() == ("", 'Error from server (NotFound): configmaps "none" not found\n')
    assert main(["delete", "-i", "-f", "-"]) == 2
    assert capsys.readouterr().err == "emulab: -i reads the answer from stdin: it can't go with -f -\n"
