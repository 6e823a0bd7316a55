"""The frames of many places of a lab at once, for as long as somebody looks on. Blocking, for one thread.

What isn't read yet waits in rings of a size that is given, and what finds no room there is counted: whoever looks on
for days takes no more memory than at the beginning.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from typing import Any

from emulab.errors import UserError
from emulab.lab.client.client import LabClient
from emulab.observe.capture import rings
from emulab.observe.events import Frame

_AFRESH = 0.5  # seconds between two questions for places that are new
_LATE = 30_000_000  # ns after which a frame is in its ring, whatever the processor did meanwhile
_AT_ONCE = 1000  # frames of a ring in one look: more come with the next one
_PAUSE = 0.02  # seconds between two looks when nothing came
_SIOCGIFNAME = 0x8910
_IFREQ = struct.Struct("=16si20x")
_LOOPBACK = 1  # the index of `lo` in every network namespace


class _Tap:
    """A place that is watched."""

    def __init__(self, described: dict[str, Any], fd: int) -> None:
        self.place = str(described["place"])
        self._sock = socket.socket(fileno=os.dup(fd))  # the ring's own is closed with it
        self.ring = rings.Ring(socket.socket(fileno=fd), described["ring"], described["hosts"])
        self._names = {int(index): str(name) for index, name in described["interfaces"].items()}

    def frames(self, until: int) -> tuple[list[Frame], int]:
        """What has come, and up to when that is all of it: `until`, or earlier where there is more."""
        raw = list(islice(self.ring.frames(), _AT_ONCE))
        found = [
            Frame(at, self.place, self.name(index), outgoing, length, data)
            for at, index, outgoing, length, data in raw
            if not (outgoing and index == _LOOPBACK)  # what is sent there comes in as well
        ]
        return found, until if len(raw) < _AT_ONCE else min(until, raw[-1][0])

    def name(self, index: int) -> str:
        """An interface's name. One that came later is asked for, while it is there."""
        name = self._names.get(index)
        if name is None:
            name = f"if{index}"
            with suppress(OSError):
                found = fcntl.ioctl(self._sock.fileno(), _SIOCGIFNAME, _IFREQ.pack(b"", index))
                name = _IFREQ.unpack(found)[0].partition(b"\0")[0].decode(errors="replace")
            self._names[index] = name
        return name

    def close_socket(self) -> None:
        """Before the ring is closed, which waits for whoever closes the last of its descriptors."""
        self._sock.close()


class LabTaps:
    """What passes in places of a lab, from now on. `targets`: none are all places, those that come later included."""

    def __init__(
        self,
        client: LabClient,
        targets: Sequence[str] = (),
        namespace: str = "default",
        *,
        program: bytes = b"",
        snap: int = 0,
    ) -> None:
        """`program`: a filter for the frames that are kept. Raises EmulabError."""
        self._client = client
        self._asked: dict[str, Any] = {
            "targets": list(targets),
            "namespace": namespace,
            "filter": program.hex(),
            "snap": snap,
        }
        self._taps: dict[str, _Tap] = {}
        self._gone_lost: dict[str, int] = {}  # what places lost that are no more
        self._waiting: list[Frame] = []  # too new to be told in their order
        self.told_until = 0  # ns: what came before has been given
        self._asked_at = 0.0
        self._ask()

    @property
    def places(self) -> list[str]:
        return sorted({tap.place for tap in self._taps.values()})

    def _ask(self) -> list[Frame]:
        """Opens taps of places that are new; the last frames of those that have gone."""
        found, descriptors = self._client.request_descriptors("taps", known=list(self._taps), **self._asked)
        self._asked_at = time.monotonic()
        for described, fd in zip(found["taps"], descriptors, strict=True):
            self._taps[described["id"]] = _Tap(described, fd)
        last: list[Frame] = []
        gone = [self._taps.pop(id) for id in self._taps.keys() - set(found["ids"])]
        for tap in gone:
            last += tap.frames(0)[0]
            self._gone_lost[tap.place] = self._gone_lost.get(tap.place, 0) + tap.ring.lost()
            tap.close_socket()
        rings.close_all([tap.ring for tap in gone])
        return last

    def look(self) -> list[Frame]:
        """What has come since the last look, in the order of time; waits a moment when it is nothing.

        Raises EmulabError when the lab has ended.
        """
        frames = self._read()
        if not frames:
            time.sleep(_PAUSE)
        if time.monotonic() - self._asked_at >= _AFRESH:
            self._asked_at = time.monotonic()
            with suppress(UserError):  # a pod that was named has gone: what came from it is told yet
                self._waiting += self._ask()
        return frames

    def _read(self, slack: int = _LATE) -> list[Frame]:
        until = time.time_ns() - slack
        found = self._waiting
        for tap in self._taps.values():
            frames, until = tap.frames(until)
            found += frames
        found.sort(key=attrgetter("time"))
        count = next((i for i, frame in enumerate(found) if frame.time > until), len(found))
        self._waiting = found[count:]
        self.told_until = until
        return found[:count]

    def rest(self) -> Iterator[list[Frame]]:
        """Stops, and gives what is left, part by part."""
        rings.stop_all([tap.ring for tap in self._taps.values()])
        while more := self._read(-_LATE):
            yield more

    def unread(self) -> int:
        """How many frames have come that weren't given yet."""
        return len(self._waiting) + sum(tap.ring.unread() for tap in self._taps.values())

    def where(self, namespace: int, interface: int) -> tuple[str, str] | None:
        """The place and the interface that the kernel means by its numbers; None for what is watched nowhere."""
        tap = self._taps.get(f"{namespace:x}")
        return (tap.place, tap.name(interface) if interface else "") if tap else None

    def lost(self) -> dict[str, int]:
        """How many frames found no room so far, by place; places that lost none aren't in it."""
        found = dict(self._gone_lost)
        for tap in self._taps.values():
            found[tap.place] = found.get(tap.place, 0) + tap.ring.lost()
        return {place: count for place, count in found.items() if count}

    def close(self) -> None:
        """Lets go of everything."""
        taps, self._taps = list(self._taps.values()), {}
        for tap in taps:
            tap.close_socket()
        rings.close_all([tap.ring for tap in taps])

    def __enter__(self) -> LabTaps:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
