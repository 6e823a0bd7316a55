"""A kind that is one file and one line, in a real lab: applied, listed, described, changed and deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .tools import emulab

pytestmark = pytest.mark.asyncio

FILE = Path(__file__).parents[1] / "unit" / "kinds" / "widget.py"
LINE = """
from emulab.kinds.kind import Kind
from emulab.kinds.registry import KINDS
KINDS.add(Kind("example.dev/v1", "Widget", "widgets", "wd", home="widget"))
"""
WIDGET = "apiVersion: example.dev/v1\nkind: Widget\nmetadata: {name: big}\nspec: {size: 7, pod: web}\n"


async def test_a_new_kind_in_a_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "widget.py").write_text(FILE.read_text())
    (tmp_path / "sitecustomize.py").write_text(LINE)  # what Python runs first, in the supervisor as well
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("EMULAB_LAB", f"e2e-{os.getpid()}-widget")
    file = tmp_path / "w.yaml"
    file.write_text(WIDGET)
    try:
        up = await emulab("up", str(file))
        assert up.status == 0 and "spec.pod: there is no Pod web" in up.stderr.decode(), up
        listed = await emulab("get", "widgets.example.dev")
        assert listed.text == "NAME   SIZE\nbig    7"
        one = json.loads((await emulab("get", "wd/big", "-o", "json")).stdout)
        assert one["metadata"]["uid"] and one["spec"] == {"size": 7, "pod": "web"}
        assert "Size:         7 of 9" in (await emulab("describe", "widget", "big")).text
        file.write_text(WIDGET.replace("7", "8"))
        refused = await emulab("apply", "-f", str(file))
        assert refused.status == 1 and b"Widget/default/big spec.size: can't be changed" in refused.stderr
        assert (
            await emulab("delete", "-f", str(file))
        ).text == 'widget.example.dev "big" deleted from default namespace'
        assert (await emulab("get", "wd")).text == ""
    finally:
        assert (await emulab("down")).status == 0
