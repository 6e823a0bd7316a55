"""What would be: `emulab apply --dry-run` and `diff`; and what there is: `api-resources` and `version`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab_in_process import connected
from lab_objects import obj

from emulab.cli import main
from emulab.cluster.store import Store
from emulab.kinds.registry import CONFIG_MAP

TEXT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: {value}}}\n"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    store = connected(monkeypatch, "apply", "diff")
    Path("one.yaml").write_text(TEXT.format(name="one", value="old"))
    assert main(["apply", "-f", "one.yaml"]) == 0
    return store


def test_nothing_is_applied(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    version = store.version
    both = TEXT.format(name="one", value="new") + "---\n" + TEXT.format(name="two", value="x")
    Path("both.yaml").write_text(both)
    assert main(["apply", "-f", "both.yaml", "--dry-run=server"]) == 0
    assert main(["apply", "-f", "one.yaml", "--dry-run", "client"]) == 0
    assert capsys.readouterr().out == (
        "configmap/one configured (server dry run)\nconfigmap/two created (server dry run)\n"
        "configmap/one unchanged (dry run)\n"
    )
    assert store.version == version and store.get(CONFIG_MAP.key("default", "two")) is None


@pytest.mark.parametrize("dry", [[], ["--dry-run=server"], ["--dry-run=client"]])
def test_what_was_applied_is_printed(
    store: Store, dry: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    Path("one.yaml").write_text(TEXT.format(name="one", value="new"))
    assert main(["apply", "-f", "one.yaml", "-o", "json", *dry]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["kind"], one["data"], "uid" in one["metadata"]) == ("ConfigMap", {"key": "new"}, True)
    both = TEXT.format(name="one", value="new") + "---\n" + TEXT.format(name="two", value="x")
    Path("both.yaml").write_text(both)
    assert main(["apply", "-f", "both.yaml", "-o", "jsonpath={.kind} {.items[*].data.key}", *dry]) == 0
    assert capsys.readouterr().out == "List new x"
    assert main(["apply", "-f", "both.yaml", "-o", "name", *dry]) == 0
    assert capsys.readouterr().out == "configmap/one\nconfigmap/two\n"
    assert (store.get(CONFIG_MAP.key("default", "two")) is None) == bool(dry)


def test_the_namespace_of_who_says_none(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "-n", "shop", "-f", "one.yaml"]) == 1
    assert "ConfigMap.shop.one" in capsys.readouterr().out
    store.put(obj("Namespace", "shop", ""))
    assert main(["apply", "-n", "shop", "-f", "one.yaml"]) == 0
    assert store.get(CONFIG_MAP.key("shop", "one")) is not None
    Path("one.yaml").write_text(TEXT.format(name="one, namespace: other", value="new"))
    assert main(["apply", "-n", "shop", "-f", "one.yaml"]) == 1
    assert capsys.readouterr().err == (
        'emulab: one.yaml:3: ConfigMap/one metadata.namespace: the namespace from the provided object "other" does '
        "not match the namespace \"shop\". You must pass '--namespace=other' to perform this operation.\n"
    )


def test_what_would_change(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["diff", "-f", "one.yaml"]) == 0
    assert capsys.readouterr().out == ""
    Path("one.yaml").write_text(TEXT.format(name="one", value="new"))
    assert main(["diff", "-f", "one.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["--- LIVE/v1.ConfigMap.default.one", "+++ MERGED/v1.ConfigMap.default.one"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-  key: old", "+  key: new"]
    Path("one.yaml").write_text("kind: ConfigMap\n")
    assert main(["diff", "-f", "one.yaml"]) == 2
    assert capsys.readouterr().err


def test_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["api-resources", "--api-group", "apps", "--sort-by", "kind"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    assert ["daemonsets", "ds", "apps/v1", "true", "DaemonSet"] in [line.split() for line in lines]
    kinds = [line.split()[-1] for line in lines[1:]]
    assert kinds == sorted(kinds)
    assert main(["api-resources", "-o", "name", "--namespaced=false"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert {"namespaces", "nodes", "ingressclasses.networking.k8s.io"} <= {*names} and "pods" not in names
    assert main(["api-resources", "-o", "wide", "--no-headers", "--namespaced"]) == 0
    assert any(line.split()[-1] == "all" for line in capsys.readouterr().out.splitlines())


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--client"]) == 0
    client, followed = capsys.readouterr().out.splitlines()
    assert client.startswith("Client Version: v") and followed == "Followed Kubernetes Version: v1.35"
    assert main(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["followedVersion"] == "v1.35"
