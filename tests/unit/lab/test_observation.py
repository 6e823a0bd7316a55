"""An observation that can't begin."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulab.cluster.store import Store
from emulab.errors import KernelError
from emulab.lab.supervisor import observation
from emulab.lab.supervisor.observation import Observation


class Recordings:
    """The recordings of a lab that has no servers."""

    async def record(self) -> None:
        return None


async def test_one_that_cannot_begin_keeps_no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.close(writing)

    def refused(_: Any) -> Any:
        raise KernelError("open a packet socket", errno=24)

    place = SimpleNamespace(namespace="client", name="client", kind="client")
    watched = SimpleNamespace(namespace="client", fd=-1, place=place, ring=1)
    monkeypatch.setattr(observation, "find_place", lambda *_: (place, None))
    monkeypatch.setattr(observation, "watch", lambda *_: [watched])
    monkeypatch.setattr(observation.rings, "open_taps", refused)
    monkeypatch.setattr(observation.drops, "open_drops", lambda _: ([reading], {}))
    monkeypatch.setattr(Observation, "_ruled", lambda *_: [])
    monkeypatch.setattr(Observation, "_mark", lambda *_: [])
    servers = SimpleNamespace(recordings=Recordings())
    around = SimpleNamespace(store=Store(), world=SimpleNamespace(), servers=servers, handles={})
    asked = {"target": "client", "protocol": "tcp", "ports": [40000]}
    with pytest.raises(KernelError, match="open a packet socket"):
        await Observation(cast(Any, around)).begin(asked)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)
