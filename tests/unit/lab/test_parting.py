"""When the end of a Pod's sidecars begins, without a Pod."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from emulab.lab.kubelet import ending
from emulab.lab.kubelet.parting import Parting


def parting(monkeypatch: pytest.MonkeyPatch, *ends: Exception | None) -> tuple[Parting, list[float]]:
    """One of which each try ends so, and the graces of those that there were."""
    tried: list[float] = []

    async def stop_sidecars(_pod: Any, _spec: Any, grace: float) -> None:
        tried.append(grace)
        if (failure := ends[len(tried) - 1]) is not None:
            raise failure

    monkeypatch.setattr(ending, "stop_sidecars", stop_sidecars)
    spec: Any = SimpleNamespace(sidecars=("proxy",), termination_grace=30.0)
    pod: Any = None
    return Parting(pod, lambda: spec, asyncio.ensure_future), tried


async def test_it_begins_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, tried = parting(monkeypatch, None, None)
    made.begin()
    await made.over()
    await made.over()
    assert tried == [30.0]


async def test_it_begins_once_more_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one of them runs, the Job that waits for the Pod's end would wait for ever."""
    made, tried = parting(monkeypatch, OSError("a hook"), None)
    await made.over()
    await made.over()
    await made.over()
    assert len(tried) == 2
