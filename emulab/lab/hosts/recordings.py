"""Who records what the servers of a lab tell.

A server keeps its records itself while someone records (see `servers.records`); here is who does. Every server
is told the numbers of all its recorders, whole, so that one message too few or too many is mended by the next.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from itertools import chain, count
from operator import itemgetter
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import KernelError
from emulab.lab.hosts.hosted import Hosted
from emulab.memoryfile import memory_file, read_all

_RECORD_ANSWER = 1.0  # a server that hangs is not worth waiting for; it will hear of it all the same
_RECORDS_ANSWER = 5.0
_LINES = 500  # records read before others have their turn


@dataclass(frozen=True, slots=True, eq=False)
class RecordListener:
    """One who records: its number and the servers it hears, None for all, those to come included.

    As of the last time that records were fetched, by server: `lost` are those that found no room, `began` is when it
    began to keep them (ns of CLOCK_REALTIME). `silent` are the servers that didn't answer in time.
    """

    number: int
    names: frozenset[str] | None
    lost: dict[str, int] = field(default_factory=dict)
    began: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    def hears(self, name: str) -> bool:
        return self.names is None or name in self.names


class Recordings:
    """The recordings of one lab. `hosts` are the servers that there are, by name, at any time."""

    def __init__(self, hosts: Mapping[str, Hosted]) -> None:
        self._hosts = hosts
        self._recordings: dict[int, RecordListener] = {}
        self._numbers = count(1)

    async def record(self, names: Iterable[str] | None = None) -> RecordListener:
        """Has servers keep their records from now on, until `stop_recording`, which must follow.

        `names` may hold servers that aren't up; those that come up meanwhile, again or for the first time,
        record as well. None are all servers.
        """
        recording = RecordListener(next(self._numbers), None if names is None else frozenset(names))
        self._recordings[recording.number] = recording
        try:
            await self._settle(self._tell_recorders(recording))
        except BaseException:  # cancelled, and nobody else could end it
            del self._recordings[recording.number]
            self._tell_recorders(recording)
            raise
        return recording

    async def records(self, recording: RecordListener) -> list[dict[str, Any]]:
        """What was told since `recording` began, the earliest first: each record with its `time` and `server`.

        A server that ended has taken its records with it; one that doesn't answer gives none.
        """
        hosts = self._heard(recording)
        found = await asyncio.gather(*(self._fetch(host, recording) for host in hosts))
        return sorted(chain.from_iterable(found), key=itemgetter("time"))

    async def stop_recording(self, recording: RecordListener) -> None:
        """Ends a recording; its records are forgotten. Never fails, and may be called twice.

        The servers are told before this waits for the first time, so even cancelling it ends the recording.
        """
        if self._recordings.pop(recording.number, None) is not None:
            await self._settle(self._tell_recorders(recording))

    def recorders(self, name: str) -> list[int]:
        """The numbers of those who record a server."""
        return [number for number, recording in self._recordings.items() if recording.hears(name)]

    def _heard(self, recording: RecordListener) -> list[Hosted]:
        return [h for n, h in self._hosts.items() if recording.hears(n) and h.process.running]

    def _tell_recorders(self, recording: RecordListener) -> list[asyncio.Future[Any]]:
        """Tells the servers of a recording, which has begun or ended, who records now."""
        return [h.send("record", recorders=self.recorders(h.name)) for h in self._heard(recording)]

    @staticmethod
    async def _settle(answers: list[asyncio.Future[Any]]) -> None:
        if answers:
            await asyncio.wait(answers, timeout=_RECORD_ANSWER)

    @staticmethod
    async def _fetch(host: Hosted, recording: RecordListener) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        with memory_file() as file:
            number = recording.number
            try:
                told = await host.ask("records", (file.fileno(),), timeout=_RECORDS_ANSWER, recorder=number)
            except KernelError:
                recording.silent.add(host.name)
                return []
            recording.lost[host.name], recording.began[host.name] = told["lost"], told["began"]
            for line in read_all(file.fileno()).splitlines():
                records.append({"server": host.name, **json.loads(line)})
                if len(records) % _LINES == 0:
                    await asyncio.sleep(0)
        return records
