"""The recipes of docs/policies.md are those of topologies/policies.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
_ROW = re.compile(r"^\| `([\w-]+)` \| .* \| `(\{.*\})` \|$", re.MULTILINE)


def test_the_table_is_what_the_topology_has() -> None:
    documents = yaml.safe_load_all((ROOT / "topologies" / "policies.yaml").read_text())
    there = {o["metadata"]["namespace"]: o["spec"] for o in documents if o["kind"] == "NetworkPolicy"}
    page = (ROOT / "docs" / "policies.md").read_text()
    assert {name: yaml.safe_load(spec) for name, spec in _ROW.findall(page)} == there
