"""What holds for all tests of servers."""

from __future__ import annotations

import asyncio

import pytest
import uvloop


@pytest.fixture
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """Servers run on uvloop (emulab/servers/host.py), whose transports differ from asyncio's in places."""
    return uvloop.EventLoopPolicy()
