"""`emulab get`: which objects, in which order and form, and their changes; in kubectl's words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab_in_process import Client, connected
from lab_objects import obj

from emulab.cli import main
from emulab.cluster.history import HISTORY
from emulab.cluster.store import Store
from emulab.kinds.registry import CONFIG_MAP, DEPLOYMENT, EVENT, POD


def pod(name: str, tier: str, phase: str = "Running") -> Any:
    o = obj("Pod", name, metadata={"labels": {"app": "web", "tier": tier}})
    return o.replace(spec={"nodeName": f"node-{tier}", "containers": [{"name": "c", "image": name}]})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EMULAB_LAB", raising=False)
    store = connected(monkeypatch, "get")
    for name, tier in (("web-10", "front"), ("web-9", "front"), ("db", "back")):
        store.put(pod(name, tier))
    store.put_status(POD.key("default", "db"), {"phase": "Running"})
    store.put(obj("ConfigMap", "cm"))
    return store


NAMES = ["-o", "jsonpath={.items[*].metadata.name}"]


def test_an_empty_namespace_is_the_default_one(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.put(obj("Pod", "elsewhere", "shop"))
    assert main(["get", "pods", "-n", "", *NAMES]) == 0
    assert capsys.readouterr().out == "db web-10 web-9"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["-l", "tier=front"], "web-10 web-9"),
        (["--selector", "tier"], "db web-10 web-9"),
        (["-l", "one", "-l", "tier notin (front)"], "db"),
        (["-l", "!tier"], ""),
        (["--field-selector", "status.phase=Running"], "db"),
        (["--field-selector", "spec.nodeName!=node-back,metadata.name!=web-9"], "web-10"),
        (["--field-selector", "spec.restartPolicy=Always,spec.hostNetwork=false"], "db web-10 web-9"),
        (["--sort-by", ".metadata.name"], "db web-9 web-10"),
        (["--sort-by=spec.nodeName"], "db web-10 web-9"),
        (["--sort-by", "{.status.phase}"], "web-10 web-9 db"),
    ],
)
def test_which_objects_in_which_order(
    store: Store, words: list[str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "pods", *words, *NAMES]) == 0
    assert capsys.readouterr().out == names


def test_options_may_stand_before_the_verb(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-l", "tier=back", "-n", "default", "get", "pods", "-o", "name"]) == 0
    assert capsys.readouterr().out == "pod/db\n"


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (
            ["--field-selector", "spec.foo=1"],
            1,
            'Error from server (BadRequest): Unable to find "/v1, Resource=pods" that match label selector "", field '
            'selector "spec.foo=1": field label not supported: spec.foo',
        ),
        (
            ["-l", "a=b=c"],
            1,
            'Error from server (BadRequest): Unable to find "/v1, Resource=pods" that match label selector "a=b=c", '
            "field selector \"\": unable to parse requirement: found '=', expected: ',' or 'end of string'",
        ),
        (["-l", "a=b", "db"], 2, "emulab: name cannot be provided when a selector is specified"),
        (
            ["-o", "table"],
            2,
            'emulab: unable to match a printer suitable for the output format "table", allowed formats are: '
            "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,"
            "jsonpath-file,name,template,templatefile,wide,yaml",
        ),
        (["-o", "jsonpath"], 2, "emulab: template format specified but no template given"),
        (["-o", "jsonpath={.a"], 2, "emulab: error parsing jsonpath {.a, unclosed action"),
        (
            ["-o", 'jsonpath={.items["a"]}'],
            2,
            'emulab: error parsing jsonpath {.items["a"]}, invalid array index "a"',
        ),
        (
            ["-o", "jsonpath={.items[7]}"],
            1,
            'emulab: error executing jsonpath "{.items[7]}": Error executing template: array index out of bounds: '
            "index 7, length 3",
        ),
        (["-o", "custom-columns"], 2, "emulab: custom-columns format specified but no custom columns given"),
        (
            ["-o", "custom-columns=A"],
            2,
            "emulab: unexpected custom-columns spec: A, expected <header>:<json-path-expr>",
        ),
        (
            ["--sort-by", ".foo"],
            1,
            'emulab: couldn\'t find any field with path "{.foo}" in the list of objects',
        ),
        (["-w", "svc/web"], 2, "emulab: 'pods': write either KIND NAME… or KIND/NAME… for all"),
    ],
)
def test_what_cannot_be_meant(
    store: Store, words: list[str], status: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "pods", *words]) == status
    assert capsys.readouterr() == ("", f"{error}\n")


def test_columns_that_options_add(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "pods", "-l", "tier=back", "-L", "example.com/x,tier", "--show-labels"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ["X", "TIER", "LABELS"]
    assert row.split()[-3:] == ["<none>", "back", "app=web,tier=back"]
    assert main(["get", "cm", "cm", "--show-kind", "--no-headers"]) == 0
    assert re.fullmatch(r"configmap/cm   0     \d+s\n", capsys.readouterr().out)
    assert main(["get", "pods", "-A", "-o", "name"]) == 0
    assert capsys.readouterr().out == "pod/db\npod/web-10\npod/web-9\n"


def test_custom_columns(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "custom-columns=N:.metadata.name,L:{.metadata.labels},IMAGES:spec.containers[*].image,X:.foo"
    assert main(["get", "pods", "-l", "tier=back", "-o", spec]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "N     L                        IMAGES   X",
        "db    map[app:web tier:back]   db       <none>",
    ]
    file = tmp_path / "columns"
    file.write_text("NAME  KIND\n.metadata.name .kind\n")
    assert (
        main(["get", "pods,cm", "-l", "tier=back", "--no-headers", "-o", f"custom-columns-file={file}"]) == 0
    )
    assert capsys.readouterr().out == "db    Pod\n"


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["get", "pod", "db", "-o", "go-template={{.kind}} {{.nope}}"], "Pod <no value>"),
        (
            ["get", "pods", "-o", "go-template", "--template={{range .items}}{{.metadata.name}},{{end}}"],
            "db,web-10,web-9,",
        ),
        (["get", "pod", "db", "--template={{.kind}}"], "Pod"),
        (["get", "pod", "db", "-o", "jsonpath", "--template={.kind}"], "Pod"),
        (["get", "-f", "f.yaml", "-o", "name"], "configmap/cm\npod/db\n"),
        (["get", "-f", "f.yaml", "-o", "jsonpath={.items[*].kind}", "--chunk-size=1"], "ConfigMap Pod"),
        (["get", "-f", "one.yaml", "-o", "jsonpath={.kind}", "--show-managed-fields"], "Pod"),
        (["get", "svc", "-o", "custom-columns=NAME:.metadata.name"], "NAME\n"),
    ],
)
def test_other_ways_to_say_which_and_how(
    store: Store, words: list[str], out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod_of_file = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: db}\nspec: {containers: [{name: c, image: i}]}\n"
    )
    (tmp_path / "one.yaml").write_text(pod_of_file)
    (tmp_path / "f.yaml").write_text(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: cm}}\n---\n{pod_of_file}"
    )
    words = [str(tmp_path / word) if word.endswith(".yaml") else word for word in words]
    assert main(words) == 0
    assert capsys.readouterr() == (out, "")


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (["get"], 2, "required resource not specified; write KIND [NAME], KIND/NAME or -f FILE"),
        (
            ["get", "pods", "-f", "f.yaml"],
            2,
            "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
        ),
        (
            ["get", "pods", "-o", "json", "--show-labels"],
            2,
            "--show-labels option cannot be used with json printer",
        ),
        (
            ["get", "pods", "-o", "custom-columns=A:.a", "-L", "app"],
            2,
            "--label-columns option cannot be used with custom-columns=A:.a printer",
        ),
        (
            ["get", "pods", "--output-watch-events"],
            2,
            "--output-watch-events option can only be used with --watch or --watch-only",
        ),
        (
            ["get", "pod", "db", "--template={{.nope}}", "--allow-missing-template-keys=false"],
            1,
            'error executing template "{{.nope}}": template: output:1:2: executing "output" at <.nope>: map has no '
            'entry for key "nope"',
        ),
        (
            ["get", "pod", "db", "-o", "jsonpath={.nope}", "--allow-missing-template-keys=false"],
            1,
            'error executing jsonpath "{.nope}": Error executing template: nope is not found',
        ),
    ],
)
def test_options_that_cannot_be_meant(
    store: Store, words: list[str], status: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == status
    assert capsys.readouterr() == ("", f"emulab: {error}\n")


def test_json_of_paths(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "pod", "db", "-o", "jsonpath-as-json={.metadata.labels}"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"app": "web", "tier": "back"}]
    file = tmp_path / "template"
    file.write_text("{.kind}\n")
    assert main(["get", "pod", "db", "-o", f"jsonpath-file={file}"]) == 0
    assert capsys.readouterr().out == "Pod\n"


def test_what_is_not_there_may_be_no_failure(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "pod", "nix"]) == 1
    assert main(["get", "pod", "nix", "--ignore-not-found"]) == 0
    assert main(["get", "svc", "--ignore-not-found"]) == 0
    assert capsys.readouterr() == ("", 'Error from server (NotFound): pods "nix" not found\n')


def scripted(store: Store, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Lets each step happen while changes are waited for; then comes Ctrl-C."""
    left = list(steps)
    ask = Client.request

    def request(self: Client, op: str, on_progress: Any = None, **arguments: Any) -> Any:
        if op == "watch" and "since" in arguments:
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()
        return ask(self, op, on_progress, **arguments)

    monkeypatch.setattr(Client, "request", request)


