"""Checks of balancers: that those who ask the same share one, and that they are spread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.acl import Acl
from emulab.servers.l4.config import TargetConfig
from emulab.servers.l4.frontend import Frontend
from emulab.servers.l4.health import Checker, Checks
from emulab.servers.l4.spec import Spec


class Node:
    """A machine that counts who connects to its port."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def __aenter__(self) -> Node:
        self.server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.times.append(asyncio.get_running_loop().time())
        writer.close()


def frontend(port: int, policy: HealthPolicy) -> Frontend:
    """A port of a Service, of which each target has another number."""
    return Frontend(
        Spec(
            f"tcp/127.0.0.1/{port}", Acl(), "roundrobin", (TargetConfig("node1", "127.0.0.1", port),), policy
        )
    )


async def until(done: Any) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_the_ports_of_a_service_share_the_check_of_its_health_port() -> None:
    told: list[dict[str, Any]] = []
    async with Node() as node:
        policy = HealthPolicy(interval=60.0, timeout=5.0, rise=1, fall=1, port=node.port)
        checks, ports = Checks(), [frontend(port, policy) for port in (31001, 31002, 31003)]
        checkers = [Checker(one, told.append, checks) for one in ports]
        for checker in checkers:
            checker.follow()
        targets = [one.targets[0] for one in ports]
        await until(lambda: all(target.checked.last for target in targets))
        assert len(node.times) == 1 and told == []
        node.server.close()
        await node.server.wait_closed()
        checkers[0].stop()
        checkers[0].follow()  # who is new wants to know at once, and all hear of it
        await until(lambda: len(told) == 3)
        assert {one["frontend"] for one in told} == {one.key for one in ports}
        assert not any(target.health.healthy for target in targets)
        for checker in checkers:
            checker.stop()
        assert not checks._running


@pytest.mark.asyncio
async def test_others_have_checks_of_their_own() -> None:
    async with Node() as one, Node() as other:
        policy = HealthPolicy(interval=60.0, timeout=5.0, rise=1, fall=1)
        checks = Checks()
        checkers = [Checker(frontend(node.port, policy), print, checks) for node in (one, other)]
        for checker in checkers:
            checker.follow()
        await until(lambda: one.times and other.times)
        for checker in checkers:
            checker.stop()


@pytest.mark.asyncio
async def test_checks_that_begin_together_are_spread() -> None:
    """The second ones of thirty are over the interval, where each is due by itself."""
    async with Node() as node:
        checks = Checks()
        policies = [HealthPolicy(0.4 + number / 1e6, 5.0, 1, 1, port=node.port) for number in range(30)]
        checkers = [Checker(frontend(1, policy), print, checks) for policy in policies]
        for checker in checkers:
            checker.follow()
        await until(lambda: len(node.times) >= 60)
        for checker in checkers:
            checker.stop()
    seconds = sorted(node.times)[30:60]
    assert seconds[-1] - seconds[0] > 0.1
