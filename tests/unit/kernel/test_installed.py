"""Programs of daemons are found and started by those, too, who haven't their folders in PATH."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from emulab.kernel.processes.installed import installed
from emulab.kernel.processes.programs import run_program


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_daemons_program(
    run: Callable[[Coroutine[Any, Any, Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert installed("chroot") in ("/usr/sbin/chroot", "/sbin/chroot", "/usr/bin/chroot")
    assert installed("no-such-program") is None
    assert run(run_program(["chroot", "--version"])).text.startswith("chroot (GNU coreutils)")