def test_changes_follow(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(
        *(store, monkeypatch),
        lambda: store.put_status(POD.key("default", "web-9"), {"phase": "Failed"}),
        lambda: store.put(pod("a-name-that-is-longer", "front")),
        lambda: (store.put(pod("other", "back")), store.put(pod("web-9", "back"))),
        lambda: store.remove(POD.key("default", "web-10")),
    )
    assert main(["get", "pods", "-w", "--output-watch-events", "-l", "tier=front"]) == 130
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["EVENT", "NAME"],
        ["ADDED", "web-10"],
        ["ADDED", "web-9"],
        ["MODIFIED", "web-9"],
        ["ADDED", "a-name-that-is-longer"],
        ["DELETED", "web-9"],  # it has another label now
        ["DELETED", "web-10"],
    ]


def test_changes_alone_in_other_forms(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = [lambda: store.put_status(POD.key("default", "db"), {"phase": "Failed"})]
    scripted(store, monkeypatch, *step)
    assert main(["get", "pods", "--watch-only", "-o", "name", "--sort-by", ".a"]) == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("pod/db\n", "warning: --watch-only requested, --sort-by will be ignored\n")
    assert main(["get", "pod", "db", "-w", "-o", "json"]) == 130
    assert json.loads(capsys.readouterr().out)["metadata"]["name"] == "db"
    assert main(["get", "pods,cm", "-w"]) == 2
    assert capsys.readouterr().err == "emulab: you may only specify a single resource type\n"
    assert main(["get", "pod", "nix", "-w"]) == 1


def test_more_changes_than_are_remembered_are_found_by_listing_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def many() -> None:
        store.remove(POD.key("default", "db"))
        for number in range(HISTORY):
            store.put(obj("ConfigMap", f"cm-{number}"))
        store.put(pod("new", "front"))
        for number in range(HISTORY):
            store.remove(CONFIG_MAP.key("default", f"cm-{number}"))

    scripted(store, monkeypatch, many)
    words = ["--output-watch-events", "--no-headers"]
    assert main(["get", "pods", "--watch-only", *words]) == 130
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["DELETED", "db"],
        ["ADDED", "new"],
    ]


