"""A lab's operations without a lab: a store, and whoever asks, the command line say, in one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulab.cluster.store import Store
from emulab.kernel import probe
from emulab.lab.images.held import Images
from emulab.lab.supervisor.operations import Operations


class _Reconciler:
    """Changes the store, and nothing follows from it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def change(self, work: Callable[[Store], None], _: Callable[[str], None]) -> None:
        work(self._store)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.01)

    async def rest(self) -> None:
        pass


class Client:
    """What `connect` gives, for a store in this process; requests and results are JSON on their way as ever."""

    def __init__(self, store: Store) -> None:
        around = cast(Any, SimpleNamespace(store=store, images=Images(Path("/nonexistent"))))
        self._operations = Operations(
            around, cast(Any, None), cast(Any, _Reconciler(store)), 1, lambda: None, lambda: None
        )

    def request(self, op: str, on_progress: Any = None, **arguments: Any) -> Any:
        request = json.loads(json.dumps({"op": op, **arguments}))
        answer = asyncio.run(getattr(self._operations, op)(request, lambda _: None))
        return json.loads(json.dumps(answer))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def connected(monkeypatch: pytest.MonkeyPatch, *verbs: str) -> Store:
    """An empty lab, which these verbs of the command line find; its store."""
    monkeypatch.setattr(probe, "lack_of", lambda mode, scheduler, ipv6: "")
    store = Store()
    client = Client(store)
    monkeypatch.setattr("emulab.cli.kinds.connect", lambda _: client)
    for verb in verbs:
        monkeypatch.setattr(import_module(f"emulab.cli.verbs.{verb}"), "connect", lambda _: client)
    return store
