"""What programs beside the servers of a place see of these: the configuration of a real one, say."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from emulab.lab.folders.disk import writing
from emulab.lab.hosts.houses import made_house
from emulab.lab.supervisor.surroundings import Surroundings, files_folder
from emulab.plan.state import Place
from emulab.servers.kinds import FILED, HOUSED


async def served_folders(around: Surroundings, place: Place) -> dict[str, str]:
    """Writes the files of servers in a place; folders of theirs that are covered by others, by path.

    Raises KernelError. The folder that all files of a server are in is covered whole, as the host may have others
    there, or none.
    """
    world = around.world
    if place.kind == "pod" or world is None:
        return {}
    own = files_folder(around, place).with_suffix(".served")
    found: dict[str, str] = {}
    for server in [s for s in world.servers.values() if s.namespace == place.namespace]:
        if (
            server.kind in HOUSED
        ):  # while it doesn't run, too: a program that asks it must not come to the host's
            house = await asyncio.to_thread(made_house, around.folder, server.name)
            found[HOUSED[server.kind]] = str(house)
        if folder := FILED.get(server.kind):  # with what it had last, while it doesn't run
            texts = await around.servers.files(server.name)
            written = own / folder.lstrip("/")
            await asyncio.to_thread(_write, texts, folder, written)
            found[folder] = str(written)
    return found


def _write(texts: Mapping[str, str], folder: str, written: Path) -> None:
    with writing(written):
        if texts:
            shutil.rmtree(written, ignore_errors=True)
        written.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, text in texts.items():
            path = written / os.path.relpath(name, folder)
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o644)