def test_events_by_what_they_are_about(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("web", "db"):
        event = obj("Event", f"{name}.1").replace(
            involvedObject={"kind": "Pod", "name": name}, type="Warning", source={"component": "kubelet"}
        )
        store.put(event)
    assert store.get(EVENT.key("default", "web.1")) is not None
    fields = "involvedObject.name=web,type=Warning,source=kubelet"
    assert main(["get", "events", "--field-selector", fields, "-o", "name"]) == 0
    assert capsys.readouterr().out == "event/web.1\n"


def test_a_label_alone_is_a_lab_and_the_error_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["get", "pods", "-l", "app"]) == 1
    assert capsys.readouterr().err.endswith(
        "start it with: emulab -l app up\n-l is the lab; if a label is meant: --selector app\n"
    )
    assert main(["exec", "-l", "app=web", "client", "--", "true"]) == 2
    assert "-l is the lab, and exec takes no label selector" in capsys.readouterr().err


def test_subresources(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {}}
    store.put(obj("Deployment", "web").replace(spec=spec))
    store.put_status(DEPLOYMENT.key("default", "web"), {"replicas": 2})
    store.put(obj("ReplicationController", "old").replace(spec={"selector": {"app": "old"}}, status={}))
    assert main(["get", "deploy/web", "rc/old", "--subresource", "scale", "--no-headers"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["scale.autoscaling/web", "3", "2"], ["scale.autoscaling/old", "1", "0"]]
    assert main(["get", "rc", "old", "--subresource=scale", "-o", "json"]) == 0
    scale = json.loads(capsys.readouterr().out)
    assert scale["kind"] == "Scale" and scale["metadata"]["name"] == "old"
    assert scale["status"] == {"replicas": 0, "selector": "app=old"}
    assert main(["get", "pod", "db", "--subresource=status", "-o", "name"]) == 0
    assert capsys.readouterr().out == "pod/db\n"
    for words in (["pod", "db", "--subresource=scale"], ["cm", "cm", "--subresource=resize"]):
        assert main(["get", *words]) == 1
        assert capsys.readouterr().err.startswith("Error from server (NotFound): the server could not find")
