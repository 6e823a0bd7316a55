"""How a program's ingress learns what the names of its servers are in full."""

from __future__ import annotations

import asyncio

import pytest
from patience import soon

from emulab.errors import UserError
from emulab.servers.engines import hosting
from emulab.servers.engines.hosting import in_full
from emulab.servers.engines.shared import KnownName
from emulab.servers.stub import ResolverConfig

RESOLVER = ResolverConfig(("10.96.0.10",), ("app.svc.k.",), 5, {"db": ("10.0.0.1",)})


async def test_a_name_that_nobody_answers_for_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    all_asked = asyncio.Event()

    async def resolve(name: str, *_: object) -> str:
        asked.add(name)
        if len(asked) >= 3:
            all_asked.set()
        await all_asked.wait()  # one after the other they would wait for ever
        if name.startswith("nobody"):
            raise UserError("no such name")
        return "10.0.0.2"

    monkeypatch.setattr(hosting, "resolve", resolve)
    found = await soon(in_full(["web", "nobody", "api", "db"], RESOLVER, None))
    assert found == {
        "web": KnownName("web.app.svc.k.", "10.0.0.2"),
        "api": KnownName("api.app.svc.k.", "10.0.0.2"),
        "db": KnownName("10.0.0.1"),
    }
