"""What programs beside the servers of a place see of these: the configuration of a real one, say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from emulab.lab.folders.disk import writing
from emulab.lab.supervisor.surroundings import Surroundings, files_folder
from emulab.plan.state import Place

_DEPTH = 3
"""Parts of the path of a folder that is covered: /etc/haproxy."""


async def served_folders(around: Surroundings, place: Place) -> dict[str, str]:
    """Writes the files of servers in a place; folders of theirs that are covered by others, by path.

    Raises KernelError. Folders are covered whole, as a program may have files that the host hasn't.
    """
    world = around.world
    if place.kind != "balancer" or world is None:
        return {}
    names = [s.name for s in world.servers.values() if s.namespace == place.namespace]
    found: dict[str, str] = {}
    for name in names:
        texts = await around.servers.files(name)
        if texts:
            found |= await asyncio.to_thread(_written, texts, files_folder(around, place) / "served")
    return found


def _written(texts: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Each folder that has files, with where they have been written."""
    covered: dict[str, str] = {}
    for path, text in texts.items():
        parts = PurePosixPath(path).parts
        top = PurePosixPath(*parts[:_DEPTH])
        target = folder / Path(*parts[1:])
        with writing(target):
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            target.write_text(text)
        covered[str(top)] = str(folder / Path(*top.parts[1:]))
    return covered
