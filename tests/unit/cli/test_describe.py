"""`emulab describe`: which objects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab_in_process import connected
from lab_objects import obj

from emulab.cli import main


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
