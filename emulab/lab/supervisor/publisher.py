"""Gives every place a name under /run/netns, and takes it back. Root only: nobody else may write there.

Thousands of names are made by a process of its own: a file system may take long for them, and a thread would wait for
the supervisor's others after each (Python's global lock).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping, Sequence

from emulab.errors import KernelError
from emulab.kernel import names
from emulab.kernel.names import NetnsName
from emulab.kernel.netns import Handle
from emulab.lab.folders.disk import writing
from emulab.lab.hosts import helpers
from emulab.lab.supervisor.surroundings import Surroundings, files_folder, write_place_files
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.state import Place

_MANY = 500  # names that are worth a process
_ANSWER = 4096  # octets, at most


class Publisher:
    """The names of one lab's places: `LAB.PLACE` and `LAB.NAMESPACE.POD`, as far as a file's name is that long."""

    def __init__(self, around: Surroundings, pid: int) -> None:
        self._around = around
        self._pid = pid
        self._published: dict[str, int] = {}
        self._folders: dict[str, str] = {}  # of pods, by their resolv.conf

    async def publish(self, places: Mapping[str, Place], handles: Mapping[str, Handle]) -> None:
        """Has the names be those of the places. Raises KernelError."""
        # What namespaces there are is looked up at once: the next pass may take some away meanwhile.
        wanted = {p.name: handles[p.namespace].fd for p in places.values()}
        new = await asyncio.to_thread(self._noted, wanted, places)
        try:
            if len(new) < _MANY or not await self._made_elsewhere([*new.values()]):
                await asyncio.to_thread(_make, new.values())
        except BaseException:
            await asyncio.to_thread(self._retract, list(new))  # so the next pass makes them
            raise

    def _noted(self, wanted: Mapping[str, int], places: Mapping[str, Place]) -> dict[str, NetnsName]:
        """Takes back what is no place's any more; the names to be made, which are noted as if they had been."""
        self._retract([name for name, fd in self._published.items() if wanted.get(name) != fd])
        missing = {name: fd for name, fd in wanted.items() if name not in self._published}
        new = {
            name: (self._name(name), self._pid, fd, self._etc(places[name])) for name, fd in missing.items()
        }
        self._published |= missing
        return new

    def _retract(self, published: Iterable[str]) -> None:
        """Takes names back; those that aren't there, or are somebody else's, do no harm."""
        for name in published:
            names.retract(self._name(name), self._pid, self._around.folder)
            self._published.pop(name, None)

    async def _made_elsewhere(self, new: Sequence[NetnsName]) -> bool:
        """Whether a process made them; without one, or if it ends without an answer, they are to be made here."""
        try:
            with await helpers.begin(self._around.processes, "names", json.dumps(new).encode()) as process:
                answer = await asyncio.get_running_loop().sock_recv(process, _ANSWER)
        except (KernelError, ConnectionError):
            return False
        if answer and (failed := json.loads(answer)):
            number, path = failed
            with writing(names.NETNS):
                raise OSError(number, os.strerror(number), path)
        return bool(answer)

    def _name(self, place: str) -> str:
        return shortened(f"{self._around.lab}.{place}", NAME_MAX)

    def _etc(self, place: Place) -> str:
        """The folder that `ip netns exec` binds over /etc; pods of a kind share one, made once."""
        if place.kind != "pod":
            write_place_files(self._around, place)
            return str(files_folder(self._around, place))
        if (known := self._folders.get(place.resolv_conf)) is not None:
            return known
        folder = self._around.folder / "etc" / f"resolv-{abs(hash(place.resolv_conf)):x}"
        if not folder.exists():
            new = folder.with_name(f"{folder.name}.new")
            with writing(new / "resolv.conf"):
                new.mkdir(mode=0o755, exist_ok=True)
                (new / "resolv.conf").write_text(place.resolv_conf)
                new.rename(folder)  # whole or not at all: a full disk may get room again
        self._folders[place.resolv_conf] = str(folder)
        return self._folders[place.resolv_conf]

    def retract_all(self) -> None:
        self._retract(list(self._published))


def _make(new: Iterable[NetnsName]) -> None:
    with writing(names.NETNS):
        names.publish(new)
