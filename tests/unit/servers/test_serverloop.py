"""Both ways in which tests of servers are run give them the loop that servers have."""

from __future__ import annotations

import asyncio

import uvloop
from serverloop import on_uvloop


async def test_async_tests_of_servers_run_on_uvloop() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


@on_uvloop
async def test_marked_ones_do() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
