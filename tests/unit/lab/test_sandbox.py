"""When a pod's containers may begin, and when one is looked for what another has left."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emulab.lab.kubelet.runtime import sandbox as module
from emulab.lab.kubelet.runtime.interface import PodSandboxConfig
from emulab.lab.kubelet.runtime.sandbox import PodSandbox

pytestmark = pytest.mark.asyncio


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[PodSandbox]:
    """One whose namespaces are this process' own, which nobody may touch."""
    unused: Any = None
    config = PodSandboxConfig("p", "p", unused, host_pid=True)
    made = PodSandbox(unused, tmp_path, (), config)
    names = os.open("/proc/self/ns/uts", os.O_RDONLY)
    made._made = SimpleNamespace(uts=names)  # type: ignore[assignment]
    yield made
    os.close(names)


async def test_none_begins_while_what_another_has_left_is_ended(
    sandbox: PodSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, done, told = threading.Event(), threading.Event(), list[Any]()

    def end_members(number: int, kind: str, *, spared: Any) -> bool:
        told.append((kind, spared))
        looked.set()
        return done.wait()

    monkeypatch.setattr(module, "end_members", end_members)
    sandbox.mounts.add(7)
    first = sandbox.beginning()
    await first.__aenter__()
    ending = asyncio.ensure_future(sandbox.end_unseen())
    await asyncio.sleep(0)
    assert not looked.is_set(), "one that begins is waited for"
    await first.__aexit__(None, None, None)
    await asyncio.to_thread(looked.wait)

    begun: list[str] = []

    async def begin() -> None:
        async with sandbox.beginning():
            begun.append("second")

    second = asyncio.ensure_future(begin())
    await asyncio.sleep(0)
    assert not begun
    done.set()
    await asyncio.gather(ending, second)
    assert begun == ["second"] and told == [("uts", {7})]


@pytest.mark.parametrize("others", ["visitors", "users of its own"])
async def test_who_shares_the_name_in_no_container_is_let_live(
    sandbox: PodSandbox, monkeypatch: pytest.MonkeyPatch, others: str
) -> None:
    monkeypatch.setattr(module, "end_members", pytest.fail)
    if others == "visitors":
        sandbox.visited = True
    else:
        sandbox.config = replace(sandbox.config, own_users=True)
    await sandbox.end_unseen()
