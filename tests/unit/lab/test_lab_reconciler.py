"""Passes of the reconciler that end early: what they leave undone is done, whoever asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulab.cluster.events import Recorder
from emulab.cluster.store import Store
from emulab.errors import KernelError
from emulab.kinds.registry import NAMESPACE
from emulab.lab.images.held import Images
from emulab.lab.supervisor.reconciler import Reconciler
from emulab.model.objects import Object

Serving = Callable[[], Awaitable[None]]


def reconciler(store: Store, serving: Serving) -> Reconciler:
    """One whose kernel takes everything, and whose servers do what `serving` does."""

    async def ready(*_: Any) -> None:
        pass

    async def serve(*_: Any) -> None:
        await serving()

    servers = SimpleNamespace(prepare=ready, apply=serve, going=lambda *_: [], tell=lambda *_: None)
    network = SimpleNamespace(
        applied=SimpleNamespace(namespaces={}),
        handles={},
        given={},
        draining=False,
        apply=lambda *_: None,
        take_syncs=lambda: (),
    )
    around = SimpleNamespace(
        store=store,
        servers=servers,
        processes=None,
        events=Recorder(store),
        images=Images(Path("/nonexistent")),
        world=None,
    )
    kubelet = SimpleNamespace(sync=lambda _: None, rested=lambda: None)
    return Reconciler(cast(Any, around), cast(Any, network), cast(Any, kubelet), None)


def lab_namespace() -> Object:
    return Object({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})


async def test_what_one_who_left_had_begun_is_done_all_the_same() -> None:
    """The time of `emulab delete --timeout`, say, ends between the kernel's part of a pass and the servers'."""
    begun, done = asyncio.Event(), asyncio.Event()

    async def serving() -> None:
        if begun.is_set():
            done.set()
            return
        begun.set()
        await asyncio.sleep(3600)

    one = reconciler(Store(), serving)
    one.poke()
    waiting = asyncio.ensure_future(one.rest())
    await begun.wait()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    running = asyncio.ensure_future(one.run())
    await asyncio.wait_for(done.wait(), 30)
    running.cancel()


async def test_a_change_that_cannot_be_taken_back_at_once_is_later() -> None:
    store, said = Store(), [KernelError("begin", errno=11), KernelError("begin again", errno=11)]
    done = asyncio.Event()

    async def serving() -> None:
        if said:
            raise said.pop(0)
        done.set()

    one = reconciler(store, serving)
    with pytest.raises(KernelError, match="begin"):
        await one.change(lambda fork: fork.put(lab_namespace()))
    assert store.get(NAMESPACE.key("", "shop")) is None
    running = asyncio.ensure_future(one.run())
    await asyncio.wait_for(done.wait(), 30)
    running.cancel()
