"""A program beside a server, and configurations that it doesn't take."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from serverloop import on_uvloop

from emulab.kernel.processes import beside
from emulab.servers.engines.balancer.conf import BalancerPlace, balancer_cfg
from emulab.servers.engines.running import EngineRunner, ProgramMake
from emulab.servers.l4.config import FrontendConfig, L4Config, TargetConfig

KEY = "tcp/127.0.0.1/80"
BALANCER = L4Config.at({KEY: FrontendConfig("roundrobin", (TargetConfig("node1", "127.0.0.1", 9),))})


def make(*test: str, command: tuple[str, ...] = ("sleep", "60")) -> ProgramMake:
    return ProgramMake(
        command[0],
        "/nonexistent",
        command,
        test=test,
        reload=signal.SIGUSR2,
        leave=signal.SIGTERM,
        leaves_late=False,
        environment=lambda _: {},
    )


@on_uvloop
async def test_what_haproxy_listens_at_is_there_when_it_is_asked_whether_it_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    runner = EngineRunner(make("haproxy", "-c", "-f", str(file)))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        whole = balancer_cfg(BALANCER, BalancerPlace({KEY: sock.fileno()}, 1))
        file.write_text(whole)
        await runner._try({KEY: sock})
        file.write_text(whole + "\nnonsense\n")
        with pytest.raises(ValueError, match=r"does not take the configuration: .*nonsense"):
            await runner._try({KEY: sock})


@on_uvloop
async def test_who_is_refused_comes_in_nobodys_place(tmp_path: Path) -> None:
    runner, file = EngineRunner(make("sh", "-c", "echo [emerg] no; false")), tmp_path / "conf"
    await runner.program.start(dict(os.environ), ())
    before = runner.program
    file.write_text("before")
    runner.files = {str(file): "before"}
    said = r"sleep does not take the configuration: \[emerg\] no"
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(ValueError, match=said):
        await runner.use(lambda _: {str(file): "after"}, {KEY: sock})
    assert runner.program is before and before.running and file.read_text() == "before"
    assert runner.numbers == (0,)
    await before.end()


async def test_a_line_that_is_too_long_does_not_keep_the_next_ones_from_being_heard() -> None:
    """A pipe that nobody reads any more stops the program, or ends it."""
    errors, heard = asyncio.StreamReader(limit=32), list[str]()
    errors.feed_data(b"x" * 100 + b"\nbird: up\n")
    errors.feed_eof()
    await beside._lines(errors, heard.append)
    assert heard == ["bird: up"]
