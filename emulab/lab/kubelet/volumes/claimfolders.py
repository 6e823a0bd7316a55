"""The folders of PersistentVolumes: each goes with its volume."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from emulab.kinds.registry import PERSISTENT_VOLUME
from emulab.lab.folders import private, rooms
from emulab.model.collection import Objects
from emulab.model.members import Members


def claims_folder(lab: Path) -> Path:
    """Where the folders are, each of which has its PersistentVolume's uid for a name."""
    return private.folder(lab) / "claims"


class ClaimFolders:
    def __init__(self, lab: Path) -> None:
        self._top = claims_folder(lab)
        self._known: Members = {}

    def without_volume(self, objects: Objects) -> Sequence[Path]:
        """The folders whose PersistentVolumes have gone since this was asked last."""
        members = objects.members(PERSISTENT_VOLUME)
        if members is self._known:
            return ()
        there = {str(o.metadata.get("uid")) for o in members.values()}
        before, self._known = self._known, members
        uids = (str(o.metadata.get("uid")) for o in before.values())
        return [self._top / uid for uid in uids if uid not in there]

    async def remove(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            await asyncio.to_thread(rooms.remove, folder)
