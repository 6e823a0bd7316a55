"""The newcomer's page names files that there are, and every room."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:emulab|topologies)/[\w./]+|pyproject\.toml)`", PAGE))
    assert len(named) > 50
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_room_is_visited() -> None:
    rooms = {path.parent.name for path in ROOT.glob("emulab/*/__init__.py")} - {
        "twins",
        "exercises",
        "toolbox",
    }  # uses of labs, as trace is
    assert [room for room in sorted(rooms) if f"`emulab/{room}/" not in PAGE] == []
