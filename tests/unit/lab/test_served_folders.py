"""What programs beside a place's servers see of these, be they there or not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from emulab.lab.supervisor.servedfiles import served_folders
from emulab.plan.state import Network, Place, PlannedServer, World
from emulab.servers.bgp.config import BgpConfig


class _NoneRunning:
    async def files(self, name: str) -> dict[str, str]:
        return {}


def test_the_folder_of_a_server_that_does_not_run_covers_the_hosts(tmp_path: Path) -> None:
    """Who asks it in the moment in which it is started again must not come to the host's own."""
    place = Place("node1", "node1", "node1", "", "", (), "node")
    speaker = PlannedServer("node1/bgp", "bgp-by-bird", "node1", BgpConfig((), 1, ()), {})
    world = World(Network(), {speaker.name: speaker}, {place.name: place})
    around = cast(Any, SimpleNamespace(world=world, folder=tmp_path, servers=_NoneRunning()))
    (seen,) = asyncio.run(served_folders(around, place)).items()
    assert seen[0] == "/run/bird" and Path(seen[1]).is_dir()
