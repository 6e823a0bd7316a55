"""What programs beside a place's servers see of these, be they there or not."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulab.lab.supervisor.servedfiles import served_folders
from emulab.plan.state import Network, Place, PlannedServer, World
from emulab.servers.base import Filed
from emulab.servers.bgp.config import BgpConfig
from emulab.servers.kinds import FILED, SERVERS


class _Servers:
    """Those of a lab, of which none runs unless it has texts."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def files(self, name: str) -> dict[str, str]:
        return self.texts


def test_the_folders_of_a_server_that_does_not_run_cover_the_hosts(tmp_path: Path) -> None:
    """Who asks it in the moment in which it is started again must not come to the host's own, or read its files."""
    place = Place("node1", "node1", "node1", "", "", (), "node")
    speaker = PlannedServer("node1/bgp", "bgp-by-bird", "node1", BgpConfig((), 1, ()), {})
    world, servers = World(Network(), {speaker.name: speaker}, {place.name: place}), _Servers()
    around = cast(Any, SimpleNamespace(world=world, folder=tmp_path, servers=servers))

    def seen() -> dict[str, list[str]]:
        found = asyncio.run(served_folders(around, place))
        return {path: [one.read_text() for one in Path(shown).iterdir()] for path, shown in found.items()}

    assert seen() == {"/run/bird": [], "/etc/bird": []}, "it has never run"
    servers.texts = {"/etc/bird/bird.conf": "router id 1;"}
    assert seen()["/etc/bird"] == ["router id 1;"]
    servers.texts = {}
    assert seen()["/etc/bird"] == ["router id 1;"], "it is started again"


@pytest.mark.parametrize("kind", FILED)
def test_files_are_seen_where_the_server_has_them(kind: str) -> None:
    server = importlib.import_module(SERVERS[kind])
    module = {"ingress-by-haproxy": "places"}.get(kind, "conf")
    conf = importlib.import_module(f"{SERVERS[kind].rpartition('.')[0]}.{module}")
    assert server.create and FILED[kind] == conf.FOLDER


def test_all_servers_that_have_files_are_known() -> None:
    made = {kind: importlib.import_module(name).create(cast(Any, None)) for kind, name in SERVERS.items()}
    assert {kind for kind, server in made.items() if isinstance(server, Filed)} == FILED.keys()
