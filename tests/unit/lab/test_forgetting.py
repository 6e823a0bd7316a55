"""Connections that nodes' programs forget."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulab.errors import KernelError
from emulab.lab.supervisor import translators


class Busy:
    """A translator that the kernel refuses something once."""

    def __init__(self) -> None:
        self.looks = 0

    def forget_ended(self, now: int) -> int:
        self.looks += 1
        if self.looks == 1:
            raise KernelError("read a BPF map", "node1", 1)
        return 0


async def test_it_goes_on_while_namespaces_come_and_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error here would end the lab."""
    monkeypatch.setattr(translators, "_FORGETTING", 0.01)
    handles, busy = dict[str, Any](), Busy()

    class Handle:
        """One during whose look another namespace is made, as threads do it."""

        name = "pod"

        @property
        def translator(self) -> None:
            handles[f"pod-{len(handles)}"] = SimpleNamespace(name="pod", translator=None)

    handles |= {"pod": Handle(), "node1": SimpleNamespace(name="node1", translator=busy)}
    task = asyncio.ensure_future(translators.forget(cast(Any, SimpleNamespace(handles=handles))))
    async with asyncio.timeout(20):
        while busy.looks < 3 and not task.done():
            await asyncio.sleep(0.005)
    assert not task.done()
    task.cancel()
    assert capsys.readouterr().out.startswith("node1: read a BPF map")
