"""A lab notices when its folder is no longer there: nobody could find it any more, and end it.

What counts is the lock, by which other commands know that the lab lives, and the control socket. The kernel tells of
changes in the lab's folder and of moves of those above it; where it has no inotify for us, we look twice a second.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from emulab.errors import KernelError
from emulab.kernel.inotify import DELETE, DELETE_SELF, MOVE_SELF, MOVED_FROM, MOVED_TO, Inotify
from emulab.lab.folders.basedir import LOCK

_LOOK = 0.5  # seconds
_FILES = (LOCK, "control.sock")


class Presence:
    """The lab's folder as it was when this was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = self._look()

    async def until_gone(self) -> None:
        """Returns once the folder was removed or replaced, or what makes it a lab's."""
        try:
            told = self._watch()
        except KernelError:
            told = None
        try:
            while self._look() == self._files and self._files:
                if told is None:
                    await asyncio.sleep(_LOOK)
                else:
                    await _readable(told)
                    told.drain()
        finally:
            if told is not None:
                told.close()

    def _look(self) -> list[tuple[int, int]]:
        """Which files they are; empty when one isn't there."""
        try:
            found = [os.stat(self._folder / name, follow_symlinks=False) for name in _FILES]
        except OSError:
            return []
        return [(f.st_dev, f.st_ino) for f in found]

    def _watch(self) -> Inotify:
        """Raises KernelError when the folder itself can't be watched."""
        told = Inotify()
        try:
            told.watch(str(self._folder), DELETE | MOVED_FROM | MOVED_TO | DELETE_SELF | MOVE_SELF)
            for above in self._folder.parents:
                # One that we may not read can't be watched. Its owner could move it unnoticed, but he is the system.
                if os.access(above, os.R_OK):
                    told.watch(str(above), MOVE_SELF)
        except BaseException:
            told.close()
            raise
        return told


async def _readable(told: Inotify) -> None:
    loop = asyncio.get_running_loop()
    happened = asyncio.Event()
    loop.add_reader(told, happened.set)
    try:
        await happened.wait()
    finally:
        loop.remove_reader(told)
