"""`--validate`, as kubectl has it, wherever manifests are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab_in_process import connected

from emulab.cli import main
from emulab.cluster.store import Store
from emulab.kinds.registry import CONFIG_MAP

TEXT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {}\ndata: {k: one, k: two}\n"
UNKNOWN = 'f.yaml:4: ConfigMap/a: unknown field "date"; did you mean data?'
TWICE = 'f.yaml:5: the key "k" was already given on line 5; the last counts'


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(TEXT)
    return connected(monkeypatch, "apply", "delete")


def emulab(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("flags", [[], ["--validate"], ["--validate=strict"], ["--validate=true"]])
def test_strict(store: Store, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("f.yaml").write_text(TEXT.replace(", k: two", ""))
    assert emulab("apply", *flags, "-f", "f.yaml") == emulab("plan", *flags, "f.yaml") == 1
    assert capsys.readouterr() == ("", f"emulab: {UNKNOWN}\n" * 2)
    assert not store.objects().kind(CONFIG_MAP)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("warn", f"warning: {TWICE}\nwarning: {UNKNOWN}\n"),
        ("ignore", ""),
        ("false", ""),
    ],
)
def test_leaving_out(store: Store, flag: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert emulab("apply", f"--validate={flag}", "-f", "f.yaml") == 0
    assert capsys.readouterr() == ("configmap/a created\n", told)
    (o,) = store.objects().kind(CONFIG_MAP)
    assert o.raw.keys() == {"apiVersion", "kind", "metadata", "data"} and o.raw["data"] == {"k": "two"}
    assert emulab("plan", f"--validate={flag}", "f.yaml") == 0
    assert capsys.readouterr().err == told


def test_another_word_is_wrong_usage(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert emulab("apply", "--validate=maybe", "-f", "f.yaml") == 2
    assert "'maybe'" in capsys.readouterr().err


def test_what_is_deleted_is_not_validated(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert emulab("apply", "--validate=ignore", "-f", "f.yaml") == 0
    assert emulab("delete", "-f", "f.yaml") == 0
    assert capsys.readouterr().out.endswith('configmap "a" deleted\n')
